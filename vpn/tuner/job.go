package tuner

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/natprobe/natprobe/results"
)

// job is a measurement or a trial that runs.
type job struct {
	cancel context.CancelFunc
	done   chan outcome
}

// outcome is what a job ended with.
type outcome struct {
	task         task
	record       *results.Record
	verification *results.Verification
	err          error
}

// schedule says what is done next, and when. It replaces what was to be done.
func (p *path) schedule(what task, wait time.Duration) {
	p.next = what
	p.nextAt.Stop()
	p.show(func(s *PathStatus) { s.Next, s.NextAt = "", nil })
	if what == taskNone {
		return
	}
	p.nextAt.Reset(wait)
	at := time.Now().Add(wait)
	p.show(func(s *PathStatus) { s.Next, s.NextAt = what.String(), &at })
}

// stop ends what runs and waits for its end, so that two never share the path.
func (p *path) stop() {
	if p.job == nil {
		return
	}
	p.job.cancel()
	<-p.job.done
	p.job = nil
}

// begin starts what is to be done next.
func (p *path) begin(ctx context.Context) {
	p.stop()
	peers, err := p.peers()
	if err != nil || len(peers) == 0 {
		p.schedule(p.next, p.t.cfg.Pace.RetryFirst) // look says what is wrong
		return
	}
	what, interval := p.next, time.Duration(p.interval)*time.Second
	p.schedule(taskNone, 0)
	with := peers[p.turn%len(peers)]
	to := Target{Peer: with.PublicKey, Endpoint: with.Endpoint}
	ctx, cancel := context.WithCancel(ctx)
	p.job = &job{cancel: cancel, done: make(chan outcome, 1)}
	done := p.job.done
	switch {
	case what == taskVerify && interval > 0:
		p.show(func(s *PathStatus) { s.Phase = PhaseVerifying })
		go func() {
			v, err := p.t.cfg.Measurer.Verify(ctx, to, interval)
			done <- outcome{task: taskVerify, verification: v, err: err}
		}()
	default:
		p.show(func(s *PathStatus) { s.Phase = PhaseMeasuring })
		go func() {
			r, err := p.t.cfg.Measurer.Measure(ctx, to)
			done <- outcome{task: taskMeasure, record: r, err: err}
		}()
	}
}

func (p *path) ended(ctx context.Context, found outcome) {
	if ctx.Err() != nil {
		return
	}
	if errors.Is(found.err, ErrNoReflector) {
		p.turn++ // another peer may be one that answers
	}
	if found.task == taskVerify {
		p.tried(ctx, found)
	} else {
		p.measured(ctx, found)
	}
}

// settle says how things stand after a job.
func (p *path) settle(trouble string) {
	p.show(func(s *PathStatus) {
		s.Phase, s.Trouble = PhaseUnknown, trouble
		if !p.known.MeasuredAt.IsZero() {
			s.Phase = PhaseSet
		}
	})
}

// failed tries again later, ever more rarely.
func (p *path) failed(what task, why string) {
	pace := p.t.cfg.Pace
	p.retry = min(max(2*p.retry, pace.RetryFirst), pace.RetryMost)
	p.t.log.Warn("nothing was found out about the path", "doing", what, "reason", why, "again_in", p.retry,
		"network", p.network.Label, "family", p.family)
	p.settle(why)
	p.schedule(what, p.retry)
}

// measured takes over what a measurement says.
func (p *path) measured(ctx context.Context, found outcome) {
	if found.record == nil {
		why := "the measurement ended without a record"
		if found.err != nil {
			why = found.err.Error()
		}
		p.failed(taskMeasure, why)
		return
	}
	advice := p.t.cfg.Recommend(found.record)
	if advice.KeepaliveS == nil {
		p.insufficient(ctx, found, advice)
		return
	}
	p.retry = 0
	now := time.Now()
	p.known.IntervalS = *advice.KeepaliveS
	p.known.Lifetimes, p.known.Recommendation = found.record.Lifetimes, &advice
	p.known.MeasuredAt, p.known.VerifiedAt = now, time.Time{}
	p.apply(ctx, p.known.IntervalS, "measured: "+advice.Basis)
	p.remember()
	p.verified = 0
	p.settle("")
	p.trialNext()
}

// insufficient deals with a measurement that doesn't tell enough. What is set
// stays if it is shorter than what the measurement would fall back to.
func (p *path) insufficient(ctx context.Context, found outcome, advice results.Recommendation) {
	if errors.Is(found.err, ErrNoReflector) {
		p.failed(taskMeasure, found.err.Error())
		return
	}
	if advice.FallbackS != nil && (p.interval == 0 || *advice.FallbackS < p.interval) {
		p.apply(ctx, *advice.FallbackS, "the measurement was not conclusive: "+advice.Reason)
	}
	p.failed(taskMeasure, advice.Reason)
}

// tried draws the consequences of a trial.
func (p *path) tried(ctx context.Context, found outcome) {
	v := found.verification
	switch {
	case v != nil && v.Missed > 0:
		lower := min(p.start, max(p.interval/2, 1))
		reason := fmt.Sprintf("%d of %d trials of %d s failed: what was known of this network is wrong now",
			v.Missed, v.Missed+v.Reached, p.interval)
		p.known = Known{Network: p.network.ID, Label: p.network.Label, Family: p.family}
		if err := p.t.cfg.Memory.Forget(p.network.ID, p.family); err != nil {
			p.t.log.Warn("what is known of this network can't be forgotten on disk", "error", err)
		}
		p.showKnown()
		p.apply(ctx, lower, reason)
		p.settle("")
		p.schedule(taskMeasure, 0)
	case v != nil && v.Reached > 0:
		p.retry = 0
		p.known.VerifiedAt = time.Now()
		p.remember()
		p.t.log.Debug("the keepalive holds", "seconds", p.interval, "trials", v.Reached, "network", p.network.Label)
		p.settle("")
		if time.Since(p.known.MeasuredAt) > p.t.cfg.Pace.MeasureAgain {
			p.schedule(taskMeasure, 0) // it may live longer by now
			return
		}
		p.trialNext()
	case found.err != nil:
		p.failed(taskVerify, found.err.Error())
	default:
		p.failed(taskVerify, "no trial said anything")
	}
}

// trialNext schedules the next trial, later each time.
func (p *path) trialNext() {
	pace := p.t.cfg.Pace
	p.verified = min(max(2*p.verified, pace.VerifyFirst), pace.VerifyMost)
	if p.interval == 0 {
		p.verified = pace.VerifyMost // without keepalives only a measurement tells
	}
	p.schedule(taskVerify, p.verified)
}

// remember keeps what is known. A disk that can't be written is no reason to
// stop: this process still knows.
func (p *path) remember() {
	if p.network.Unsure {
		p.showKnown()
		return
	}
	if err := p.t.cfg.Memory.Remember(p.known); err != nil {
		p.t.log.Warn("what is known of this network is kept until natprobe ends only", "error", err)
	}
	p.showKnown()
}
