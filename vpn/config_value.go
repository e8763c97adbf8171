package vpn

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The errors in this file say what is wrong with a value and what is allowed,
// and never contain the value: the parser decides whether that may be shown.

const (
	// minMTU is what IPv4 asks of every link (RFC 791 section 3.2), in bytes;
	// maxMTU the largest packet there is.
	minMTU = 68
	maxMTU = 65535
	// minMTUv6 is what IPv6 asks (RFC 8200 section 5).
	minMTUv6 = 1280
)

// Linux's fixed routing tables, which every system has by these names.
const (
	tableDefault = 253
	tableMain    = 254
	tableLocal   = 255
)

// parseNumber reads decimal digits and nothing else, up to 65535.
func parseNumber(text string) (uint16, bool) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil
}

// parseMark reads a number of 32 bits, also in hexadecimal after 0x.
func parseMark(text string) (uint32, bool) {
	base := 10
	if digits, ok := strings.CutPrefix(text, "0x"); ok {
		text, base = digits, 16
	}
	n, err := strconv.ParseUint(text, base, 32)
	return uint32(n), err == nil
}

func parsePort(text string) (uint16, error) {
	n, ok := parseNumber(text)
	if !ok {
		return 0, errors.New("is not a port; a number from 0 to 65535 is allowed, 0 for any free port")
	}
	return n, nil
}

func parseFwMark(text string) (uint32, error) {
	if strings.EqualFold(text, "off") {
		return 0, nil
	}
	mark, ok := parseMark(text)
	if !ok {
		return 0, errors.New("is not a mark; off and a number from 0 to 4294967295 or 0xffffffff are allowed, 0 for off")
	}
	return mark, nil
}

func parseMTU(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, ok := parseNumber(text)
	if !ok || n < minMTU {
		return 0, fmt.Errorf("is not an MTU; a number of bytes from %d to %d is allowed", minMTU, maxMTU)
	}
	return int(n), nil
}

func parseTable(text string) (Table, error) {
	switch strings.ToLower(text) {
	case "", "auto":
		return Table{}, nil
	case "off":
		return Table{Off: true}, nil
	case "main":
		return Table{Number: tableMain}, nil
	case "default":
		return Table{Number: tableDefault}, nil
	case "local":
		return Table{Number: tableLocal}, nil
	}
	n, ok := parseMark(text)
	// To ip(8) a number with a zero before it is octal. Who means that?
	octal := text[0] == '0' && !strings.HasPrefix(text, "0x")
	if !ok || n == 0 || octal {
		return Table{}, errors.New("is no routing table; off, auto, main, default, local and a number from 1 to 4294967295 are allowed")
	}
	return Table{Number: n}, nil
}

func checkSaveConfig(text string) error {
	switch strings.ToLower(text) {
	case "false":
		return nil
	case "true":
		return errors.New("is not supported: natprobe never rewrites the file that it was given; false is allowed, or no such line")
	}
	return errors.New("is neither true nor false; false is allowed, or no such line")
}

// parseKeepalive reads PersistentKeepalive, natprobe's own auto included.
func parseKeepalive(text string) (Keepalive, error) {
	switch strings.ToLower(text) {
	case "off":
		return Keepalive{Given: true}, nil
	case "auto":
		return Keepalive{Auto: true}, nil
	}
	n, ok := parseNumber(text)
	if !ok {
		return Keepalive{}, errors.New("is not an interval; auto, off and a number of seconds from 0 to 65535 are allowed, 0 for off")
	}
	return Keepalive{Given: true, Seconds: n}, nil
}

// parsePrefix reads ADDRESS or ADDRESS/BITS; without bits all of them count.
func parsePrefix(text string) (netip.Prefix, error) {
	host, length, hasLength := strings.Cut(text, "/")
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, errors.New("is not an address; IPv4 and IPv6 addresses are allowed, as in 10.0.0.1/24, fd00::1/64, separated by commas")
	}
	bits := addr.BitLen()
	if hasLength {
		n, ok := parseNumber(length)
		if !ok || int(n) > bits {
			return netip.Prefix{}, fmt.Errorf("has no proper prefix length; a number from 0 to %d is allowed behind the /", bits)
		}
		bits = int(n)
	}
	return netip.PrefixFrom(addr, bits), nil
}

// Endpoint is where a peer is called. The zero value is none.
type Endpoint struct {
	// Host is an address, without brackets, or a name that is not resolved yet.
	Host string
	Port uint16
}

// ParseEndpoint reads HOST:PORT. The host is a name, an IPv4 address or an IPv6
// address in brackets. As in wg an IPv6 address without them is accepted too;
// what is behind the last colon is the port. The error doesn't contain the text.
func ParseEndpoint(text string) (Endpoint, error) {
	const allowed = "HOST:PORT and [IPV6]:PORT are allowed"
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return Endpoint{}, errors.New("has no port; " + allowed)
	}
	host, port := text[:colon], text[colon+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		if host, ok = strings.CutSuffix(inner, "]"); !ok {
			return Endpoint{}, errors.New("has brackets in the wrong place; " + allowed)
		}
	}
	n, ok := parseNumber(port)
	if !ok || n == 0 {
		return Endpoint{}, errors.New("has no proper port; a number from 1 to 65535 is allowed behind the last colon")
	}
	if _, err := netip.ParseAddr(host); err != nil && !isHostName(host) {
		return Endpoint{}, errors.New("names no host; " + allowed + ", names in ASCII")
	}
	return Endpoint{Host: host, Port: n}, nil
}

// IsZero tells whether there is no endpoint.
func (e Endpoint) IsZero() bool { return e == Endpoint{} }

// AddrPort returns the endpoint where its host is an address, and false where it
// is a name.
func (e Endpoint) AddrPort() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(e.Host)
	if err != nil {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(addr.Unmap(), e.Port), true
}

// String returns host:port, with brackets around IPv6 addresses; empty for none.
func (e Endpoint) String() string {
	if e.IsZero() {
		return ""
	}
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// isHostName tells whether a text can be the name of a host: labels of 1 to 63
// characters, together up to 253 (RFC 1035 section 2.3.4). Underscores are in
// use. The last label is no number, or it would be a mistyped address.
func isHostName(text string) bool {
	text = strings.TrimSuffix(text, ".")
	if len(text) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || len(label) > 63 || strings.IndexFunc(label, notInHostName) >= 0 {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != ""
}

func notInHostName(r rune) bool { return !isAlphanumeric(r) && r != '-' && r != '_' }

// checkSearchDomain accepts the name of a domain, also with ~ before it or as ~.
// alone, by which systemd-resolved sends questions to the interface.
func checkSearchDomain(text string) error {
	rest, routing := strings.CutPrefix(text, "~")
	if isHostName(rest) || routing && rest == "." {
		return nil
	}
	return errors.New("is neither an address nor a search domain; IPv4 and IPv6 addresses and names of domains are allowed, separated by commas")
}
