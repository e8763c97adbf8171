//go:build !linux

package main

import (
	"net/netip"
	"runtime"
)

// notHere is why a fact is unknown on this system.
func notHere(what string) string { return what + " can't be told on " + runtime.GOOS }

func tunnelKind(name string) string { return tunnelByName(name) }

func readConntrack() conntrackFact {
	return conntrackFact{Unknown: notHere("how many flows this machine remembers")}
}

func readFiles() filesFact { return filesFact{Unknown: notHere("how many files may be open")} }

func readTunnels() tunnelsFact {
	return tunnelsFact{Unknown: "measuring needs none; whether there are enough for tunnels can't be told on " + runtime.GOOS}
}

func readClock() clockFact {
	return clockFact{SyncUnknown: notHere("whether the time of day is kept right"), SleptUnknown: notHere("how long the machine slept")}
}

func readFirewall([]netip.Addr) firewallFact {
	return firewallFact{
		Unknown: notHere("what this machine's own firewall drops"),
		Advice:  "look whether it is on; one that keeps state of flows has timers of its own",
	}
}
