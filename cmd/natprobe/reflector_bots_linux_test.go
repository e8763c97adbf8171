package main_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
)

// bot is an address whose owner receives what is sent there, and so can prove it.
type bot struct {
	w       *internet
	addr    netip.AddrPort
	session wire.SessionID
	token   wire.Token
	seq     uint32
	answers chan wire.Reply

	mu   sync.Mutex
	left []time.Time // when copies and beacons left the reflector
}

// newBot adds an address that isn't one of the crowd.
func (w *internet) newBot(addr netip.AddrPort) *bot {
	b := &bot{w: w, addr: addr, session: wire.NewSessionID(), answers: make(chan wire.Reply, 16)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bots[addr.Addr()] = b
	return b
}

func (b *bot) receive(payload []byte) {
	reply, err := wire.ParseReply(payload)
	if err != nil {
		b.w.breaks(fmt.Errorf("to the bot %v: %w", b.addr, err))
		return
	}
	switch r := reply.(type) {
	case wire.Burst:
		b.leaves(r.Copy)
	case wire.Beacon:
		b.leaves(r.Copy)
	default:
		select {
		case b.answers <- reply:
		default: // refusals of a flood, which nobody reads
		}
	}
}

// leaves notes when a copy or a beacon left, which it tells itself: it may have
// waited for long to be read here.
func (b *bot) leaves(c wire.Copy) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = append(b.left, orderedAt(c.ID).Add(c.Gap))
}

// stampAt is where in an order's id its moment is.
const stampAt = 4

// stamp writes the moment at which an order leaves into its id.
func stamp(id []byte) { binary.BigEndian.PutUint64(id[stampAt:], uint64(time.Now().UnixNano())) }

func orderedAt(id wire.ID) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(id[stampAt:])))
}

// ask sends a request until it is answered by a T.
func ask[T wire.Reply](b *bot, request func() []byte) (T, error) {
	for range 50 {
		b.w.send(b.w.packet(nil, b.addr, request()))
		for timeout := time.After(200 * time.Millisecond); timeout != nil; {
			select {
			case reply := <-b.answers:
				if wanted, ok := reply.(T); ok { // else it is of an earlier request
					return wanted, nil
				}
			case <-timeout:
				timeout = nil
			}
		}
	}
	var none T
	return none, fmt.Errorf("the bot %v gets no %T", b.addr, none)
}

// prove gets a token for the bot's address, and makes a session.
func (b *bot) prove() error {
	hello, err := ask[wire.HelloReply](b, func() []byte { return wire.Hello{ID: wire.NewID()}.Encode() })
	if err != nil {
		return err
	}
	b.token = hello.Token
	_, err = ask[wire.QueryReply](b, func() []byte {
		b.seq++
		return wire.Query{ID: wire.NewID(), Session: b.session, Token: b.token, Seq: b.seq}.Encode()
	})
	return err
}

// order returns an order of the bot's that pays for its copies.
func (b *bot) order(delay time.Duration, copies int) wire.Order {
	id := wire.NewID()
	id[0] = 0 // no plainMark, as it may be replayed in the crowd's name
	stamp(id[:])
	return wire.Order{
		ID: id, Session: b.session, Tokens: []wire.Token{b.token},
		Delay: delay.Truncate(time.Millisecond), Copies: copies, Size: wire.OrderSize(copies, true, false),
	}
}
