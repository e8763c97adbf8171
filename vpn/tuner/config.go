package tuner

import (
	"log/slog"
	"time"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn"
)

// SafeStart is the interval in a network that nothing is known of, in seconds.
// The shortest timers that are common are 30 s (Linux before a second packet,
// pf for a source without answers); with two keepalives within it one may be
// lost, or be late, without harm.
const SafeStart = 13

// Pace says when things are done again. A zero field stands for its default.
type Pace struct {
	// VerifyFirst is the time from a new interval to its first trial; later
	// ones come after twice the time each, up to VerifyMost.
	VerifyFirst, VerifyMost time.Duration // 10 min, 6 h
	// RetryFirst is the wait after a measurement that failed; it doubles up to
	// RetryMost.
	RetryFirst, RetryMost time.Duration // 15 s, 30 min
	// MeasureAgain is the age at which a remembered measurement is made anew.
	MeasureAgain time.Duration // 30 days
	// Look is how often peers and their handshakes are looked at.
	Look time.Duration // 5 s
}

func (p Pace) withDefaults() Pace {
	for _, field := range []struct {
		value *time.Duration
		or    time.Duration
	}{
		{&p.VerifyFirst, 10 * time.Minute},
		{&p.VerifyMost, 6 * time.Hour},
		{&p.RetryFirst, 15 * time.Second},
		{&p.RetryMost, 30 * time.Minute},
		{&p.MeasureAgain, 30 * 24 * time.Hour},
		{&p.Look, 5 * time.Second},
	} {
		if *field.value == 0 {
			*field.value = field.or
		}
	}
	return p
}

// Config is what a Tuner works with. All fields but the last four are needed.
type Config struct {
	Interface string // its name, for status and log
	Applier   Applier
	Measurer  Measurer
	Locate    Locator
	Memory    Memory
	// Recommend returns what follows from a record.
	Recommend func(*results.Record) results.Recommendation
	// Peers are those whose interval is to be set, with the seconds to start
	// from, 0 for SafeStart.
	Peers map[vpn.PublicKey]uint16

	// Changes signals that the machine may have moved. Nil: never.
	Changes <-chan struct{}
	// Moved is called after such a signal, before anything is measured or set,
	// and where peers have gone silent. It may be called from two goroutines.
	Moved  func()
	Pace   Pace
	Logger *slog.Logger // nil: silent
}
