package tunnel

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/natprobe/natprobe/vpn"
)

// parsePeers reads the peers out of what a device answers to get. Anything else
// in it, secret keys among it, is passed over and in no error.
func parsePeers(text string) ([]vpn.PeerState, error) {
	var peers []vpn.PeerState
	var seconds, nanoseconds int64
	finish := func() {
		if n := len(peers); n > 0 && (seconds != 0 || nanoseconds != 0) {
			peers[n-1].LastHandshake = time.Unix(seconds, nanoseconds)
		}
		seconds, nanoseconds = 0, 0
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		var err error
		if key == "public_key" {
			finish()
			var k vpn.PublicKey
			k, err = parseHexKey(value)
			peers = append(peers, vpn.PeerState{PublicKey: k})
		} else if len(peers) > 0 {
			p := &peers[len(peers)-1]
			switch key {
			case "endpoint":
				p.Endpoint, err = netip.ParseAddrPort(value)
			case "persistent_keepalive_interval":
				var n uint64
				n, err = strconv.ParseUint(value, 10, 16)
				p.Keepalive = time.Duration(n) * time.Second
			case "last_handshake_time_sec":
				seconds, err = strconv.ParseInt(value, 10, 64)
			case "last_handshake_time_nsec":
				nanoseconds, err = strconv.ParseInt(value, 10, 64)
			case "rx_bytes":
				p.ReceivedBytes, err = strconv.ParseUint(value, 10, 64)
			case "tx_bytes":
				p.SentBytes, err = strconv.ParseUint(value, 10, 64)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("the device's %s is not understood", key)
		}
	}
	finish()
	return peers, nil
}

// parsePort reads the UDP port out of the same answer; 0: none yet.
func parsePort(text string) (uint16, error) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "listen_port="); ok {
			port, err := strconv.ParseUint(value, 10, 16)
			return uint16(port), err
		}
	}
	return 0, nil
}

func parseHexKey(text string) (vpn.PublicKey, error) {
	var k vpn.PublicKey
	if hex.DecodedLen(len(text)) != len(k) {
		return k, fmt.Errorf("a key has %d hexadecimal digits", hex.EncodedLen(len(k)))
	}
	_, err := hex.Decode(k[:], []byte(text))
	return k, err
}

// setKeepalive is the request for a peer's interval. A device doesn't re-arm a
// timer that runs when the interval changes; from 0 it does, by sending a
// keepalive at once.
func setKeepalive(peer vpn.PublicKey, seconds uint16) string {
	return fmt.Sprintf("public_key=%x\nupdate_only=true\n"+
		"persistent_keepalive_interval=0\npersistent_keepalive_interval=%d\n", peer[:], seconds)
}

// setEndpoint is the request for a peer's address.
func setEndpoint(peer vpn.PublicKey, endpoint netip.AddrPort) string {
	return fmt.Sprintf("public_key=%x\nupdate_only=true\nendpoint=%s\n", peer[:], endpoint)
}
