package reflector

import "time"

// alarm wakes what sends a port's copies.
type alarm interface {
	// wait returns when d has passed, or when wake is called or was since the
	// last wait. A negative d is for ever.
	wait(d time.Duration)
	// wake may be called by any goroutine.
	wake()
	// close is for the goroutine that waits, when nobody wakes it any more.
	close()
}

// timerAlarm is an alarm by the runtime's timers.
type timerAlarm struct {
	timer *time.Timer
	woken chan struct{}
}

func newTimerAlarm() *timerAlarm {
	timer := time.NewTimer(0)
	timer.Stop()
	return &timerAlarm{timer: timer, woken: make(chan struct{}, 1)}
}

func (a *timerAlarm) wait(d time.Duration) {
	var passed <-chan time.Time
	if d >= 0 {
		a.timer.Reset(d)
		defer a.timer.Stop()
		passed = a.timer.C
	}
	select {
	case <-a.woken:
	case <-passed:
	}
}

func (a *timerAlarm) wake() {
	select {
	case a.woken <- struct{}{}:
	default:
	}
}

func (a *timerAlarm) close() { a.timer.Stop() }
