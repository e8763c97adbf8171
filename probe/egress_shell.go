package probe

import (
	"context"
	"log/slog"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// EgressChecker checks over sockets what a reflector's own side lets out.
type EgressChecker struct {
	Config  EgressConfig
	Listen  ListenFunc           // nil: the system's sockets
	Observe func(EgressProgress) // called from Check's goroutine, a few times a second; nil: nobody looks
	Logger  *slog.Logger         // nil: silent
	Ports   PortStore            // nil: source ports are not remembered across runs
}

// EgressProgress is a snapshot of a check.
type EgressProgress struct {
	Elapsed  time.Duration
	Answered bool // the reflector has told its limits
	Locating bool // what failed is looked for
	Egress   *results.Egress
	Events   []results.Event
}

// EgressReport is what a check has shown.
type EgressReport struct {
	Egress    *results.Egress
	Reflector results.Reflector
	Limits    wire.Limits // zero where it never answered
	Loss      results.Loss
	Events    []results.Event
	Effort    results.Effort
}

// Check runs until the longest gap is over, or what ends earlier ones is found,
// the budget is spent or ctx is done. Its error is as Measure's, and the report
// is not nil unless the configuration is bad.
func (c *EgressChecker) Check(ctx context.Context) (*EgressReport, error) {
	if err := c.Config.Validate(); err != nil {
		return nil, err
	}
	s := newShell(c.Listen, c.Logger, c.Config.Reflector, nil)
	g := newEgress(c.Config, loadPorts(c.Ports, s.log), s.clock.begun)
	s.engine = g.e
	var observe func()
	if c.Observe != nil {
		observe = func() { c.Observe(g.progress()) }
	}
	err := s.run(ctx, observe)
	savePorts(c.Ports, s.log, g.e.ports.state)
	return g.report(), err
}

func (g *egress) progress() EgressProgress {
	return EgressProgress{
		Elapsed: g.e.now, Answered: g.e.control.running, Locating: g.where != nil, Egress: g.result(), Events: g.e.events,
	}
}

func (g *egress) report() *EgressReport {
	inbound := g.e.path.inbound()
	r := &EgressReport{
		Egress: g.result(), Reflector: g.e.reflector(), Limits: g.e.control.limits,
		Loss: g.e.path.outbound(), Events: g.e.events, Effort: g.e.effort,
	}
	r.Loss.Inbound = &inbound
	r.Effort.ElapsedS = g.e.now.Seconds()
	return r
}
