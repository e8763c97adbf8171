package main

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/natprobe/natprobe/vpn/wgapply"
)

// TestKnownMark: a mark that changes is noticed, and an interface isn't asked for
// each socket.
func TestKnownMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, now, fails := 0, uint32(1), error(nil)
		m := knownMark{info: func() (wgapply.Info, error) {
			asked++
			return wgapply.Info{FwMark: now}, fails
		}}
		check := func(want uint32, wantAsked int) {
			t.Helper()
			for range 100 {
				if got := m.get(); got != want {
					t.Fatalf("the mark is %d, want %d", got, want)
				}
			}
			if asked != wantAsked {
				t.Errorf("the interface was asked %d times, want %d", asked, wantAsked)
			}
		}
		check(1, 1)
		now = 2
		check(1, 1)
		time.Sleep(markAge)
		check(2, 2)
		now, fails = 0, errors.New("no answer")
		time.Sleep(markAge)
		check(2, 3)
		fails = nil
		time.Sleep(markAge)
		check(0, 4)
	})
}
