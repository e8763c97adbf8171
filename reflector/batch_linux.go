package reflector

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// batchSize is how many packets one system call moves at most: enough to make
	// its cost small beside the packets' own, few enough to answer within a
	// fraction of a millisecond.
	batchSize = 64
	// batchBuffer holds every datagram that has an answer: natprobe's of up to
	// wire.MaxPayload, and RFC 5780's padded to the MTU of the client's interface
	// (section 7.6), which in some clouds is 9,001. A socket's buffers are 576 KiB,
	// of which the system finds memory for what datagrams have filled.
	batchBuffer = 9 << 10
	// batchControl holds a control message with an address, and its header.
	batchControl = 64
)

// newTransport returns what moves packets through conn: many at a time where it
// is a system's socket.
func newTransport(conn net.PacketConn) transport {
	var udp *net.UDPConn
	switch conn := conn.(type) { // these types alone: one that embeds them has ways of its own
	case *net.UDPConn:
		udp = conn
	case *wildcard:
		udp = conn.UDPConn
	default:
		return newAnyConn(conn)
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return newAnyConn(conn)
	}
	family, err := socketFamily(raw)
	if err != nil {
		return newAnyConn(conn)
	}
	return newBatchConn(raw, family == unix.AF_INET)
}

func socketFamily(raw syscall.RawConn) (family int, err error) {
	controlErr := raw.Control(func(fd uintptr) {
		family, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DOMAIN)
	})
	if controlErr != nil {
		return 0, controlErr
	}
	return family, err
}

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// messages are the arguments of one system call. Their parts point to each
// other, so they stay where they are.
type messages struct {
	headers [batchSize]mmsghdr
	vectors [batchSize]unix.Iovec
	names   [batchSize]unix.RawSockaddrInet6 // an IPv4 one fits in
	control [batchSize][batchControl]byte
	first   int // the range that the next call is about
	count   int
	errno   syscall.Errno
}

// batchConn is the transport of a system's UDP socket. It reads and writes
// batches by system calls of its own, as x/net's ReadBatch allocates an address
// for each packet. Waiting is left to the runtime's poller.
type batchConn struct {
	raw  syscall.RawConn
	ipv4 bool // an IPv4 socket; else it has IPv6 addresses, and IPv4 ones in that form

	drops atomic.Uint32 // as the system said last

	in      messages
	memory  []byte
	packets [batchSize]packet
	reading func(fd uintptr) bool

	// Two may send at a time: bursts don't wait while a batch of answers leaves. So
	// nothing is sent by raw.Write, which lets in one at a time.
	outboxes [2]outbox
}

// outbox is the memory of one who sends.
type outbox struct {
	conn    *batchConn
	busy    sync.Mutex // guards what follows
	out     messages
	writing func(fd uintptr)
}

func newBatchConn(raw syscall.RawConn, ipv4 bool) *batchConn {
	c := &batchConn{raw: raw, ipv4: ipv4, memory: make([]byte, batchSize*batchBuffer)}
	c.in.link()
	for i := range batchSize {
		c.in.vectors[i].Base = &c.memory[i*batchBuffer]
		c.in.vectors[i].SetLen(batchBuffer)
		c.in.headers[i].header.Control = &c.in.control[i][0]
	}
	c.in.count = batchSize
	// Made once: a function made for each call would be allocated.
	c.reading = c.tryReceive
	for i := range c.outboxes {
		o := &c.outboxes[i]
		o.conn = c
		o.out.link()
		o.writing = o.trySend
	}
	return c
}

// link makes the parts point to each other.
func (m *messages) link() {
	for i := range m.headers {
		h := &m.headers[i].header
		h.Iov = &m.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&m.names[i])) //nolint:gosec // the system takes any kind of address here
	}
}

// call makes the system call that is numbered trap. It never waits, so the
// runtime isn't told of it, which would cost more than the call itself where
// packets come one at a time.
func (m *messages) call(trap, fd uintptr, flags int) (n int) {
	at := uintptr(unsafe.Pointer(&m.headers[m.first])) //nolint:gosec // of m, which outlives the call
	got, _, errno := unix.RawSyscall6(trap, fd, at, uintptr(m.count-m.first), uintptr(flags), 0, 0)
	m.errno = errno
	if errno != 0 {
		return 0
	}
	return int(got)
}

// tryReceive reports false where there is nothing to receive.
func (c *batchConn) tryReceive(fd uintptr) bool {
	for {
		// With MSG_TRUNC the length is that of the datagram, even where the
		// buffer is shorter.
		c.in.count = batchSize
		n := c.in.call(unix.SYS_RECVMMSG, fd, unix.MSG_DONTWAIT|unix.MSG_TRUNC)
		switch c.in.errno {
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			c.in.count = n
			return true
		}
	}
}

func (c *batchConn) receive() ([]packet, error) {
	for i := range c.in.count { // what the last call changed
		h := &c.in.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(batchControl)
	}
	c.in.count = batchSize
	if err := c.raw.Read(c.reading); err != nil {
		c.in.count = batchSize
		return nil, err
	}
	if c.in.errno != 0 {
		c.in.count = batchSize
		return nil, c.in.errno
	}
	for i := range c.in.count {
		m := &c.in.headers[i]
		size := min(int(m.length), batchBuffer)
		c.packets[i] = packet{
			way:  way{peer: addrPortOf(&c.in.names[i], m.header.Namelen), local: contacted(c.in.control[i][:m.header.Controllen])},
			data: c.memory[i*batchBuffer:][:size],
			cut:  int(m.length) - size,
		}
	}
	return c.packets[:c.in.count], nil
}

// trySend sends what is left of a batch. It never waits: what finds the
// socket's buffer full is lost, as it would be on a full line.
func (o *outbox) trySend(fd uintptr) {
	for {
		n := o.out.call(unix.SYS_SENDMMSG, fd, unix.MSG_DONTWAIT)
		if o.out.errno != unix.EINTR {
			o.out.first += n
			return
		}
	}
}

func (c *batchConn) send(packets []packet) {
	o := &c.outboxes[0]
	if !o.busy.TryLock() {
		o = &c.outboxes[1]
		o.busy.Lock()
	}
	defer o.busy.Unlock()
	for len(packets) > 0 {
		n := min(len(packets), batchSize)
		o.sendSome(packets[:n])
		packets = packets[n:]
	}
}

// sendSome sends up to batchSize packets.
func (o *outbox) sendSome(packets []packet) {
	for i := range packets {
		o.fill(i, &packets[i])
	}
	o.out.first, o.out.count = 0, len(packets)
	for o.out.first < o.out.count {
		if err := o.conn.raw.Control(o.writing); err != nil {
			break // closed
		}
		switch o.out.errno {
		case 0:
			continue
		case unix.EAGAIN:
			o.fail(packets, len(packets))
		default: // the first one's own error
			o.fail(packets, o.out.first+1)
		}
	}
	o.fail(packets, len(packets))
	for i := range packets {
		o.out.vectors[i].Base = nil // the packets are their owner's again
	}
}

// fail marks packets before end that have not left.
func (o *outbox) fail(packets []packet, end int) {
	for ; o.out.first < end; o.out.first++ {
		packets[o.out.first].failed = true
	}
}

// fill makes p the message in place i.
func (o *outbox) fill(i int, p *packet) {
	p.failed = false
	h := &o.out.headers[i].header
	o.out.vectors[i].Base = unsafe.SliceData(p.data) //nolint:gosec // with its length, below; nil where it is empty
	o.out.vectors[i].SetLen(len(p.data))
	h.Namelen = o.conn.name(&o.out.names[i], p.peer)
	h.Control = nil
	h.SetControllen(0)
	if p.local.IsValid() {
		control := &o.out.control[i]
		h.Control = &control[0]
		h.SetControllen(controlFrom(control, p.local))
	}
}

// addrPortOf reads a peer's address.
func addrPortOf(name *unix.RawSockaddrInet6, length uint32) netip.AddrPort {
	port := networkOrder(name.Port)
	switch {
	case name.Family == unix.AF_INET && length >= unix.SizeofSockaddrInet4:
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(name)) //nolint:gosec // its family says so
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	case name.Family == unix.AF_INET6 && length >= unix.SizeofSockaddrInet6:
		addr := netip.AddrFrom16(name.Addr).Unmap()
		if name.Scope_id != 0 && addr.Is6() { // a link's own address, which few reflectors ever see
			addr = addr.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10))
		}
		return netip.AddrPortFrom(addr, port)
	default:
		return netip.AddrPort{}
	}
}

// name writes a peer's address and returns its length.
func (c *batchConn) name(to *unix.RawSockaddrInet6, peer netip.AddrPort) uint32 {
	addr := peer.Addr()
	if c.ipv4 {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(to)) //nolint:gosec // what the family says it is
		*v4 = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: networkOrder(peer.Port())}
		if addr.Is4() {
			v4.Addr = addr.As4()
		}
		return unix.SizeofSockaddrInet4
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(peer.Port()), Addr: addr.As16()}
	if zone := addr.Zone(); zone != "" {
		scope, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			if link, err := net.InterfaceByName(zone); err == nil {
				scope = uint64(link.Index) //nolint:gosec // positive
			}
		}
		to.Scope_id = uint32(scope)
	}
	return unix.SizeofSockaddrInet6
}

// networkOrder turns a port as the system has it into a number, and back.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], port)
	return binary.BigEndian.Uint16(b[:])
}

// Control messages, cmsg(3), by hand: the libraries' functions allocate.
const (
	controlHeader  = unix.SizeofCmsghdr
	controlIPv4    = controlHeader + unix.SizeofInet4Pktinfo
	controlIPv6    = controlHeader + unix.SizeofInet6Pktinfo
	dstInIPv4      = 8 // bytes into struct in_pktinfo
	specDstInIPv4  = 4
	alignmentBytes = unix.SizeofLong
)

// contacted returns a datagram's destination; invalid where it isn't told. On a
// socket for both families an IPv4 one comes in its IPv6 form.
func contacted(control []byte) netip.Addr {
	for len(control) >= controlHeader {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0])) //nolint:gosec // long enough
		size := int(h.Len)                                //nolint:gosec // compared with what there is
		if size < controlHeader || size > len(control) {
			break
		}
		data := control[controlHeader:size]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[dstInIPv4:]))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data)).Unmap()
		}
		control = control[min((size+alignmentBytes-1)&^(alignmentBytes-1), len(control)):]
	}
	return netip.Addr{}
}

// controlFrom writes the message that makes a datagram leave from an address of
// ours, and returns its length.
func controlFrom(b *[batchControl]byte, local netip.Addr) int {
	clear(b[:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0])) //nolint:gosec // long enough
	if local.Is4() {
		h.Level, h.Type = unix.IPPROTO_IP, unix.IP_PKTINFO
		h.SetLen(controlIPv4)
		v4 := local.As4()
		copy(b[controlHeader+specDstInIPv4:], v4[:])
		return (controlIPv4 + alignmentBytes - 1) &^ (alignmentBytes - 1)
	}
	h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_PKTINFO
	h.SetLen(controlIPv6)
	v6 := local.As16()
	copy(b[controlHeader:], v6[:])
	return (controlIPv6 + alignmentBytes - 1) &^ (alignmentBytes - 1)
}
