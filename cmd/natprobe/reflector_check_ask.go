package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/reflector/wire"
)

const (
	// askTries of askWait each: loss of one packet in five leaves one question
	// in 300 unanswered.
	askTries = 6
	askWait  = 500 * time.Millisecond
)

// answer is what an address says to one question.
type answer struct {
	reply wire.Reply // nil: nothing
	rtt   time.Duration
}

// askReflector sends a question until it is answered from where it went.
func askReflector(ctx context.Context, listen probe.ListenFunc, to netip.AddrPort, question []byte, id wire.ID) (a answer, err error) {
	network, local := "udp4", "0.0.0.0:0"
	if to.Addr().Is6() {
		network, local = "udp6", "[::]:0"
	}
	conn, err := listen(ctx, network, local)
	if err != nil {
		return a, fmt.Errorf("open a socket: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	buf := make([]byte, wire.MaxPayload+1)
	for range askTries {
		sent := time.Now()
		if err := conn.SetReadDeadline(sent.Add(askWait)); err != nil {
			return a, err
		}
		if ctx.Err() != nil {
			return a, ctx.Err()
		}
		// What can't be sent now gets no answer, and is sent again.
		_, _ = conn.WriteTo(question, net.UDPAddrFromAddrPort(to))
		for {
			n, from, err := conn.ReadFrom(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil { // an ICMP error, on some systems
				select {
				case <-time.After(time.Until(sent.Add(askWait))):
				case <-ctx.Done():
				}
				break
			}
			udp, ok := from.(*net.UDPAddr)
			if !ok || netip.AddrPortFrom(udp.AddrPort().Addr().Unmap(), udp.AddrPort().Port()) != to {
				continue
			}
			if reply, err := wire.ParseReply(buf[:n]); err == nil && replyID(reply) == id {
				return answer{reply, time.Since(sent)}, nil
			}
		}
	}
	return a, ctx.Err()
}

func replyID(r wire.Reply) wire.ID {
	switch r := r.(type) {
	case wire.BindingReply:
		return r.ID
	case wire.HelloReply:
		return r.ID
	case wire.Refusal:
		return r.ID
	default:
		return wire.ID{}
	}
}

// askBinding asks as any STUN client does.
func askBinding(ctx context.Context, listen probe.ListenFunc, to netip.AddrPort) (wire.BindingReply, time.Duration, bool, error) {
	q := wire.Binding{ID: wire.NewID()}
	a, err := askReflector(ctx, listen, to, q.Encode(), q.ID)
	reply, ok := a.reply.(wire.BindingReply)
	return reply, a.rtt, ok, err
}

// askHello asks as a prober does at first.
func askHello(ctx context.Context, listen probe.ListenFunc, to netip.AddrPort) (wire.HelloReply, time.Duration, bool, error) {
	q := wire.Hello{ID: wire.NewID()}
	a, err := askReflector(ctx, listen, to, q.Encode(), q.ID)
	reply, ok := a.reply.(wire.HelloReply)
	return reply, a.rtt, ok, err
}
