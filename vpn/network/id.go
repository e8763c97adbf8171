package network

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"
	"strings"
)

// ID names a network on this machine: 16 hexadecimal digits. Without the salt
// nothing can be learned from it, and two machines name one network differently.
type ID string

// idBytes is how much of the hash an ID keeps. A machine remembers hundreds of
// networks: the odds that two of 1,000 share 64 bits are 1 in 10^13.
const idBytes = 8

// Valid says whether the ID has the form of one.
func (id ID) Valid() bool {
	if len(id) != 2*idBytes {
		return false
	}
	for _, c := range []byte(id) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// ID returns the network's name under a salt, which should be random, kept, and
// at least 16 bytes long: without it the hash of a known address can be tried.
// The package comment says which facts count.
func (s Snapshot) ID(salt []byte) ID {
	mac := hmac.New(sha256.New, salt)
	mac.Write(s.canonical()) // a hash never fails
	return ID(hex.EncodeToString(mac.Sum(nil)[:idBytes]))
}

// canonical encodes what counts, each field with its length before it, so that
// no two sets of fields have one encoding. What it begins with names this
// encoding: changing the rules makes all networks new.
func (s Snapshot) canonical() []byte {
	var out []byte
	add := func(field []byte) {
		out = binary.AppendUvarint(out, uint64(len(field)))
		out = append(out, field...)
	}
	add([]byte("natprobe.network/1"))
	add([]byte(s.family()))
	add(s.mac())
	add([]byte(s.SSID))
	if s.Prefix.IsValid() {
		add([]byte(classOf(s.Prefix.Addr())))
	} else {
		add(nil)
	}
	if s.addressesCount() {
		add(s.Gateway.WithZone("").AsSlice())
		// A prefix of one address is Local.
		if p := s.Prefix; p.IsValid() && !p.IsSingleIP() {
			add([]byte(p.Masked().String()))
		} else {
			add(nil)
		}
	}
	if len(s.mac()) == 0 {
		add([]byte(s.Kind))
		if s.Kind == PointToPoint || !s.Gateway.IsValid() {
			add([]byte(s.Interface))
		}
	}
	return out
}

// addressesCount says whether gateway and prefix are part of the ID.
func (s Snapshot) addressesCount() bool {
	mac := s.mac()
	switch {
	case s.Kind == PointToPoint:
		return false
	case len(mac) == 0 || manyHave(mac):
		return true
	case !s.Prefix.IsValid() || tiny(s.Prefix):
		return false
	}
	return s.Prefix.Addr().Is4() || classOf(s.Prefix.Addr()) != classPublic
}

// family is that of the addresses: "4", "6", or empty where there are none.
func (s Snapshot) family() string {
	for _, a := range []netip.Addr{s.Local, s.Prefix.Addr(), s.Gateway} {
		switch {
		case a.Is4():
			return "4"
		case a.Is6():
			return "6"
		}
	}
	return ""
}

// mac returns the gateway's hardware address where it says anything: not on
// links without such addresses, which give zeros.
func (s Snapshot) mac() net.HardwareAddr {
	if s.Kind == PointToPoint || len(bytes.Trim(s.GatewayMAC, "\x00")) == 0 {
		return nil
	}
	return s.GatewayMAC
}

// manyHave says whether gateways of many networks have this hardware address,
// because it belongs to a protocol by which routers stand in for one another.
func manyHave(mac net.HardwareAddr) bool {
	digits := hex.EncodeToString(mac)
	for _, beginning := range []string{
		"00005e0001", "00005e0002", // VRRP for IPv4 and IPv6, RFC 9568 section 7.3
		"00000c07ac",             // Cisco's HSRP, RFC 2281 section 5.1
		"00000c9ff", "000573a00", // its second version, and that for IPv6
		"0007b400", // Cisco's GLBP
	} {
		if strings.HasPrefix(digits, beginning) {
			return true
		}
	}
	return false
}
