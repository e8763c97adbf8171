// Package natlab builds whole networks to measure: a client, a chain of NATs
// or firewalls, and a server, all on this machine and cut off from any real
// network.
//
// The boxes of most labs are the Linux kernel's own: network namespaces joined
// by veth pairs, nftables for translation and filtering, and conntrack's timers
// for the lifetimes. So what a lab shows is what a router with that kernel does,
// and the truth about it is known: it was configured (Spec.Truth).
//
// Such a lab leaves no trace on the machine. Its namespaces have no names; they
// exist only while the process holds them, so even a crash takes them away.
// Interfaces are made inside the namespaces and never show up on the host.
//
// They need Linux, and either root or user namespaces (EnterUserNamespace).
// Everywhere else Start fails with an error that wraps ErrUnavailable and says
// what is missing and what to do about it.
//
// An emulated lab (Spec.Emulated) has models of package natmodel for boxes. It
// runs on every system, without privileges, and shows behaviour that the kernel
// doesn't have; in return only sockets of this process are in it.
package natlab
