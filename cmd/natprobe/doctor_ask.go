package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// stunWaits are how long answers are waited for, one request each.
func stunWaits() []time.Duration {
	return []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}
}

// errSilent says that no answer came.
var errSilent = errors.New("no answer")

// askSTUN sends plain STUN requests until one is answered.
func askSTUN(ctx context.Context, a *answerFact) {
	request := wire.Binding{ID: wire.NewID()}
	a.Err = exchange(ctx, a.To, stunWaits(), request.Encode(), func(b []byte, rtt time.Duration) (bool, error) {
		reply, err := wire.ParseReply(b)
		if errors.Is(err, wire.ErrNotSTUN) {
			return false, nil
		}
		switch r := reply.(type) {
		case wire.BindingReply:
			if r.ID != request.ID {
				return false, nil
			}
			a.Mapped, a.RTT = netip.AddrPortFrom(r.Mapped.Addr().Unmap(), r.Mapped.Port()), rtt
			return true, nil
		case wire.Refusal:
			return r.ID == request.ID, fmt.Errorf("it refuses: %v", r.Code)
		default:
			return true, errors.New("what answers there is no STUN server that says whom it sees")
		}
	})
}

// natPMPPort is where routers answer (RFC 6886 section 3).
const natPMPPort = 5351

// askRouters asks the IPv4 gateway for its outer address.
func askRouters(ctx context.Context, paths []pathFact) routerFact {
	for _, p := range paths {
		if p.To.Is4() && p.Gateway.IsValid() {
			return askRouter(ctx, netip.AddrPortFrom(p.Gateway, natPMPPort))
		}
	}
	return routerFact{Unknown: "which router is the first is not known here"}
}

// askRouter asks a router for its outer address by NAT-PMP (RFC 6886 section
// 3.2).
func askRouter(ctx context.Context, at netip.AddrPort) routerFact {
	const silent = "the router doesn't tell its outer address (by NAT-PMP)"
	var fact routerFact
	waits := []time.Duration{250 * time.Millisecond, 500 * time.Millisecond, time.Second}
	err := exchange(ctx, at, waits, []byte{0, 0}, func(b []byte, _ time.Duration) (bool, error) {
		// Version 0, operation 128, result 0, seconds, address.
		if len(b) < 12 || b[0] != 0 || b[1] != 128 {
			return false, nil
		}
		fact.Outer = netip.AddrFrom4([4]byte(b[8:12]))
		if b[2] != 0 || b[3] != 0 || fact.Outer.IsUnspecified() {
			return true, errSilent
		}
		return true, nil
	})
	if err != nil {
		return routerFact{Unknown: silent}
	}
	return fact
}

// exchange sends a request until it is answered, and waits each time. heard tells
// whether a datagram is the answer.
func exchange(ctx context.Context, to netip.AddrPort, waits []time.Duration, request []byte, heard func([]byte, time.Duration) (bool, error)) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	buffer := make([]byte, 2048)
	for _, wait := range waits {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		sent := time.Now()
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(sent.Add(wait)); err != nil {
			return err
		}
		for {
			n, err := conn.Read(buffer)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				break
			}
			if err != nil {
				return err
			}
			if done, err := heard(buffer[:n], time.Since(sent)); done {
				return err
			}
		}
	}
	return errSilent
}
