package network

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDebounce(t *testing.T) {
	for _, test := range []struct {
		name   string
		events []time.Duration // after the start
		want   []time.Duration
	}{
		{"one", []time.Duration{0}, []time.Duration{300 * time.Millisecond}},
		{
			"a burst is one",
			[]time.Duration{0, 100 * time.Millisecond, 350 * time.Millisecond},
			[]time.Duration{650 * time.Millisecond},
		},
		{
			"two, apart",
			[]time.Duration{0, 500 * time.Millisecond},
			[]time.Duration{300 * time.Millisecond, 800 * time.Millisecond},
		},
		{
			"no longer than a second",
			[]time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond, 990 * time.Millisecond, 1200 * time.Millisecond},
			[]time.Duration{time.Second, 1500 * time.Millisecond},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				start := time.Now()
				in, out := make(chan struct{}, 1), make(chan struct{}, 1)
				done := make(chan struct{})
				go func() {
					defer close(done)
					debounce(ctx, in, out)
				}()
				for _, at := range test.events {
					time.AfterFunc(at, func() { poke(in) })
				}
				var got []time.Duration
				for range test.want {
					<-out
					got = append(got, time.Since(start))
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("signals (-want +got):\n%s", diff)
				}
				select {
				case <-out:
					t.Errorf("one more signal after %v", time.Since(start))
				case <-time.After(time.Minute):
				}
				cancel()
				<-done
			})
		})
	}
}

func TestSignalsThatNobodyTookAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		in, out := make(chan struct{}, 1), make(chan struct{}, 1)
		go debounce(ctx, in, out)
		for range 5 {
			poke(in)
			<-time.After(time.Second)
		}
		if len(out) != 1 {
			t.Errorf("%d signals wait, want 1", len(out))
		}
	})
}

func TestPollSignalsChangesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		answers := []string{"a", "a", "b", "", "b", "a"} // "" can't be had
		looked := 0
		look := func() (string, error) {
			defer func() { looked++ }()
			if looked >= len(answers) {
				cancel()
				return answers[len(answers)-1], nil
			}
			if answers[looked] == "" {
				return "", errors.New("the kernel is busy")
			}
			return answers[looked], nil
		}
		changed := make(chan struct{}, 10)
		start := time.Now()
		poll(ctx, 2*time.Second, "a", look, changed)
		if got, want := len(changed), 2; got != want {
			t.Errorf("%d signals, want %d", got, want)
		}
		if got, want := time.Since(start), 14*time.Second; got != want {
			t.Errorf("7 looks took %v, want %v", got, want)
		}
	})
}

func TestInterfacesText(t *testing.T) {
	a, err := interfacesText(nil)
	if err != nil {
		t.Fatal(err)
	}
	if a == "" {
		t.Error("this machine has no interface that is up")
	}
}
