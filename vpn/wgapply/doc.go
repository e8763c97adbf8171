// Package wgapply looks at WireGuard interfaces that somebody else made, in the
// kernel or by a program like wireguard-go, and sets the persistent keepalive of
// their peers. It changes nothing else: no key, no endpoint, no allowed IP, no
// mark.
//
//   - [Open] and [All] find interfaces, [Interface.Peers] tells what their peers
//     do, [Interface.SetKeepalive] sets an interval.
//   - [Plan] says what would be changed, for a dry run.
//   - [Originals] remembers the intervals as they were before natprobe, over
//     restarts, and [Originals.Revert] brings them back.
//   - [Silence] watches a peer's counters for keepalives of ours that are never
//     sent because the peer's own ones restart WireGuard's timer.
//
// # Setting an interval
//
// WireGuard doesn't re-arm a timer that runs when its interval changes: where
// 120 s are replaced by 25, the next keepalive still leaves at the end of the
// 120. Only a change from 0 sends one at once, by which the timer starts anew. So
// an interval is set to 0 first and then to its value, both in one request:
// nothing that ends this process in between can leave a tunnel without
// keepalives. A value that is in force already is left alone. Where somebody
// else had just put it there without the 0, the old timer runs out once more.
//
// # Secrets
//
// To ask an interface for its peers is to be told its private and preshared
// keys. They are overwritten at once, are in no type of this package, and the
// text of an answer that isn't understood is in no error.
//
// # Limits
//
// The folder of the programs' sockets, /var/run/wireguard, is often shared by
// network namespaces: an interface of another namespace is found, too, by its
// name, if a program runs it and not the kernel. BoringTun ends with a panic
// where a peer that it has already is changed ("Modifying existing peers is not
// yet supported", its update_peer says); [Interface.SetKeepalive] refuses. Kernel
// WireGuard was not tried by this package's tests, only a stand-in that answers
// as it does.
package wgapply
