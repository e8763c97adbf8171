package analysis

import "github.com/natprobe/natprobe/results"

// WireGuard's constants (whitepaper, sections 5.4 and 6.1), seconds and bytes
// of UDP payload.
const (
	rekeyAfterS    = 120 // a packet sent with an older key starts a handshake
	rejectAfterS   = 180 // an older key sends no more
	initiationSize = 148
	responseSize   = 92
	keepaliveSize  = 32

	headersIPv4 = 20 + 8
	headersIPv6 = 40 + 8

	secondsPerDay = 24 * 3600
)

// CostPerDay returns what a tunnel that is idle but for keepalives each
// keepaliveS seconds spends in a day, at the side that sends them and begins all handshakes. The
// cost of 0, off, is nothing.
//
// The cycle is that of the keys, of n = ⌈120 / K⌉ intervals. Keepalives 1 to
// n-1 are plain. The n-th finds a key of 120 s or more, and a handshake
// follows: initiation, response, and a keepalive that confirms the new key and
// starts the next cycle:
//
//	K = 25      25    50    75    100   125
//	      ·─────┴─────┴─────┴─────┴─────┴→ →← →    8 packets in 125 s
//	K = 119     119                 238
//	      ·─────┴───────────────────→← →           4 packets in 238 s
//
// (┴ plain keepalive, → initiation or confirmation, ← response.) Where the key
// is 180 s old by then, the n-th keepalive can't be sent with it, and the one
// that confirms takes its place. Packets a day: 5,530 at 25 s, 1,452 at 119 s,
// 2,304 at 150 s, 1,080 at 240 s. From 120 to 179 s each keepalive brings a
// handshake, and more packets than 119 s does.
//
// Packets of one handshake leave within a round trip, so each interval wakes
// the machine once.
func CostPerDay(keepaliveS int, family results.Family) results.Cost {
	if keepaliveS <= 0 {
		return results.Cost{}
	}
	headers := headersIPv4
	if family == results.IPv6 {
		headers = headersIPv6
	}
	n := (rekeyAfterS + keepaliveS - 1) / keepaliveS
	keepalives := n + 1
	if n*keepaliveS >= rejectAfterS {
		keepalives = n
	}
	cycles := secondsPerDay / float64(n*keepaliveS)
	bytes := keepalives*(keepaliveSize+headers) + initiationSize + responseSize + 2*headers
	return results.Cost{
		Packets: cycles * float64(keepalives+2),
		Bytes:   cycles * float64(bytes),
		Wakeups: cycles * float64(n),
	}
}
