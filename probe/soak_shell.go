package probe

import (
	"context"
	"log/slog"

	"github.com/natprobe/natprobe/results"
)

// Soaker verifies an interval over sockets.
type Soaker struct {
	Config  SoakConfig
	Listen  ListenFunc                  // nil: the system's sockets
	Observe func(*results.Verification) // called from Soak's goroutine, a few times a second; nil: nobody looks
	Logger  *slog.Logger                // nil: silent
	Ports   PortStore                   // nil: source ports are not remembered across runs
}

// Soak runs until the interval is known to hold or to fail, the budget is spent
// or ctx is done. Its error is as Measure's, and the verification is not nil
// unless the configuration is bad. Its ID, Tool, Config and Supplied are the
// caller's to fill.
func (s *Soaker) Soak(ctx context.Context) (*results.Verification, error) {
	if err := s.Config.Validate(); err != nil {
		return nil, err
	}
	sh := newShell(s.Listen, s.Logger, s.Config.Reflector, nil)
	soak := newSoak(s.Config, loadPorts(s.Ports, sh.log), sh.clock.begun)
	sh.engine = soak.e
	var observe func()
	if s.Observe != nil {
		observe = func() { s.Observe(soak.result()) }
	}
	err := sh.run(ctx, observe)
	savePorts(s.Ports, sh.log, soak.e.ports.state)
	return soak.result(), err
}
