package network

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// filter decides which of the kernel's messages mean that something changed. It
// remembers what was said before, because much is repeated: addresses with each
// renewed lease, routes with each router advertisement, interfaces with each
// wireless scan, neighbours all the time.
type filter struct {
	names   []string        // of interfaces that don't count
	ignored map[uint32]bool // the same, by number; kept after an interface is gone, for what is said late
	links   map[uint32]string
	addrs   map[string]string
	// routes is emptied at each other change, since the kernel takes away many
	// routes without a word.
	routes   map[string]string
	gateways map[string]string // hardware addresses; empty where not known yet
}

// maxRemembered bounds each of filter's maps, for routers with a great many
// routes. To forget costs a needless signal.
const maxRemembered = 4096

func newFilter(ignore []string) *filter {
	f := &filter{names: ignore, ignored: make(map[uint32]bool)}
	f.forget()
	return f
}

// forget forgets all but which interfaces are ignored.
func (f *filter) forget() {
	f.links = make(map[uint32]string)
	f.addrs = make(map[string]string)
	f.routes = make(map[string]string)
	f.gateways = make(map[string]string)
}

// text describes all that the filter knows of, so that two texts differ when
// something changed.
func (f *filter) text() string {
	var lines []string
	for i, m := range []map[string]string{f.addrs, f.routes, f.gateways} {
		for k, v := range m {
			lines = append(lines, fmt.Sprintf("%d %q %q", i, k, v))
		}
	}
	for index, link := range f.links {
		lines = append(lines, fmt.Sprintf("link %d %q", index, link))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// matters takes a message in and says whether something changed by it.
func (f *filter) matters(kind uint16, data []byte) bool {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return f.link(kind == unix.RTM_NEWLINK, data)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return f.address(kind == unix.RTM_NEWADDR, data)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return f.route(kind == unix.RTM_NEWROUTE, data)
	case unix.RTM_NEWNEIGH:
		return f.neighbour(data)
	}
	return false
}

// link takes in that an interface is there, or not any more. The message begins
// with a struct ifinfomsg.
func (f *filter) link(there bool, data []byte) bool {
	// Those of the bridge family tell of its ports.
	if len(data) < unix.SizeofIfInfomsg || data[0] != unix.AF_UNSPEC {
		return false
	}
	index := binary.NativeEndian.Uint32(data[4:])
	const told = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP | unix.IFF_DORMANT
	state := fmt.Sprintf("%x", binary.NativeEndian.Uint32(data[8:])&told)
	var name string
	for _, a := range attributes(data, unix.SizeofIfInfomsg) {
		switch a.kind {
		case unix.IFLA_WIRELESS:
			return false // a scan ended, and the like
		case unix.IFLA_IFNAME:
			name = unix.ByteSliceToString(a.value)
		case unix.IFLA_ADDRESS, unix.IFLA_MASTER, unix.IFLA_OPERSTATE:
			state += fmt.Sprintf(" %x", a.value)
		}
	}
	if slices.Contains(f.names, name) {
		f.ignored[index] = true
		delete(f.links, index)
		return false
	}
	if there {
		// The number may belong to another interface now.
		delete(f.ignored, index)
	}
	state = name + " " + state
	before, known := f.links[index]
	if there {
		f.links[index] = state
	} else {
		delete(f.links, index)
	}
	if there == known && (!there || before == state) {
		return false
	}
	clear(f.routes)
	return true
}

// address takes in that an interface has an address, or not any more. The
// message begins with a struct ifaddrmsg.
func (f *filter) address(there bool, data []byte) bool {
	if len(data) < unix.SizeofIfAddrmsg {
		return false
	}
	index := binary.NativeEndian.Uint32(data[4:])
	if f.ignored[index] {
		return false
	}
	key := fmt.Sprintf("%d %d", index, data[1])
	flags := uint32(data[2])
	for _, a := range attributes(data, unix.SizeofIfAddrmsg) {
		switch a.kind {
		case unix.IFA_ADDRESS, unix.IFA_LOCAL:
			key += fmt.Sprintf(" %d %x", a.kind, a.value)
		case unix.IFA_FLAGS:
			if len(a.value) >= 4 {
				flags = binary.NativeEndian.Uint32(a.value)
			}
		}
	}
	// Whether it can be sent from, and whether it is chosen by itself.
	flags &= unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_OPTIMISTIC
	state := fmt.Sprintf("%x", flags)
	before, known := f.addrs[key]
	if there {
		remember(f.addrs, key, state)
	} else {
		delete(f.addrs, key)
	}
	if there == known && (!there || before == state) {
		return false
	}
	clear(f.routes)
	return true
}

// route takes in that there is a route, or not any more. The message begins with
// a struct rtmsg.
func (f *filter) route(there bool, data []byte) bool {
	if len(data) < unix.SizeofRtMsg || data[4] == unix.RT_TABLE_LOCAL ||
		binary.NativeEndian.Uint32(data[8:])&unix.RTM_F_CLONED != 0 {
		return false // follows from an address, or a note of the route cache
	}
	switch data[7] {
	case unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_MULTICAST:
		return false
	}
	list := attributes(data, unix.SizeofRtMsg)
	hops := nextHops(list)
	counts := len(hops) == 0
	for _, h := range hops {
		counts = counts || !f.ignored[h.index]
	}
	if !counts {
		return false
	}
	if !there {
		clear(f.routes)
		return true
	}
	for _, h := range hops {
		key := neighbourKey(h.index, h.gateway)
		if _, known := f.gateways[key]; !known && len(h.gateway) > 0 && !f.ignored[h.index] {
			remember(f.gateways, key, "")
		}
	}
	key, state := fmt.Sprintf("%x", data[:5]), fmt.Sprintf("%x", data[5:8])
	for _, a := range list {
		switch a.kind {
		case unix.RTA_DST, unix.RTA_SRC, unix.RTA_PRIORITY, unix.RTA_TABLE:
			key += fmt.Sprintf(" %d %x", a.kind, a.value)
		case unix.RTA_CACHEINFO, unix.RTA_EXPIRES: // count down
		default:
			state += fmt.Sprintf(" %d %x", a.kind, a.value)
		}
	}
	if before, known := f.routes[key]; known && before == state {
		return false
	}
	remember(f.routes, key, state)
	return true
}

// neighbour takes in the hardware address of a gateway; those of others don't
// matter. The message begins with a struct ndmsg. That an entry is dropped says
// nothing: it comes back when it is needed.
func (f *filter) neighbour(data []byte) bool {
	const sizeofNdmsg = 12
	if len(data) < sizeofNdmsg || (data[0] != unix.AF_INET && data[0] != unix.AF_INET6) {
		return false
	}
	index := binary.NativeEndian.Uint32(data[4:])
	state := binary.NativeEndian.Uint16(data[8:])
	if state&resolved == 0 {
		return false
	}
	var address, mac []byte
	for _, a := range attributes(data, sizeofNdmsg) {
		switch a.kind {
		case unix.NDA_DST:
			address = a.value
		case unix.NDA_LLADDR:
			mac = a.value
		}
	}
	key := neighbourKey(index, address)
	before, isGateway := f.gateways[key]
	now := net.HardwareAddr(mac).String()
	if !isGateway || now == "" || now == before || f.ignored[index] {
		return false
	}
	f.gateways[key] = now
	return true
}

func neighbourKey(index uint32, address []byte) string { return fmt.Sprintf("%d %x", index, address) }

// remember keeps a fact, and forgets all of its sort where there are too many.
func remember(m map[string]string, key, value string) {
	if _, known := m[key]; !known && len(m) >= maxRemembered {
		clear(m)
	}
	m[key] = value
}
