package main_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
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
	// stormRate is in packets a second: thirty times what the prober sends, and
	// little enough for the tests beside it.
	stormRate = 3000
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

	stormAdmin = "127.0.0.1:9478"
)

// storm is an attack while it runs.
type storm struct {
	*internet
	random *rand.Rand
	bots   []*bot
	prober netip.Addr // as the reflector sees it
	begun  time.Time
}

// newStorm returns a storm on a lab's server that hasn't begun.
func newStorm(t *testing.T, n *kernelNet) *storm {
	t.Helper()
	return &storm{internet: startInternet(t, n), random: rand.New(rand.NewPCG(3, 7)), prober: n.ExternalAddr(0)}
}

// shot is a packet of an attack.
type shot struct {
	from    netip.AddrPort // invalid: one of the crowd, forged
	payload []byte
	again   bool // its transaction id stays
}

// attack is something that is done to a reflector. Shots returns the next so many
// packets of it; held is what must be true of the reflector's metrics afterwards,
// or it was no such attack.
type attack struct {
	name  string
	bots  func(*storm)
	later bool // it begins when the first measurement runs already
	shots func(s *storm, count int) []shot
	met   func(metrics) bool
}

// attacks are those that reflector/SECURITY.md tells of.
func attacks() []attack {
	return []attack{
		{
			name:  "forged sources",
			shots: func(s *storm, count int) []shot { return s.each(count, s.unproven) },
			met:   func(m metrics) bool { return m.of(`requests_total{kind="plain",result="answered"}`) > 0 },
		},
		{
			name: "forged in the prober's name", later: true,
			shots: func(s *storm, count int) []shot { return s.each(count, s.inItsName) },
			met:   func(m metrics) bool { return m.of(`limit_refusals_total{limit="packet rate"}`) > 0 },
		},
		{
			name: "guessed tokens", bots: oneBot,
			shots: func(s *storm, count int) []shot { return s.each(count, s.guess) },
			met:   func(m metrics) bool { return m.of(`requests_total{kind="order",result="refused"}`) > 0 },
		},
		{
			name: "replays", bots: oneBot,
			shots: func(s *storm, count int) []shot { return s.each(count, s.replay) },
			met:   func(m metrics) bool { return m.of(`requests_total{kind="query",result="refused"}`) > 0 },
		},
		{
			name: "a pulse", bots: botnet,
			shots: func(s *storm, count int) []shot { return s.each(count, s.pulse) },
			met:   func(m metrics) bool { return m.of(`limit_refusals_total{limit="slot full"}`) > 0 },
		},
		{
			name: "orders", bots: botnet,
			shots: func(s *storm, count int) []shot { return s.each(count, s.order) },
			met:   func(m metrics) bool { return m.of("orders_pending") > stormRate },
		},
		{
			name: "sessions", bots: botnet,
			shots: func(s *storm, count int) []shot { return s.each(count, s.query) },
			met:   func(m metrics) bool { return m.of(`limit_refusals_total{limit="sessions"}`) > 0 },
		},
		{
			name: "malformed", bots: oneBot,
			shots: func(s *storm, count int) []shot { return s.each(count, s.malformed) },
			met: func(m metrics) bool {
				return m.of(`requests_total{kind="malformed",result="refused"}`) > 0 && m.of(`requests_total{kind="foreign",result="dropped"}`) > 0
			},
		},
		{
			name: "all of these", bots: botnet, later: true,
			shots: func(s *storm, count int) []shot {
				all := []func() shot{s.unproven, s.inItsName, s.guess, s.replay, s.pulse, s.order, s.query, s.malformed}
				return s.each(count, func() shot { return all[s.random.IntN(len(all))]() })
			},
			met: func(m metrics) bool {
				return m.of(`limit_refusals_total{limit="slot full"}`) > 0 && m.of("orders_pending") > 0
			},
		},
	}
}

// each makes so many shots.
func (s *storm) each(count int, next func() shot) []shot {
	shots := make([]shot, count)
	for i := range shots {
		shots[i] = next()
	}
	return shots
}

// oneBot is somebody with an address of his own, and a session.
func oneBot(s *storm) { s.addBots(1, 1) }

// botnet is many of them: 64 networks with 4 addresses each.
func botnet(s *storm) { s.addBots(64, 4) }

func (s *storm) addBots(networks, each int) {
	for n := range networks {
		for i := range each {
			addr := netip.AddrFrom4([4]byte{12, byte(n), 1, byte(1 + i)})
			b := s.newBot(netip.AddrPortFrom(addr, 40000))
			if err := b.prove(); err != nil {
				s.t.Fatal(err)
			}
			s.bots = append(s.bots, b)
		}
	}
}

func (s *storm) bot() *bot { return s.bots[s.random.IntN(len(s.bots))] }

// unproven returns a message as anyone can send it.
func (s *storm) unproven() shot {
	switch s.random.IntN(5) {
	case 0, 1:
		return shot{payload: wire.Binding{ID: wire.NewID()}.Encode()}
	case 2:
		return shot{payload: wire.Hello{ID: wire.NewID()}.Encode()}
	case 3:
		return shot{payload: wire.Order{ID: wire.NewID(), Session: wire.NewSessionID(), Tokens: make([]wire.Token, 4), Copies: 10, Size: 600}.Encode()}
	default:
		return shot{payload: s.junk(200)}
	}
}

// inItsName returns a message without a token from the address of the prober's NAT.
func (s *storm) inItsName() shot {
	from := netip.AddrPortFrom(s.prober, uint16(1024+s.random.IntN(60000)))
	if s.random.IntN(2) == 0 {
		return shot{from: from, payload: wire.Hello{ID: wire.NewID()}.Encode()}
	}
	return shot{from: from, payload: wire.Check{ID: wire.NewID()}.Encode()}
}

func (s *storm) junk(most int) []byte {
	b := make([]byte, s.random.IntN(most))
	for i := range b {
		b[i] = byte(s.random.Uint32())
	}
	return b
}

// guess returns an order or a query with a token that nobody gave out, for one of
// the crowd. The session is the bot's own, so that only the token stands between.
func (s *storm) guess() shot {
	var t wire.Token
	for i := range t {
		t[i] = byte(s.random.Uint32())
	}
	b := s.bot()
	copy(t[:4], b.token[:4]) // when it expires
	if s.random.IntN(2) == 0 {
		b.seq++
		return shot{payload: wire.Query{ID: wire.NewID(), Session: b.session, Token: t, Seq: b.seq}.Encode()}
	}
	o := b.order(time.Second, 3)
	o.Tokens = []wire.Token{t, t, t, t}
	return shot{payload: o.Encode()}
}

// replay returns what a bot may send, in the name of one of the crowd.
func (s *storm) replay() shot {
	b := s.bot()
	switch s.random.IntN(3) {
	case 0: // as it was sent
		o := b.order(time.Second, 3)
		packet := o.Encode()
		s.send(s.packet(nil, b.addr, packet))
		return shot{payload: packet, again: true}
	case 1:
		return shot{payload: b.order(time.Second, 10).Encode()}
	default: // so that beacons go there
		b.seq++
		return shot{payload: wire.Query{ID: wire.NewID(), Session: b.session, Token: b.token, Seq: b.seq}.Encode()}
	}
}

// pulse returns a bot's order that is due 8 s after the storm began, as all of
// them are, and afterwards each 8 s.
func (s *storm) pulse() shot {
	const every = 8 * time.Second
	b := s.bot()
	delay := every - time.Since(s.begun)%every
	return shot{from: b.addr, payload: b.order(delay, 10).Encode()}
}

// order returns a bot's order that stays in memory.
func (s *storm) order() shot {
	b := s.bot()
	return shot{from: b.addr, payload: b.order(time.Minute+time.Duration(s.random.IntN(500))*time.Second, 1).Encode()}
}

// query returns a bot's query that makes one session more.
func (s *storm) query() shot {
	b := s.bot()
	return shot{from: b.addr, payload: wire.Query{ID: wire.NewID(), Session: wire.NewSessionID(), Token: b.token, Seq: 1}.Encode()}
}

// malformed returns a message that was damaged, cut short or made longer, or one
// that is too long for any of natprobe's.
func (s *storm) malformed() shot {
	b := s.bot()
	var packet []byte
	switch s.random.IntN(4) {
	case 0:
		return shot{payload: s.junk(4000), again: true}
	case 1:
		packet = b.order(time.Second, 3).Encode()
	case 2:
		packet = wire.Query{ID: wire.NewID(), Session: b.session, Token: b.token, Seq: 1, Orders: make([]wire.ID, 3)}.Encode()
	case 3:
		packet = wire.Hello{ID: wire.NewID()}.Encode()
	}
	for range 1 + s.random.IntN(4) {
		if at := 20 + s.random.IntN(len(packet)-20); s.random.IntN(2) == 0 {
			packet[at] = byte(s.random.Uint32())
		} else {
			packet[at] ^= byte(1 << s.random.IntN(8))
		}
	}
	switch s.random.IntN(4) {
	case 0:
		packet = packet[:s.random.IntN(len(packet)+1)]
	case 1:
		packet = append(packet, s.junk(40)...)
	}
	return shot{payload: packet}
}

// rage attacks at a rate in packets a second, 0 being all that one processor
// sends, until ctx is done.
func (s *storm) rage(ctx context.Context, a attack, rate int) (sent int) {
	const volley = 512
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

// latest returns how late a copy left at most.
func (m metrics) latest() time.Duration {
	const bucket = "burst_lateness_seconds_bucket"
	least := math.Inf(1)
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
		if a.later {
			pause(ctx, time.Second)
		}
		raging <- s.rage(ctx, a, rate)
	}()
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
	within := time.Second - got.after.latest()
	networks := make(map[netip.Prefix][]time.Time)
	for _, b := range s.bots {
		b.mu.Lock()
		arrivals := slices.Clone(b.arrivals)
		b.mu.Unlock()
		if n := busiest(arrivals, within); n > reflector.DefaultSlotAddress {
			t.Errorf("%s: %d packets within %v to %v, want at most %d", a.name, n, within, b.addr.Addr(), reflector.DefaultSlotAddress)
		}
		network, _ := b.addr.Addr().Prefix(24)
		networks[network] = append(networks[network], arrivals...)
	}
	for network, arrivals := range networks {
		if n := busiest(arrivals, within); n > reflector.DefaultSlotPrefix {
			t.Errorf("%s: %d packets within %v to %v, want at most %d", a.name, n, within, network, reflector.DefaultSlotPrefix)
		}
	}
}

// busiest returns the most of some times that lie within a while.
func busiest(times []time.Time, within time.Duration) (most int) {
	slices.SortFunc(times, time.Time.Compare)
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) >= within {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// TestKernelStorms attacks a reflector from the Internet in each way that
// SECURITY.md tells of, while a prober behind a NAT measures: no rule is broken, and
// the prober's brackets are right and as narrow as ever.
func TestKernelStorms(t *testing.T) {
	t.Parallel()
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
