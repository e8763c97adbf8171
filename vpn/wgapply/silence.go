package wgapply

// What WireGuard's messages measure, as its counters have them: with the header
// of WireGuard, without those of UDP and IP (https://www.wireguard.com/protocol/).
const (
	initiationBytes = 148
	responseBytes   = 92
	keepaliveBytes  = 32
)
