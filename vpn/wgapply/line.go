package wgapply

import (
	"context"
	"fmt"
)

// line is the connection to the system's WireGuard. What is asked over it is
// asked one at a time and given up after a while, since wgctrl waits for ever
// for a program that was stopped. The question that was given up keeps its turn
// until it is answered, so that at most one goroutine per line waits.
type line struct {
	control control
	turn    chan struct{}
}

func newLine(c control) *line {
	return &line{control: c, turn: make(chan struct{}, 1)}
}

// close ends the connection, unless a question that was given up still uses it.
func (l *line) close() error {
	select {
	case l.turn <- struct{}{}:
		return l.control.Close()
	default:
		return nil
	}
}

// ask calls question when it is its turn. name is what is asked about, for the
// error.
func ask[T any](ctx context.Context, l *line, name string, question func(control) (T, error)) (T, error) {
	var none T
	waiting, stop := context.WithTimeoutCause(ctx, patience,
		fmt.Errorf("%w from the program that runs %s within %v; was it stopped?", ErrNoAnswer, name, patience))
	defer stop()
	select {
	case l.turn <- struct{}{}:
	case <-waiting.Done():
		return none, whyDone(ctx, waiting)
	}
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := question(l.control)
		<-l.turn
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-waiting.Done():
		return none, whyDone(ctx, waiting)
	}
}

// whyDone tells the caller's own end from the one of patience.
func whyDone(ctx, waiting context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return context.Cause(waiting)
}
