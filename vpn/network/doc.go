// Package network recognises the network that this machine is in, so that what
// was learned about it can be found again, and tells when it may have changed.
//
// [Current] looks at the way to one address: the interface, the gateway and its
// hardware address, the prefix, the name of a wireless network. [Snapshot.ID]
// makes a keyed hash of them, which is all that is ever kept. The hardware
// address and the wireless name are somebody's whereabouts: a Snapshot doesn't
// show them, however it is printed.
//
// # What makes two networks the same
//
// With the hardware address of the gateway, a network is that address, the
// wireless name, and gateway and prefix. A new lease in the same prefix is the
// same network, and so is another interface of this machine in it. A public
// IPv6 prefix counts for nothing then, because many providers give out another
// one each day, and neither does a prefix of a few addresses, which is the lease
// itself. Hardware addresses that are the same in many places, those of VRRP
// and HSRP, prove less: prefix and gateway always count beside them.
//
// Without it the network is told by prefix, gateway and kind of interface, and
// [Snapshot.Weak] says that another one may look the same: there are many
// 192.168.1.0/24 in the world. A point-to-point link, such as ppp or a modem,
// has no gateway worth the name and another address after each call; it is the
// interface and the kind of addresses that it gets.
//
// # Systems
//
// Linux has all of this. Elsewhere the system tells interface, address and
// prefix and no more, the mark of packets is not looked at, and changes are
// noticed by looking every few seconds; so it is when Linux refuses netlink, in
// some sandboxes. Wireless names are read by the old wireless extensions, which
// some new drivers don't have any more; the name is empty then.
package network
