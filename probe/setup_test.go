package probe_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natmodel"
	"github.com/natprobe/natprobe/probe/simulate"
)

// TestRebootDuringSetup reboots the NAT while streams converse: the order then
// opens a mapping that the NAT does not take for a stream.
func TestRebootDuringSetup(t *testing.T) {
	for _, outside := range []time.Duration{20 * time.Millisecond, 290 * time.Millisecond} {
		for seed := range uint64(10) {
			at := 3*time.Second + time.Duration(seed)*200*time.Millisecond
			t.Run(fmt.Sprint(outside, " ", at), func(t *testing.T) {
				t.Parallel()
				nat := natmodel.Linux(40*time.Second, 12*time.Second)
				r := measure(t, simulate.Config{NATs: []natmodel.Config{nat}, Outside: outside, LossOut: 0.1, LossIn: 0.1, Seed: seed}, probe.Config{Max: time.Minute},
					func(ctx context.Context, w *world) {
						if sleep(ctx, at) {
							if err := w.net.RebootNAT(0); err != nil {
								t.Error(err)
							}
						}
					})
				if err := check(r, truthOf(nat.Timers)); err != nil {
					t.Errorf("%v, events %v", err, r.Events)
				}
			})
		}
	}
}
