// Package tunnel runs a WireGuard tunnel inside this process, on wireguard-go,
// with all that wg-quick(8) does around one: [Up] takes a [vpn.Config] and makes
// the interface, its addresses, routes and name servers, and runs the commands of
// the file; [Tunnel.Down] undoes all of it. wg(8) sees the interface on the usual
// socket, /var/run/wireguard/NAME.sock, and may change it.
//
// It runs on Linux. Elsewhere Up says so.
//
// # Default routes
//
// Where a peer's AllowedIPs have 0.0.0.0/0 or ::/0 and Table is auto, the
// tunnel's own packets must not go through the tunnel. They are told apart as
// wg-quick does it: they carry a mark, a routing table of the same number holds
// the default route, and two rules per family say that packets without the mark
// look there, once the main table had nothing better than a default route of its
// own. An nftables table named natprobe-NAME drops packets to the tunnel's
// addresses that come in elsewhere, and gives replies their mark back, so that a
// strict reverse path filter lets them in.
//
// # What survives a crash
//
// The interface, its addresses and routes end with the process. Rules, the
// nftables table, name servers, a sysctl and the socket don't. Each of them is
// written to a journal before it is made: RunDir/NAME.json, readable by its
// owner only, with the process that it belongs to. [CleanUp] undoes what the
// journal of a dead process lists, PreDown and PostDown commands included, and
// Up does the same before it begins.
//
// # Order
//
// Up: PreUp, names of peers, interface, keys and peers, socket, addresses, MTU,
// link on, DNS, routes, firewall, rules, PostUp. Down: PreDown, all that in
// reverse, PostDown.
// Where Up fails, it undoes what it did; PreDown and PostDown run then, too, if a
// PostUp command was started, and PostDown if a PreUp command was.
//
// # Secrets
//
// No key is in an error or a log entry, nor is the text of a command, which may
// contain one. Addresses in what wireguard-go has to say are cut to their
// network.
package tunnel
