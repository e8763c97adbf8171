package reflector

import (
	"testing"
	"time"
	"unsafe"

	"github.com/natprobe/natprobe/reflector/wire"
)

// stepped returns a moment as the system would tell it after its clock was set on
// by a step of whole seconds: the wall clock's reading is another one, and the
// monotonic one isn't. Package time has no way to say that, so it is written to
// where the first word of a Time counts seconds above 30 bits of nanoseconds.
func stepped(t *testing.T, moment time.Time, step time.Duration) time.Time {
	t.Helper()
	after := moment
	*(*uint64)(unsafe.Pointer(&after)) += uint64(step/time.Second) << 30
	if after.Sub(moment) != 0 || after.Unix()-moment.Unix() != int64(step/time.Second) {
		t.Fatalf("%v stepped by %v became %v: package time keeps its moments in another way", moment, step, after)
	}
	return after
}

// TestClockStepped sets the clock while an order is pending. The burst leaves after
// the silence that was ordered, and limits and sessions go on. Tokens go by the
// clock: where those at hand are worthless after it, the refusal brings one that
// isn't. Nothing here waits, and no bubble is around it, as in those moments have no
// monotonic reading.
func TestClockStepped(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for step, good := range map[time.Duration]bool{
		-year: false, -time.Hour: false, -2 * time.Minute: false, -30 * time.Second: true,
		30 * time.Second: true, 14 * time.Minute: true, 16 * time.Minute: false, time.Hour: false, year: false,
	} {
		t.Run(step.String(), func(t *testing.T) {
			r, err := New(Config{})
			if err != nil {
				t.Fatal(err)
			}
			core, p := r.core, newPort(newMemConn(serverA, func(memPacket) {}))
			p.due, p.alarm = newWheel(core.book), newTimerAlarm()
			handle := func(now time.Time, payload []byte) wire.Reply {
				t.Helper()
				b := r.natprobe(now, p, &packet{way: way{peer: home}, data: payload})
				if b == nil {
					return nil
				}
				return parse(t, b)
			}
			begun := time.Now()
			hello, ok := handle(begun, wire.Hello{ID: wire.NewID()}.Encode()).(wire.HelloReply)
			if !ok {
				t.Fatal("no answer to a hello")
			}
			session := wire.NewSessionID()
			handle(begun, wire.Query{ID: wire.NewID(), Session: session, Token: hello.Token, Seq: 1}.Encode())
			order := func(token wire.Token) []byte {
				return wire.Order{
					ID: wire.NewID(), Session: session, Tokens: []wire.Token{token},
					Delay: 10 * time.Second, Copies: 1, Size: wire.OrderSize(1, true, false),
				}.Encode()
			}
			if reply := handle(begun, order(hello.Token)); reply != nil {
				t.Fatalf("order answered with %#v", reply)
			}

			if _, early := core.depart(stepped(t, begun.Add(9*time.Second), step), p); early {
				t.Error("a copy leaves a second early")
			}
			now := stepped(t, begun.Add(10*time.Second), step)
			d, due := core.depart(now, p)
			if !due {
				t.Fatal("nothing is due after the silence that was ordered")
			}
			d.copy.Gap, d.left = core.since(now)-d.arrived, true
			core.departed(now, &d)
			if gap := d.copy.Gap; gap != 10*time.Second {
				t.Errorf("the copy says that it left after %v", gap)
			}

			refused, isRefused := handle(now, order(hello.Token)).(wire.Refusal)
			if isRefused == good {
				t.Fatalf("refused: %v, with %+v", isRefused, refused)
			}
			if !good {
				if refused.Code != wire.CodeStaleToken {
					t.Errorf("refused with %+v", refused)
				}
				if reply := handle(now, order(refused.Token)); reply != nil {
					t.Errorf("with the token of the refusal: %#v", reply)
				}
			}
			if s := core.snapshot(now); s.Sessions != 1 || s.Pending != 1 || s.Remembered != 1 || s.Copies != 1 {
				t.Errorf("%d sessions, %d orders pending, %d remembered, %d copies sent, want one of each", s.Sessions, s.Pending, s.Remembered, s.Copies)
			}
		})
	}
}
