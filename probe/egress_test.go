package probe_test

import (
	"context"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
	"github.com/natprobe/natprobe/results"
)

// client is the address of the client of modelled networks.
var client = netip.MustParseAddr("192.168.1.2")

// checkEgress checks a modelled reflector in a bubble.
func checkEgress(t *testing.T, network simulate.Config, cfg probe.EgressConfig) *probe.EgressReport {
	t.Helper()
	var report *probe.EgressReport
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, network)
		defer w.close()
		cfg.Reflector, cfg.Local, cfg.Seed = reflectorAddr(), client, network.Seed+1
		var err error
		c := probe.EgressChecker{Config: cfg, Listen: w.net.Client().ListenPacket, Ports: fixedPorts(network.Seed)}
		if report, err = c.Check(context.Background()); err != nil {
			t.Fatalf("Check: %v", err)
		}
	})
	return report
}

// TestEgressTooFar declares more hops its own than there are, where the distance
// can't be found out: keepalives that reach the reflector prove nothing.
func TestEgressTooFar(t *testing.T) {
	t.Parallel()
	const checkSize = 80 // PROTOCOL.md; the finder of hops sends these, and keepalives are such
	synctest.Test(t, func(t *testing.T) {
		firewall := egressFirewall(4*time.Second, 6*time.Second)
		w := newWorld(t, simulate.Config{NATs: []natmodel.Config{firewall}, Client: client, Seed: 3})
		defer w.close()
		begun := time.Now()
		w.net.Block(func(p natmodel.Packet) bool { return len(p.Payload) == checkSize && time.Since(begun) < 3*time.Second })
		c := probe.EgressChecker{Listen: w.net.Client().ListenPacket, Ports: fixedPorts(3), Config: probe.EgressConfig{
			Reflector: reflectorAddr(), Local: client, MaxGap: 12 * time.Second, Near: 5, Seed: 3,
		}}
		report, err := c.Check(context.Background())
		if err != nil {
			t.Fatalf("Check: %v", err)
		}
		if got := report.Egress; got.Verdict != results.EgressUndecided || got.ProvenS >= 4 || got.Hops != 0 {
			t.Errorf("%+v; the firewall forgets after 4 s, so that no more is true", got)
		}
	})
}

// egressNAT is a NAT, egressFirewall a box without translation, and egressHop a
// router: a box that forgets nothing for long.
func egressNAT(solitary, stream time.Duration) natmodel.Config {
	return natmodel.Linux(solitary, stream)
}

func egressFirewall(solitary, stream time.Duration) natmodel.Config {
	box := natmodel.Linux(solitary, stream)
	box.NoTranslation, box.WANInput = true, natmodel.Drop
	return box
}

func egressHop() natmodel.Config { return egressFirewall(time.Hour, time.Hour) }

func TestEgress(t *testing.T) {
	t.Parallel()
	const s = time.Second
	home := egressNAT(30*s, 120*s)
	hops := func(boxes ...natmodel.Config) simulate.Config { return simulate.Config{NATs: boxes} }
	lossy := func(c simulate.Config) simulate.Config { c.LossOut, c.LossIn = 0.1, 0.1; return c }
	far := func(c simulate.Config) simulate.Config {
		c.Outside, c.Jitter = 150*time.Millisecond, 30*time.Millisecond
		return c
	}
	tests := []struct {
		name    string
		net     simulate.Config
		cfg     probe.EgressConfig
		verdict results.EgressVerdict
		proven  float64
		kept    int // hops
		hop     int // of the box that forgot
	}{
		{"nothing forgets", hops(), probe.EgressConfig{Near: probe.NearAuto}, results.EgressProven, 360, 0, 0},
		{"short check", hops(), probe.EgressConfig{MaxGap: 30 * s, Near: probe.NearAuto}, results.EgressProven, 30, 0, 0},
		{"the checker's NAT", hops(home, egressHop(), egressHop()), probe.EgressConfig{Near: probe.NearAuto}, results.EgressProven, 360, 1, 0},
		{"the checker's NAT, without help", hops(home, egressHop(), egressHop()), probe.EgressConfig{}, results.EgressUndecided, 29, 0, 1},
		{"the reflector's firewall", hops(egressHop(), egressHop(), egressFirewall(60*s, 180*s)), probe.EgressConfig{Near: probe.NearAuto},
			results.EgressShort, 59, 0, 3},
		{"it alone", hops(egressFirewall(350*s, 350*s)), probe.EgressConfig{Near: probe.NearAuto}, results.EgressShort, 349, 0, 1},
		{"a NAT in the middle, without help", hops(home), probe.EgressConfig{}, results.EgressUndecided, 29, 0, 1},
		{"both", hops(home, egressHop(), egressFirewall(60*s, 180*s)), probe.EgressConfig{Near: probe.NearAuto}, results.EgressShort, 59, 1, 3},
		{"both, loss", lossy(hops(home, egressHop(), egressFirewall(60*s, 180*s))), probe.EgressConfig{Near: probe.NearAuto}, results.EgressShort, 59, 1, 3},
		{"both, far away", far(hops(home, egressHop(), egressFirewall(60*s, 180*s))), probe.EgressConfig{Near: probe.NearAuto}, results.EgressShort, 59, 1, 3},
		{"streams are forgotten first", hops(egressHop(), egressHop(), egressFirewall(180*s, 60*s)), probe.EgressConfig{Near: probe.NearAuto},
			results.EgressShort, 59, 0, 3},
		{"a carrier's NAT too", hops(home, egressNAT(40*s, 90*s), egressHop(), egressHop(), egressHop()), probe.EgressConfig{Near: probe.NearAuto},
			results.EgressUndecided, 38, 1, 2},
		{"a carrier's NAT, declared", hops(home, egressNAT(40*s, 90*s), egressHop(), egressHop(), egressHop()), probe.EgressConfig{Near: 2},
			results.EgressProven, 360, 2, 0},
		{"more declared than there is", hops(home, egressHop()), probe.EgressConfig{Near: 9}, results.EgressProven, 360, 2, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.net.Seed, test.net.Client = 11, client
			report := checkEgress(t, test.net, test.cfg)
			got := report.Egress
			t.Logf("%s: %v s proven after %.0f s, hop %d of %d, clock %+v, %d flows, %d packets", got.Verdict, got.ProvenS,
				report.Effort.ElapsedS, got.ExpiredHop, got.Hops, got.Clock, report.Effort.MaxMappings, report.Effort.PacketsSent)
			if got.Verdict != test.verdict || got.ProvenS != test.proven || got.ExpiredHop != test.hop || got.KeptHops != test.kept {
				t.Errorf("%s, %v s proven, hop %d, kept %d; want %s, %v s, hop %d, kept %d; brackets %+v, events %+v", got.Verdict, got.ProvenS,
					got.ExpiredHop, got.KeptHops, test.verdict, test.proven, test.hop, test.kept, got.Lifetimes, report.Events)
			}
			if want := len(test.net.NATs) + 1; got.Hops != want || !got.HopLimits {
				t.Errorf("%d hops (limits %v), want %d", got.Hops, got.HopLimits, want)
			}
			if got.Clock == nil || math.Abs(got.Clock.PPM) > 2*got.Clock.ErrorPPM+1 {
				t.Errorf("clock %+v, but it is the same", got.Clock)
			}
			if took := report.Effort.ElapsedS; test.verdict == results.EgressProven && took > 1.05*got.AskedS+15 {
				t.Errorf("took %.0f s for gaps up to %.0f s", took, got.AskedS)
			}
		})
	}
}
