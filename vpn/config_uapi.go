package vpn

import (
	"encoding/hex"
	"net/netip"
	"strconv"
)

// AppendUAPI appends the configuration in WireGuard's cross-platform words, as
// they follow the line "set=1" on a device's socket: each line ends with a
// newline, and the empty line that ends the request is left to the caller. They
// replace what the device has of keys, port, mark and peers. What Address, DNS,
// MTU, Table and the commands ask for is no business of a device.
//
// Names are not resolved here. resolved has the endpoints of peers whose host is
// a name, and may override addresses; a peer that has neither gets no endpoint
// and waits until it is called. Keepalives are those of the file; for one that
// is to be chosen, the number to start from.
//
// The result holds the secret keys in plain text.
func (c *Config) AppendUAPI(dst []byte, resolved map[PublicKey]netip.AddrPort) []byte {
	dst = appendHex(dst, "private_key", c.Interface.PrivateKey.Reveal())
	dst = appendNumber(dst, "listen_port", uint64(c.Interface.ListenPort))
	dst = appendNumber(dst, "fwmark", uint64(c.Interface.FwMark))
	dst = append(dst, "replace_peers=true\n"...)
	for i := range c.Peers {
		dst = c.Peers[i].appendUAPI(dst, resolved)
	}
	return dst
}

func (p *Peer) appendUAPI(dst []byte, resolved map[PublicKey]netip.AddrPort) []byte {
	dst = appendHex(dst, "public_key", p.PublicKey)
	if !p.PresharedKey.IsZero() {
		dst = appendHex(dst, "preshared_key", p.PresharedKey.Reveal())
	}
	endpoint, ok := resolved[p.PublicKey]
	if !ok {
		endpoint, ok = p.Endpoint.AddrPort()
	}
	if ok && endpoint.IsValid() {
		dst = append(dst, "endpoint="...)
		dst = netip.AddrPortFrom(endpoint.Addr().Unmap(), endpoint.Port()).AppendTo(dst)
		dst = append(dst, '\n')
	}
	if p.Keepalive.Given {
		dst = appendNumber(dst, "persistent_keepalive_interval", uint64(p.Keepalive.Seconds))
	}
	dst = append(dst, "replace_allowed_ips=true\n"...)
	for _, prefix := range p.AllowedIPs {
		dst = append(dst, "allowed_ip="...)
		dst = prefix.AppendTo(dst)
		dst = append(dst, '\n')
	}
	return dst
}

func appendHex(dst []byte, key string, value [KeyBytes]byte) []byte {
	dst = append(dst, key+"="...)
	dst = hex.AppendEncode(dst, value[:])
	return append(dst, '\n')
}

func appendNumber(dst []byte, key string, value uint64) []byte {
	dst = append(dst, key+"="...)
	dst = strconv.AppendUint(dst, value, 10)
	return append(dst, '\n')
}
