package network

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// seed takes in all that there is now, asked for on a socket.
func (f *filter) seed(socket *nl.NetlinkSocket) error {
	for _, q := range []struct {
		what            string
		request, answer uint16
		header          nl.NetlinkRequestData
	}{
		// Interfaces first: what follows refers to them.
		{"interfaces", unix.RTM_GETLINK, unix.RTM_NEWLINK, nl.NewIfInfomsg(unix.AF_UNSPEC)},
		{"addresses", unix.RTM_GETADDR, unix.RTM_NEWADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC)},
		{"IPv4 routes", unix.RTM_GETROUTE, unix.RTM_NEWROUTE, routesOf(unix.AF_INET)},
		{"IPv6 routes", unix.RTM_GETROUTE, unix.RTM_NEWROUTE, routesOf(unix.AF_INET6)},
		{"neighbours", unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, &netlink.Ndmsg{}},
	} {
		messages, err := dump(socket, q.request, q.answer, q.header)
		if isAny(err, unix.EAFNOSUPPORT, unix.EOPNOTSUPP) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return fmt.Errorf("read the %s of this machine: %w", q.what, err)
		}
		for _, data := range messages {
			f.matters(q.answer, data)
		}
	}
	return nil
}

// routesOf is the header of a question for all routes of a family.
func routesOf(family uint8) nl.NetlinkRequestData {
	return &nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}
}

// dump asks for all that the kernel has of one sort. A list that changed while
// it was read is good enough: events, or the next look, tell the rest.
func dump(socket *nl.NetlinkSocket, request, answer uint16, header nl.NetlinkRequestData) ([][]byte, error) {
	req := nl.NewNetlinkRequest(int(request), unix.NLM_F_DUMP)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Seq: req.Seq, Socket: socket}}
	req.AddData(header)
	messages, err := req.Execute(unix.NETLINK_ROUTE, answer)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	return messages, nil
}

// attribute is one of the facts behind a message's header.
type attribute struct {
	kind  uint16
	value []byte
}

// attributes parses what follows a message's header of so many bytes. A part
// that can't be parsed, and what follows it, is left out.
func attributes(data []byte, header int) []attribute {
	var list []attribute
	for data = data[min(header, len(data)):]; len(data) >= unix.SizeofRtAttr; {
		length := int(binary.NativeEndian.Uint16(data))
		if length < unix.SizeofRtAttr || length > len(data) {
			break
		}
		list = append(list, attribute{
			kind:  binary.NativeEndian.Uint16(data[2:]) & 0x3fff, // the two highest bits tell of the encoding
			value: data[unix.SizeofRtAttr:length],
		})
		data = data[min((length+3)&^3, len(data)):]
	}
	return list
}

// nextHop is where a route leads: an interface, and a gateway or none.
type nextHop struct {
	index   uint32
	gateway []byte
}

// nextHops returns where a route of these attributes leads.
func nextHops(list []attribute) []nextHop {
	var hops []nextHop
	var single nextHop
	for _, a := range list {
		switch a.kind {
		case unix.RTA_OIF:
			if len(a.value) >= 4 {
				single.index = binary.NativeEndian.Uint32(a.value)
			}
		case unix.RTA_GATEWAY:
			single.gateway = a.value
		case unix.RTA_VIA: // an address of another family, which stands before it
			single.gateway = a.value[min(2, len(a.value)):]
		case unix.RTA_MULTIPATH:
			// A list of struct rtnexthop, each with its attributes behind it.
			for rest := a.value; len(rest) >= unix.SizeofRtNexthop; {
				length := int(binary.NativeEndian.Uint16(rest))
				if length < unix.SizeofRtNexthop || length > len(rest) {
					break
				}
				hop := nextHop{index: binary.NativeEndian.Uint32(rest[4:])}
				for _, inner := range nextHops(attributes(rest[:length], unix.SizeofRtNexthop)) {
					hop.gateway = inner.gateway
				}
				hops = append(hops, hop)
				rest = rest[min((length+3)&^3, len(rest)):]
			}
		}
	}
	if single.index != 0 || single.gateway != nil {
		hops = append(hops, single)
	}
	return hops
}
