// Package sharedport lets WireGuard and natprobe use one UDP port: a
// conn.Bind around another one, which hands out the datagrams that are STUN as
// a net.PacketConn and leaves all others to WireGuard.
//
// The data path stays what it is. Batches, segmentation offloads and sticky
// source addresses are the inner bind's, each packet costs one look at its
// first bytes, and nothing waits: where nobody reads what is handed out, it is
// dropped.
//
// A device that gets such a bind doesn't run wireguard-go's own route listener,
// which knows its own bind only. After a change of routes the endpoints of
// peers have to be set anew, as tunnel.Rehome does.
package sharedport
