package main_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

var benchStorms = flag.Bool("storms", false, "run TestBenchStorms: attacks on a reflector with all that one processor sends, for about ten minutes")

const (
	// stormRate is in packets a second: ten times what the prober sends, and little
	// enough for the tests beside it.
	stormRate = 1000
	// stormShare is so many packets a second that a reflector is far from busy.
	stormShare = 50_000
	// stormRuns is how many measurements are made during a storm of the bench.
	stormRuns = 3
	// stormMost is the most memory, in MiB, that a reflector with its default
	// limits may have, whatever is sent: see README.md of reflector.
	stormMost = 160
	// stormSettles is how long after a storm the last answer may come: what was
	// in the socket's buffer when it ended.
	stormSettles = 2 * time.Second

	// stormWay is how much longer one order may be on its way to the reflector than
	// another: on a busy machine packets wait for their programs.
	stormWay = 200 * time.Millisecond
	// stormWindow is the shortest while in which departures are counted.
	stormWindow = 250 * time.Millisecond

	stormAdmin = "127.0.0.1:9478"
)

// storm is an attack while it runs.
type storm struct {
	*internet
	net    *kernelNet
	raged  chan struct{} // closed when it is over
	random *rand.Rand
	bots   []*bot
	prober netip.Addr // as the reflector sees it
	begun  time.Time
}

// newStorm returns a storm on a lab's server that hasn't begun.
func newStorm(t *testing.T, n *kernelNet) *storm {
	t.Helper()
	return &storm{
		internet: startInternet(t, n), net: n, random: rand.New(rand.NewPCG(3, 7)), prober: n.ExternalAddr(0), raged: make(chan struct{}),
	}
}

// probing says whether there are more sessions than before.
func (s *storm) probing(before metrics) bool {
	return readMetrics(s.t, s.net).of("sessions") > before.of("sessions")
}

// rage attacks at a rate in packets a second, 0 being all that one processor
// sends, until ctx is done.
func (s *storm) rage(ctx context.Context, a attack, rate int) (sent int) {
	const volley = 512
	defer close(s.raged)
	s.begun = time.Now()
	var b []byte
	for ctx.Err() == nil {
		count := volley
		if rate > 0 {
			pause(ctx, 5*time.Millisecond)
			count = min(int(time.Since(s.begun).Seconds()*float64(rate))-sent, volley)
		}
		for _, shot := range a.shots(s, count) {
			// What isn't the crowd's own is told by how it begins.
			var q wire.Plain
			plain := wire.ParsePlain(shot.payload, &q) == wire.FormPlain
			if len(shot.payload) >= 20 && !shot.again {
				shot.payload[8] = 0
				if plain {
					shot.payload[8] = plainMark
				}
			}
			if shot.from.IsValid() {
				stamp(shot.payload[8:20])
				s.send(s.packet(b, shot.from, shot.payload))
				continue
			}
			number := s.random.IntN(crowdSize)
			b = s.packet(b, netip.AddrPortFrom(crowdAddr(number), uint16(1024+s.random.IntN(60000))), shot.payload)
			s.sendAs(number, plain, b)
		}
		sent += count
	}
	return sent
}

// metrics are what a reflector's admin address tells, by name and labels.
type metrics map[string]float64

func (m metrics) of(name string) float64 { return m["natprobe_reflector_"+name] }

// latest returns how late a copy left at most: an hour, where no bucket tells.
func (m metrics) latest() time.Duration {
	const bucket = "burst_lateness_seconds_bucket"
	least := time.Hour.Seconds()
	for name, count := range m {
		_, label, is := strings.Cut(name, bucket+`{le="`)
		upper, err := strconv.ParseFloat(strings.TrimSuffix(label, `"}`), 64)
		if is && err == nil && count == m.of("burst_lateness_seconds_count") {
			least = min(least, upper)
		}
	}
	return time.Duration(least * float64(time.Second))
}

// readMetrics asks the admin address on the lab's server.
func readMetrics(t *testing.T, n *kernelNet) metrics {
	t.Helper()
	m := make(metrics)
	onServer(t, n, func() error {
		conn, err := net.DialTimeout("tcp", stormAdmin, stunPatience)
		if err != nil {
			return err
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(stunPatience)); err != nil {
			return err
		}
		fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: reflector\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		lines := bufio.NewScanner(response.Body)
		for lines.Scan() {
			if at := strings.LastIndexByte(lines.Text(), ' '); at > 0 && !strings.HasPrefix(lines.Text(), "#") {
				value, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
				if err != nil {
					return err
				}
				m[lines.Text()[:at]] = value
			}
		}
		return lines.Err()
	})
	return m
}

// sharedPorts remembers which ports a lab's client has used, from one measurement
// to the next.
type sharedPorts struct{ state probe.PortState }

func (p *sharedPorts) Load() (probe.PortState, error)   { return p.state, nil }
func (p *sharedPorts) Save(state probe.PortState) error { p.state = state; return nil }

// weathered is what became of a reflector, and of the honest, in a storm.
type weathered struct {
	seconds         float64
	sent            int
	before, after   metrics
	crowdIn         uint64 // IP bytes in the crowd's name
	crowdOut        uint64 // IP bytes to the crowd
	cpu             float64
	resident        float64
	records         []*results.Record
	whole           int     // of the measurements, with four brackets
	widest, slowest float64 // the widest bracket of those, and the longest run, in seconds
	loss            float64 // the most that one of them saw
}

// weather has a reflector, the program, attacked from the Internet while a prober
// behind a NAT measures, so many times. Whatever was sent, the rules must hold,
// and what the prober says must be right.
func weather(t *testing.T, a attack, rate, runs int) weathered {
	t.Helper()
	spec := natlab.Spec{NATs: []natlab.NATSpec{box(2, 4)}}
	n := startKernelNet(t, spec)
	p := n.startProgramReflector(nil, "--admin", stormAdmin)
	s := newStorm(t, n)
	if a.bots != nil {
		a.bots(s)
	}
	got := weathered{before: readMetrics(t, n)}
	pid, ports := p.cmd.Process.Pid, &sharedPorts{}
	cpu, began := cpuSecondsOf(t, strconv.Itoa(pid), false), time.Now()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	raging := make(chan int, 1)
	go func() {
		for a.later && ctx.Err() == nil && !s.probing(got.before) {
			pause(ctx, 50*time.Millisecond)
		}
		raging <- s.rage(ctx, a, rate)
	}()
	t.Cleanup(func() { // where it ends early
		stop()
		<-s.raged
	})
	for range runs {
		r, err := n.measureWith(probe.Config{Max: 8 * time.Second, Budget: stormBudget}, ports, nil)
		switch {
		case errors.Is(err, probe.ErrUnreachable), errors.Is(err, probe.ErrRefused): // it learned nothing, and says so
			t.Logf("%s: %v", a.name, err)
		case err != nil:
			t.Fatal(err)
		}
		got.records = append(got.records, r)
		got.judge(t, a, r, truthsOf(spec))
	}
	stop()
	got.sent, got.seconds = <-raging, time.Since(began).Seconds()
	got.cpu = (cpuSecondsOf(t, strconv.Itoa(pid), false) - cpu) / got.seconds
	pause(t.Context(), stormSettles)
	got.after = readMetrics(t, n)
	got.resident = resident(t, pid)
	got.crowdIn, got.crowdOut = s.totals()
	read := s.read.Load()
	pause(t.Context(), stormSettles)
	s.judge(t, n, a, got, read)
	return got
}

// stormBudget is for one measurement; without a storm it takes ten seconds.
const stormBudget = 45 * time.Second

// judge looks at a measurement that was made in a storm.
func (w *weathered) judge(t *testing.T, a attack, r *results.Record, truth truths) {
	t.Helper()
	if err := truth.wrong(r); err != nil {
		t.Errorf("%s: %v\n%s", a.name, err, story(r))
	}
	w.slowest, w.loss = max(w.slowest, r.Effort.ElapsedS), max(w.loss, r.Loss.Rate)
	widest := 0.0
	for _, l := range r.Lifetimes {
		if l.UpperS == nil {
			return
		}
		widest = max(widest, *l.UpperS-l.LowerS)
	}
	w.whole++
	w.widest = max(w.widest, widest)
}

// judge looks at what the reflector did.
func (s *storm) judge(t *testing.T, n *kernelNet, a attack, got weathered, read uint64) {
	t.Helper()
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if err := errors.Join(broken...); err != nil {
		t.Errorf("%s: %v", a.name, err)
	}
	if late := s.read.Load() - read; a.bots == nil && late != 0 {
		t.Errorf("%s: %d packets left more than %v after the storm, and nobody had a token", a.name, late, stormSettles)
	}
	if got.crowdOut*2 > got.crowdIn*5 {
		t.Errorf("%s: %d bytes in the crowd's name brought it %d", a.name, got.crowdIn, got.crowdOut)
	}
	if !a.met(got.after) {
		t.Errorf("%s: no metric tells of it: %v", a.name, got.after)
	}
	if got.resident > stormMost {
		t.Errorf("%s: %.0f MiB resident, want at most %d", a.name, got.resident, stormMost)
	}
	if lost := s.unread(n); lost != 0 {
		t.Errorf("%s: %d packets to the Internet were not looked at", a.name, lost)
	}
	// The limit is on what is due in a second. A pulse of a whole botnet takes a
	// while to leave.
	within := time.Second - stormWay - got.after.latest()
	if within < stormWindow {
		t.Logf("%s: copies left up to %v late, which tells nothing of what was due in a second", a.name, got.after.latest())
		return
	}
	networks := make(map[netip.Prefix][]time.Time)
	for _, b := range s.bots {
		b.mu.Lock()
		left := slices.Clone(b.left)
		b.mu.Unlock()
		if n := busiest(left, within); n > reflector.DefaultSlotAddress {
			t.Errorf("%s: %d packets within %v to %v, want at most %d", a.name, n, within, b.addr.Addr(), reflector.DefaultSlotAddress)
		}
		network, _ := b.addr.Addr().Prefix(24)
		networks[network] = append(networks[network], left...)
	}
	for network, left := range networks {
		if n := busiest(left, within); n > reflector.DefaultSlotPrefix {
			t.Errorf("%s: %d packets within %v to %v, want at most %d", a.name, n, within, network, reflector.DefaultSlotPrefix)
		}
	}
}

// busiest returns the most of some times that lie within a while.
func busiest(times []time.Time, within time.Duration) (most int) {
	slices.SortFunc(times, time.Time.Compare)
	first := 0
	for i, at := range times {
		for first < i && at.Sub(times[first]) >= within {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// TestKernelStorms attacks a reflector from the Internet in each way that
// SECURITY.md tells of, while a prober behind a NAT measures: no rule is broken, and
// the prober's brackets are right and as narrow as ever.
func TestKernelStorms(t *testing.T) { // not in parallel: the tests beside it watch the time
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			got := weather(t, a, stormRate, 1)
			r := got.records[0]
			t.Logf("%s", stormRow(a, got))
			if got.sent < stormRate || got.whole != 1 && !stoodStill(r) {
				t.Errorf("%d packets, and the measurement has open ends\n%s", got.sent, story(r))
			}
			if err := wide(r); err != nil && !stoodStill(r) {
				t.Errorf("%v\n%s", err, story(r))
			}
		})
	}
}

// TestBenchStorms does it with all that one processor sends, one attack after the
// other, and prints a table in Markdown. Under such a load a prober may learn
// little, but nothing wrong.
func TestBenchStorms(t *testing.T) {
	if !*benchStorms {
		t.Skip("SKIPPED: it takes minutes, and needs the machine for itself; make bench-storms runs it")
	}
	var table strings.Builder
	table.WriteString("| attack | sent/s | came in/s | dropped by the system/s | bytes out for one in, to others | CPU, cores | resident, MiB " +
		"| measurements with all brackets | widest bracket, s | slowest, s | loss at most |\n")
	table.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, rate := range []int{stormShare, 0} {
		for _, a := range attacks() {
			t.Run(fmt.Sprintf("%s at %d", a.name, rate), func(t *testing.T) {
				table.WriteString(stormRow(a, weather(t, a, rate, stormRuns)))
			})
		}
	}
	fmt.Printf("\n%s\n", table.String())
}

// stormRow is a row of the table.
func stormRow(a attack, w weathered) string {
	rate := func(name string) float64 { return (w.after.of(name) - w.before.of(name)) / w.seconds }
	reflected := "–"
	if w.crowdIn > 0 {
		reflected = fmt.Sprintf("%.2f", float64(w.crowdOut)/float64(w.crowdIn))
	}
	widest := "–"
	if w.whole > 0 {
		widest = fmt.Sprintf("%.2f", w.widest)
	}
	return fmt.Sprintf("| %s | %.0f | %.0f | %.0f | %s | %.2f | %.0f | %d of %d | %s | %.1f | %.0f %% |\n", a.name,
		float64(w.sent)/w.seconds, rate("received_packets_total"), rate("receive_drops_total"), reflected, w.cpu, w.resident,
		w.whole, len(w.records), widest, w.slowest, 100*w.loss)
}
