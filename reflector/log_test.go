package reflector

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLogPrivacy: even at its most talkative a reflector writes down no
// client's address.
func TestLogPrivacy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		g := newRig(t, Config{Logger: logger, Limits: Limits{MaxCopies: 1}}, serverA)
		c := g.client(0, home)
		c.place(flow, c.order(time.Second, 1))
		g.refused(0, flow, c.order(time.Second, 2).Encode())
		after(2 * time.Second)
		got := log.String()
		if !strings.Contains(got, `"limit":"copies"`) || !strings.Contains(got, `"prefix":"198.51.100.0/24"`) {
			t.Errorf("the refusal was not logged:\n%s", got)
		}
		if strings.Contains(got, home.Addr().String()) || strings.Contains(got, flow.Addr().String()) {
			t.Errorf("a client's address was logged:\n%s", got)
		}
	})
}
