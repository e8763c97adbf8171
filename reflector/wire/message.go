package wire

import (
	"net/netip"
	"time"
)

const (
	// MaxCopies is the largest burst.
	MaxCopies = 10
	// MaxSpread is the longest time from a burst's first copy to its last. A
	// receipt's offsets reach a little further.
	MaxSpread = time.Second
	// MaxTokens is how many tokens an order may carry: one for each external
	// address that the prober has been seen at.
	MaxTokens = 4
	// MaxQueryIDs is how many orders one query may ask for; its answer then
	// still fits every path (RFC 8200's 1,280 bytes).
	MaxQueryIDs = 16
	// MaxPayload is the largest UDP payload in bytes that either side sends.
	MaxPayload = 1200
)

// Request is what a prober sends: Binding, Hello, Check, Order or Query.
type Request interface{ isRequest() }

// Binding is a plain STUN Binding request (RFC 8489), without natprobe
// attributes.
type Binding struct {
	ID ID
	// Unknown lists the comprehension-required attributes that this package
	// doesn't know, each once, the first sixteen of them. A server answers them with 420 (RFC 8489 section 6.3.1). A
	// natprobe request that carries one is parsed as a Binding too.
	Unknown []uint16
}

// Hello asks for a token, the limits and the external address.
type Hello struct {
	ID ID
	// Token shows that the sender receives at its address, if it knows one that
	// does: then what others forge in its name can't use up what it may send.
	// Zero: none.
	Token Token
}

// Check asks for the external address, to see that a flow works.
type Check struct {
	ID    ID
	Token Token // as Hello's
}

// Order asks for a burst after a silence. Where it is accepted nothing comes
// back before the burst. An order of no copies asks for its receipt only: it
// opens a mapping in silence, and the prober can tell that it passed.
type Order struct {
	ID      ID
	Session SessionID
	Tokens  []Token       // 1 to MaxTokens; one must be good for the order's source address
	Delay   time.Duration // from the order's arrival to the first copy, whole milliseconds; ignored without copies
	Spread  time.Duration // from the first copy to the last, whole milliseconds, 0 to MaxSpread; ignored without copies
	Copies  int           // 0 to MaxCopies; 0: a receipt only
	Size    int           // payload bytes to pad to; the least that pays is taken where it is larger
}

// Query keeps a session's control flow: it tells the reflector where beacons
// go and asks what became of orders.
type Query struct {
	ID      ID
	Session SessionID
	Token   Token
	Seq     uint32 // counts the session's queries from 1
	Orders  []ID   // at most MaxQueryIDs
	Size    int    // payload bytes to pad to, beyond the least that pays for the answer
}

func (Binding) isRequest() {}
func (Hello) isRequest()   {}
func (Check) isRequest()   {}
func (Order) isRequest()   {}
func (Query) isRequest()   {}

// Reply is what a reflector sends: BindingReply, HelloReply, CheckReply,
// QueryReply, Refusal, Burst or Beacon.
type Reply interface{ isReply() }

// HelloReply answers a Hello.
type HelloReply struct {
	ID     ID
	Mapped netip.AddrPort
	Token  Token
	Boot   BootID
	Limits Limits
}

// CheckReply answers a Check.
type CheckReply struct {
	ID     ID
	Mapped netip.AddrPort
	Boot   BootID
}

// QueryReply answers a Query.
type QueryReply struct {
	ID       ID
	Mapped   netip.AddrPort
	Token    Token // a fresh one
	Boot     BootID
	Seq      uint32 // the query's
	Received uint32 // how many of the session's queries have arrived, this one included
	Receipts []Receipt
}

// Refusal is a STUN error response.
type Refusal struct {
	ID    ID
	Code  Code
	Limit LimitKind // which limit was met, or LimitNone
	Value uint32    // the limit's value in its own unit
	Token Token     // a fresh one; zero where none was given
	Boot  BootID
	Kind  Kind // what was refused
}

// Copy is one packet of a burst, or the beacon that accompanies it.
type Copy struct {
	ID    ID            // of the order
	Index int           // 0 to Of-1
	Of    int           // copies in the burst
	Gap   time.Duration // silence from the order's arrival to this copy's departure, whole microseconds
}

// Burst is a Copy sent to where the order came from.
type Burst struct{ Copy }

// Beacon is a Copy sent on the control flow.
type Beacon struct{ Copy }

func (BindingReply) isReply() {}
func (HelloReply) isReply()   {}
func (CheckReply) isReply()   {}
func (QueryReply) isReply()   {}
func (Refusal) isReply()      {}
func (Burst) isReply()        {}
func (Beacon) isReply()       {}

// Code is a STUN error code (RFC 8489 section 14.8).
type Code int

// The codes that a reflector answers with.
const (
	CodeBadRequest       Code = 400
	CodeUnknownAttribute Code = 420
	CodeUnknownSession   Code = 437 // no control flow has named this session yet, or it is forgotten
	CodeStaleToken       Code = 438 // no token was good for the source address; a fresh one is attached
	CodeQuota            Code = 486 // a limit of the sender's own address; Limit says which
	CodeCapacity         Code = 508 // a limit of the reflector; Limit says which
)

// Kind tells natprobe's requests, and what they are answered with, apart.
type Kind uint8

// The kinds of natprobe messages.
const (
	KindNone Kind = iota // plain STUN
	KindHello
	KindCheck
	KindOrder
	KindQuery
)
