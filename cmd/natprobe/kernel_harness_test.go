package main_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/results"
)

// The tests in the files kernel_*_test.go measure the kernel's own NATs, whose
// timers are known. They take as long as those timers, and wait most of it: so
// more of them run at a time than there are processors, unless the command
// line says how many.
func init() {
	testing.Init() // -test.parallel exists from here on; the command line comes later
	if err := flag.Set("test.parallel", kernelsAtOnce); err != nil {
		panic(err)
	}
}

// labPort is where reflectors listen in labs.
const labPort = 3478

// labTick is how much earlier or later than its timer says a mapping may die:
// the kernel counts in ticks, which last 10 ms at most.
const labTick = 10 * time.Millisecond

// TestKernelLabsAsUser runs the kernel labs' tests in a user namespace where
// this process may not make labs itself: there everyone may.
func TestKernelLabsAsUser(t *testing.T) {
	args := []string{"-test.run=^TestKernel", "-test.count=1", "-test.timeout=10m"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	ran, code, err := natlab.EnterUserNamespace(t.Context(), args)
	switch {
	case err != nil:
		t.Skipf("SKIPPED, NO KERNEL LABS FOR THIS USER: %v", err)
	case !ran:
		t.Log("this process can make labs itself")
	case code != 0:
		t.Errorf("the tests inside the user namespace ended with status %d", code)
	}
}

// goBuild returns a command that builds a program nicely, as the tests beside it watch
// the time, and with the machine's own cache: with that of the tests it would build
// the standard library too.
func goBuild(args ...string) *exec.Cmd {
	build := exec.Command("nice", append([]string{"-n", "19", "go", "build"}, args...)...)
	build.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "XDG_CACHE_HOME=") })
	return build
}

// kernelNet is a lab with a reflector on its server.
type kernelNet struct {
	*natlab.Lab
	t *testing.T

	mu   sync.Mutex
	stop func() // ends the present life of the reflector
}

// startKernelNet builds a lab, or skips the test where there can't be one.
func startKernelNet(t *testing.T, spec natlab.Spec) *kernelNet {
	t.Helper()
	lab, err := natlab.Start(t.Context(), spec)
	if errors.Is(err, natlab.ErrUnavailable) {
		t.Skipf("SKIPPED, %s NEEDS A KERNEL LAB (TestKernelLabsAsUser has run it where it passed): %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := &kernelNet{Lab: lab, t: t}
	t.Cleanup(func() {
		n.stopReflector()
		if err := lab.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	n.startReflector()
	return n
}

func (n *kernelNet) reflectorAddr() netip.AddrPort {
	return netip.AddrPortFrom(n.ServerAddr(), labPort)
}

// startReflector begins another life of the reflector, with a new secret.
func (n *kernelNet) startReflector() {
	n.t.Helper()
	conn, err := n.listen(n.reflectorAddr())
	if err != nil {
		n.t.Errorf("reflector: %v", err)
		return
	}
	stop, err := serve(conn)
	if err != nil {
		n.t.Error(err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop = func() {
		if err := stop(); err != nil {
			n.t.Error(err)
		}
	}
}

// listen opens a socket on the lab's server. A port that was just closed may be
// in use for a moment longer: a program that another test starts has all of this
// process's descriptors until it is the program.
func (n *kernelNet) listen(at netip.AddrPort) (conn net.PacketConn, err error) {
	for end := time.Now().Add(stunPatience); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		conn, err = n.ServerListen(context.Background(), "udp", at.String())
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return conn, err
}

func (n *kernelNet) stopReflector() {
	n.mu.Lock()
	stop := n.stop
	n.stop = nil
	n.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// serve runs a reflector with its default limits on a socket until stop, which
// closes the socket.
func serve(conn net.PacketConn) (stop func() error, err error) {
	r, err := reflector.New(reflector.Config{})
	if err != nil {
		return conn.Close, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, conn) }()
	return func() error {
		cancel()
		return errors.Join(<-served, conn.Close())
	}, nil
}

// measure runs a measurement from the lab's client, with faults beside it;
// these end when it does.
func (n *kernelNet) measure(cfg probe.Config, faults func(context.Context)) *results.Record {
	n.t.Helper()
	record, err := n.measureWith(cfg, nil, faults)
	if err != nil {
		n.t.Fatalf("Measure: %v", err)
	}
	return record
}

// measureWith is measure with a memory of used ports, and with the error of who
// can't measure.
func (n *kernelNet) measureWith(cfg probe.Config, ports probe.PortStore, faults func(context.Context)) (*results.Record, error) {
	n.t.Helper()
	cfg.Reflector = n.reflectorAddr()
	cfg.Local = n.ClientAddr()
	p := probe.Prober{Config: cfg, Listen: n.ClientListen, Ports: ports}
	ctx, cancel := context.WithCancel(n.t.Context())
	defer cancel()
	var beside sync.WaitGroup
	if faults != nil {
		beside.Go(func() { faults(ctx) })
	}
	record, err := p.Measure(ctx)
	cancel()
	beside.Wait()
	return record, err
}

// pause waits, and reports whether the measurement still runs then.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// truths are the true lifetimes by regime; none where nothing expires.
type truths map[results.Regime]time.Duration

func truthsOf(spec natlab.Spec) truths {
	timers := spec.Truth()
	if timers == (natlab.Timers{}) {
		return nil
	}
	return truths{
		results.Solitary: timers.Solitary, results.Oneway: timers.Oneway,
		results.Exchange: timers.Exchange, results.Stream: timers.Stream,
	}
}

func (t truths) longest() time.Duration {
	longest := time.Duration(0)
	for _, life := range t {
		longest = max(longest, life)
	}
	return longest
}

// allowedS is how many seconds the design gives a default run.
func (t truths) allowedS(loss float64) float64 {
	allowed := 1.15*t.longest().Seconds() + 5
	if loss > 0 {
		allowed += 8
	}
	return allowed
}

// wrong compares brackets with the truth. An open end is not wrong.
func (t truths) wrong(r *results.Record) error {
	if len(r.Lifetimes) != len(results.Regimes()) {
		return fmt.Errorf("%d lifetimes, want one for each of %v", len(r.Lifetimes), results.Regimes())
	}
	var errs []error
	for _, l := range r.Lifetimes {
		life, expires := t[l.Regime]
		switch {
		case !expires && l.UpperS != nil:
			errs = append(errs, fmt.Errorf("%s: bracket %s, but nothing expires here", l.Regime, bracketText(l)))
		case expires && l.LowerS > (life+labTick).Seconds():
			errs = append(errs, fmt.Errorf("%s: bracket %s is above the true %v", l.Regime, bracketText(l), life))
		case expires && l.UpperS != nil && *l.UpperS < (life-labTick).Seconds():
			errs = append(errs, fmt.Errorf("%s: bracket %s is below the true %v", l.Regime, bracketText(l), life))
		}
	}
	return errors.Join(errs...)
}

// stoodStill reports whether the machine was so busy that the prober could not
// work: its brackets may stay open then.
func stoodStill(r *results.Record) bool {
	return slices.ContainsFunc(r.Events, func(e results.Event) bool { return e.Reason == results.ReasonSuspend })
}

// wide tells which brackets are wider than a first bracket may be, and which
// are open. What round trips took is added: little, unless the machine is so
// busy that packets wait for their programs.
func wide(r *results.Record) error {
	var errs []error
	waited := 0.0
	for _, trial := range r.Trials {
		if trial.Outcome == results.Expired {
			waited = max(waited, trial.BoundS-trial.MeasuredGapS)
		}
	}
	for _, l := range r.Lifetimes {
		allowed := max(2, 0.05*l.LowerS)
		if l.Regime == results.Oneway {
			allowed *= 2 // its ladder is coarser by design
		}
		allowed += waited
		if l.UpperS == nil || *l.UpperS-l.LowerS > allowed {
			errs = append(errs, fmt.Errorf("%s: bracket %s is wider than %.2f s", l.Regime, bracketText(l), allowed))
		}
	}
	return errors.Join(errs...)
}

func bracketText(l results.Lifetime) string {
	if l.UpperS == nil {
		return fmt.Sprintf("%.2f –", l.LowerS)
	}
	return fmt.Sprintf("%.2f–%.2f", l.LowerS, *l.UpperS)
}

// summary is a run in a line.
func summary(r *results.Record, truth truths, loss float64) string {
	var b strings.Builder
	for _, l := range r.Lifetimes {
		fmt.Fprintf(&b, "%s %s of %v, ", l.Regime, bracketText(l), truth[l.Regime])
	}
	fmt.Fprintf(&b, "%.1f s (target %.1f s), %d mappings, %d packets, loss %.3f",
		r.Effort.ElapsedS, truth.allowedS(loss), r.Effort.MaxMappings, r.Effort.PacketsSent, r.Loss.Rate)
	return b.String()
}

// story is what it takes to understand a run that went wrong: its events, why
// trials failed, and each trial near its regime's bracket.
func story(r *results.Record) string {
	var b strings.Builder
	for _, e := range r.Events {
		fmt.Fprintf(&b, "%7.2f s  %s: %s (%d voided)\n", e.AtS, e.Reason, e.Detail, e.Voided)
	}
	reasons := make(map[results.Reason]int)
	for _, trial := range r.Trials {
		if trial.Outcome == results.Inconclusive {
			reasons[trial.Reason]++
		}
	}
	fmt.Fprintf(&b, "inconclusive: %v\n", reasons)
	for _, l := range r.Lifetimes {
		for _, trial := range r.Trials {
			near := trial.GapS > 0.8*l.LowerS-1 && (l.UpperS == nil || trial.GapS < *l.UpperS+2)
			if trial.Regime == l.Regime && near {
				fmt.Fprintf(&b, "%-8s gap %.2f %s %s bound %.3f at %.2f s, copies %d of %d, beacons %d, remapped %v\n",
					trial.Regime, trial.GapS, trial.Outcome, trial.Reason, trial.BoundS,
					trial.StartedAt.Sub(r.StartedAt).Seconds(), trial.CopiesReceived, trial.CopiesSent, trial.Beacons, trial.Remapped)
			}
		}
	}
	return b.String()
}
