package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tunnelKind returns the kind of an interface that packs packets into others, or
// nothing for all other interfaces.
func tunnelKind(name string) string {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return tunnelByName(name)
	}
	switch kind := link.Type(); kind {
	case "wireguard", "tuntap", "tun", "ovpn", "ppp", "ipip", "ip6tnl", "sit", "gre", "gretap", "ip6gre", "ip6gretap",
		"vti", "vti6", "xfrm", "vxlan", "geneve", "amneziawg":
		return kind
	}
	// The driver of ppp has no kind of its own in old kernels.
	if link.Attrs().EncapType == "ppp" {
		return "ppp"
	}
	return ""
}

// conntrackFolder holds what the kernel says of its table of flows, in this
// process's network.
const conntrackFolder = "/proc/sys/net/netfilter/nf_conntrack_"

func readConntrack() conntrackFact {
	var fact conntrackFact
	var idle, stream int
	for _, file := range []struct {
		name  string
		value *int
	}{{"udp_timeout", &idle}, {"udp_timeout_stream", &stream}, {"count", &fact.Count}, {"max", &fact.Max}} {
		text, err := os.ReadFile(conntrackFolder + file.name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && file.name == "udp_timeout":
			return conntrackFact{Absent: true}
		case errors.Is(err, fs.ErrNotExist) && file.name == "max":
			continue // not told in every network namespace
		case err != nil:
			return conntrackFact{Unknown: fmt.Sprintf("the table of flows can't be read: %v", err)}
		}
		if *file.value, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
			return conntrackFact{Unknown: fmt.Sprintf("%s%s: %v", conntrackFolder, file.name, err)}
		}
	}
	fact.Idle, fact.Stream = time.Duration(idle)*time.Second, time.Duration(stream)*time.Second
	return fact
}

func readFiles() filesFact {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return filesFact{Unknown: fmt.Sprintf("how many files may be open is not told: %v", err)}
	}
	return filesFact{Limit: limit.Cur}
}

func readTunnels() tunnelsFact {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return tunnelsFact{Unknown: fmt.Sprintf("the privileges of this process are not told: %v", err)}
	}
	fact := tunnelsFact{Admin: data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0}
	device, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err == nil {
		err = device.Close()
	}
	fact.Device = err
	return fact
}

func readClock() clockFact {
	var fact clockFact
	var boot, mono unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_MONOTONIC, &mono), unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot)); err != nil {
		fact.SleptUnknown = fmt.Sprintf("how long the machine slept is not told: %v", err)
	}
	fact.Slept = time.Duration(boot.Nano() - mono.Nano())
	var state unix.Timex // Modes 0: it is only read
	if _, err := unix.Adjtimex(&state); err != nil {
		fact.SyncUnknown = fmt.Sprintf("whether the time of day is kept right is not told: %v", err)
	}
	fact.Synchronised = state.Status&unix.STA_UNSYNC == 0
	return fact
}
