package sharedport

import (
	"sync"
	"time"
)

// deadline is a moment that can be waited for and moved. Its zero value is none.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{} // closed when the moment has come
	done  bool          // over is closed
}

// passed returns a channel that is closed when the deadline has come, or comes.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel()
}

func (d *deadline) channel() chan struct{} {
	if d.over == nil {
		d.over = make(chan struct{})
	}
	return d.over
}

// set moves the deadline. Who waits already is woken by an earlier one too.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.done {
		d.over, d.done = nil, false
	}
	if t.IsZero() {
		return
	}
	wait := time.Until(t)
	if wait <= 0 {
		d.pass()
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer { // it wasn't moved meanwhile
			d.pass()
		}
	})
	d.timer = timer
}

func (d *deadline) pass() {
	close(d.channel())
	d.done = true
}
