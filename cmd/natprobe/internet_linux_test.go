package main_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The Internet has crowdSize addresses in as many networks as an IPv4 /8 has,
// which belong to people who know nothing of a reflector: crowdBase and each 64th
// from there on. All others are bots'.
const (
	crowdBase = 0x0b000000
	crowdStep = 64
	crowdSize = 1 << 18
)

const (
	ipv4Header, udpHeader = 20, 8

	// internetQueue is how many packets may wait until they are read: a second
	// of a flood.
	internetQueue = 200_000
	internetMTU   = 9000
)

// internet is the rest of the world as a lab's server sees it: a host behind a
// link of its own that has every address which isn't the lab's. It can forge, and
// keeps the books of what the server sends to whom. It is a TUN device, so what
// it sends arrives like any packet from outside.
type internet struct {
	t      *testing.T
	tun    *os.File
	link   string
	server netip.AddrPort
	reader sync.WaitGroup

	crowd []account     // by number
	read  atomic.Uint64 // UDP packets

	mu     sync.Mutex
	broken []error // rules that were, the first ones
	bots   map[netip.Addr]*bot
}

// account is what was sent in the name of one of the crowd, and what it got.
type account struct {
	plain, natprobe traffic
}

type traffic struct{ packetsIn, bytesIn, packetsOut, bytesOut atomic.Uint32 }

// crowdAddr returns an address of the crowd.
func crowdAddr(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(crowdBase+i*crowdStep))
	return netip.AddrFrom4(b)
}

// startInternet connects the server of a lab of IPv4 with the Internet, until the
// test ends.
func startInternet(t *testing.T, n *kernelNet) *internet {
	t.Helper()
	if device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		t.Skipf("SKIPPED, %s NEEDS TUN DEVICES: %v", t.Name(), err)
	} else {
		device.Close()
	}
	w := &internet{
		t: t, link: newInterface(), server: n.reflectorAddr(),
		crowd: make([]account, crowdSize), bots: make(map[netip.Addr]*bot),
	}
	onServer(t, n, w.connect)
	w.reader.Go(w.receive)
	t.Cleanup(func() {
		_ = w.tun.Close() // with it the link goes
		w.reader.Wait()
	})
	return w
}

// connect makes the link in the namespace of the calling thread.
func (w *internet) connect() error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	request, err := unix.NewIfreq(w.link)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return errors.Join(fmt.Errorf("make the link %s: %w", w.link, err), unix.Close(fd))
	}
	w.tun = os.NewFile(uintptr(fd), w.link)
	link, err := netlink.LinkByName(w.link)
	if err != nil {
		return err
	}
	return errors.Join(
		netlink.LinkSetMTU(link, internetMTU),
		netlink.LinkSetTxQLen(link, internetQueue),
		netlink.LinkSetUp(link),
		netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}}),
	)
}

// unread returns how many packets left the server for the Internet and were never
// read, as they were too many at a time.
func (w *internet) unread(n *kernelNet) (lost uint64) {
	onServer(w.t, n, func() error {
		link, err := netlink.LinkByName(w.link)
		if err != nil {
			return err
		}
		lost = link.Attrs().Statistics.TxDropped
		return nil
	})
	return lost
}

// packet writes an IPv4 UDP datagram to the reflector into b.
func (w *internet) packet(b []byte, from netip.AddrPort, payload []byte) []byte {
	b = append(b[:0], make([]byte, ipv4Header+udpHeader)...)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(b[2:], uint16(ipv4Header+udpHeader+len(payload)))
	source, destination := from.Addr().As4(), w.server.Addr().As4()
	copy(b[12:], source[:])
	copy(b[16:], destination[:])
	sum := uint32(0)
	for i := 0; i < ipv4Header; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xFFFF + sum>>16
	}
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum))
	binary.BigEndian.PutUint16(b[20:], from.Port())
	binary.BigEndian.PutUint16(b[22:], w.server.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(udpHeader+len(payload))) // without a checksum, as IPv4 allows
	return append(b, payload...)
}

// send sends a packet that packet has made.
func (w *internet) send(b []byte) {
	if _, err := w.tun.Write(b); err != nil && !errors.Is(err, os.ErrClosed) {
		w.t.Errorf("the Internet: %v", err)
	}
}

// sendAs sends a packet in the name of one of the crowd, and books it.
func (w *internet) sendAs(number int, plain bool, b []byte) {
	of := &w.crowd[number].natprobe
	if plain {
		of = &w.crowd[number].plain
	}
	of.packetsIn.Add(1)
	of.bytesIn.Add(uint32(len(b)))
	w.send(b)
}

// receive takes what the server sends, until the link goes.
func (w *internet) receive() {
	b := make([]byte, internetMTU)
	for {
		n, err := w.tun.Read(b)
		if err != nil {
			return
		}
		if n < ipv4Header+udpHeader || b[0] != 0x45 || b[9] != unix.IPPROTO_UDP {
			continue // what a new link is told of, as by IPv6's neighbor discovery
		}
		w.read.Add(1)
		to := netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:20])), binary.BigEndian.Uint16(b[22:]))
		w.mu.Lock()
		bot := w.bots[to.Addr()]
		w.mu.Unlock()
		if bot != nil {
			bot.receive(b[ipv4Header+udpHeader : n])
			continue
		}
		if err := w.book(to.Addr(), n, b[ipv4Header+udpHeader:n]); err != nil {
			w.breaks(err)
		}
	}
}

// breaks notes a rule that was broken.
func (w *internet) breaks(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.broken) < 5 {
		w.broken = append(w.broken, err)
	}
}

// plainMark is the first byte of the transaction ids of plain requests from the
// crowd, and of no others.
const plainMark = 0xAA

// book takes what was sent to one of the crowd, who never showed that it receives:
// an answer at most to each packet in its name, and of natprobe's no more bytes
// than came.
func (w *internet) book(to netip.Addr, size int, payload []byte) error {
	addr := to.As4()
	number := (int(binary.BigEndian.Uint32(addr[:])) - crowdBase) / crowdStep
	if number < 0 || number >= crowdSize || crowdAddr(number) != to {
		return fmt.Errorf("%d bytes to %v, in whose name nothing was sent", size, to)
	}
	const classAt, idAt, indication = 0, 8, 0x10
	if len(payload) < idAt+12 || payload[classAt+1]&indication != 0 && payload[classAt]&1 == 0 {
		return fmt.Errorf("%d bytes to %v are no answer: % x", size, to, payload[:min(len(payload), 48)])
	}
	of, most := &w.crowd[number].natprobe, func(in uint32) uint32 { return in }
	if payload[idAt] == plainMark {
		of, most = &w.crowd[number].plain, func(in uint32) uint32 { return in * 5 / 2 }
	}
	packets, bytes := of.packetsOut.Add(1), of.bytesOut.Add(uint32(size))
	if packets > of.packetsIn.Load() || bytes > most(of.bytesIn.Load()) {
		return fmt.Errorf("%v was sent %d packets, %d bytes, for %d packets, %d bytes in its name",
			to, packets, bytes, of.packetsIn.Load(), of.bytesIn.Load())
	}
	return nil
}

// totals adds up what was sent in the crowd's name, and what it got, in IP bytes.
func (w *internet) totals() (in, out uint64) {
	for i := range w.crowd {
		for _, of := range []*traffic{&w.crowd[i].plain, &w.crowd[i].natprobe} {
			in += uint64(of.bytesIn.Load())
			out += uint64(of.bytesOut.Load())
		}
	}
	return in, out
}
