package network

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// wait waits for a signal.
func wait(t *testing.T, signals <-chan struct{}, after string) {
	t.Helper()
	select {
	case _, open := <-signals:
		if !open {
			t.Fatalf("watching ended after %s", after)
		}
	case <-time.After(patience):
		t.Fatalf("no signal after %s", after)
	}
}

func TestWatch(t *testing.T) {
	enterNamespace(t)
	routerA, _ := twoHomes(t)
	defaultVia(t, "home0", "192.168.1.1")
	defaultVia(t, "home0", "fe80::1")
	ids := map[string]ID{}
	// Addresses are there at once; the network has come to rest when all
	// hardware addresses are known.
	for _, dst := range []string{far4, far6} {
		eventually(t, "a gateway's hardware address", func() bool { return !current(t, dst, 0).Weak })
		ids[dst] = current(t, dst, 0).ID(salt)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	signals, err := Watch(ctx, "wg0")
	check(t, "watch", err)
	for _, gateway := range []string{"192.168.1.1", "fe80::1"} {
		dst := map[string]string{"192.168.1.1": far4, "fe80::1": far6}[gateway]
		defaultVia(t, "home1", gateway)
		wait(t, signals, "moving the default route to "+gateway)
		eventually(t, "another network", func() bool { return current(t, dst, 0).ID(salt) != ids[dst] })
		defaultVia(t, "home0", gateway)
		wait(t, signals, "moving the default route back to "+gateway)
		eventually(t, "the network as before", func() bool { return current(t, dst, 0).ID(salt) == ids[dst] })
	}
	// Signals that come late, of what the steps above made known, may stand
	// for the next one; each next step is looked for anyway.
	check(t, "renumber", addAddresses("home0", []string{"192.0.2.7/24"}))
	wait(t, signals, "an address")
	routerA.do("pull the cable", func() error {
		link, err := netlink.LinkByName("lan")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(link)
	})
	wait(t, signals, "the end of the carrier")
	cancel()
	for end := time.After(patience); ; {
		select {
		case _, open := <-signals:
			if !open {
				return
			}
		case <-end:
			t.Fatal("the channel stays open after the context is done")
		}
	}
}

// witness reads the kernel's events and what a filter makes of them.
type witness struct {
	t      *testing.T
	filter *filter
	events *nl.NetlinkSocket
	asked  *nl.NetlinkSocket
	marks  int
}

func newWitness(t *testing.T, ignore ...string) *witness {
	t.Helper()
	w, err := newWatcher(ignore)
	check(t, "watch", err)
	t.Cleanup(w.close)
	if w.events == nil {
		t.Fatal("the kernel refuses events")
	}
	bound := unix.NsecToTimeval(patience.Nanoseconds())
	check(t, "bound the wait for events", w.events.SetReceiveTimeout(&bound))
	// It marks where one step ends and the next one begins.
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "mark"
	check(t, "make mark", netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "mark-peer"}))
	x := &witness{t: t, filter: w.filter, events: w.events, asked: w.questions}
	x.step()
	return x
}

// step returns how many of the events since the last step mattered, and how
// many did not. The kernel tells its events in their order.
func (w *witness) step() (mattered, others int) {
	w.t.Helper()
	w.marks++
	address := fmt.Sprintf("10.200.%d.%d/32", w.marks/250, w.marks%250+1)
	check(w.t, "make a mark", addAddresses("mark", []string{address}))
	_, want, err := net.ParseCIDR(address)
	check(w.t, "parse", err)
	for {
		messages, _, err := w.events.Receive()
		check(w.t, "wait for an event", err)
		for i, m := range messages {
			matters := w.filter.matters(m.Header.Type, m.Data)
			if m.Header.Type == unix.RTM_NEWADDR && slices.ContainsFunc(attributes(m.Data, unix.SizeofIfAddrmsg), func(a attribute) bool {
				return a.kind == unix.IFA_LOCAL && slices.Equal(a.value, want.IP.To4())
			}) {
				if !matters {
					w.t.Errorf("a new address does not matter")
				}
				if i != len(messages)-1 {
					w.t.Fatalf("events behind the mark in one message")
				}
				return mattered, others
			}
			if matters {
				mattered++
			} else {
				others++
			}
		}
	}
}

func (w *witness) expect(mattered bool, step string) {
	w.t.Helper()
	got, others := w.step()
	if got+others == 0 {
		w.t.Errorf("%s: no events at all", step)
	}
	if (got > 0) != mattered {
		w.t.Errorf("%s: %d of %d events matter, want some: %t", step, got, got+others, mattered)
	}
}

func TestEventsOfIgnoredInterfaces(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	defaultVia(t, "home0", "192.168.1.1")
	w := newWitness(t, "wg0", "wg1")
	for _, name := range []string{"wg0", "wg1"} {
		// It appears, is used, and goes away.
		file := pointToPoint(t, name, "10.9.0.2/24")
		check(t, "give an IPv6 address", addAddresses(name, []string{"2001:db8:9::2/64"}))
		for _, text := range []string{"203.0.113.0/24", "2001:db8:77::/48"} {
			_, dst, err := net.ParseCIDR(text)
			check(t, "parse", err)
			check(t, "set a route", netlink.RouteAdd(&netlink.Route{Dst: dst, LinkIndex: indexOf(t, name)}))
		}
		index := indexOf(t, name)
		check(t, "close", file.Close())
		eventually(t, name+" is gone", func() bool {
			_, err := netlink.LinkByIndex(index)
			return err != nil
		})
		w.expect(false, name)
	}
	pointToPoint(t, "wg2", "10.9.0.2/24")
	w.expect(true, "wg2, which is not ignored")
	link, err := netlink.LinkByName("wg2")
	check(t, "find wg2", err)
	check(t, "set down", netlink.LinkSetDown(link))
	w.expect(true, "wg2 down")
	check(t, "rename", netlink.LinkSetName(link, "wg0"))
	check(t, "give an address", addAddresses("wg0", []string{"10.9.0.3/24"}))
	w.expect(false, "wg2, renamed to wg0")
}

func TestEventsThatAreRepeated(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	defaultVia(t, "home0", "192.168.1.1")
	defaultVia(t, "home0", "fe80::1")
	for _, dst := range []string{far4, far6} {
		eventually(t, "a gateway's hardware address", func() bool { return !current(t, dst, 0).Weak })
	}
	link, err := netlink.LinkByName("home0")
	check(t, "find home0", err)
	lease := func(text string, seconds int) {
		t.Helper()
		a, err := netlink.ParseAddr(text)
		check(t, "parse", err)
		a.ValidLft, a.PreferedLft = seconds, seconds
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		check(t, "renew a lease", netlink.AddrReplace(link, a))
	}
	gateway := func(mac string) {
		t.Helper()
		hw, err := net.ParseMAC(mac)
		check(t, "parse", err)
		check(t, "set a neighbour", netlink.NeighSet(&netlink.Neigh{
			LinkIndex: link.Attrs().Index, IP: net.ParseIP("192.168.1.1"), HardwareAddr: hw, State: netlink.NUD_REACHABLE,
		}))
	}
	w := newWitness(t)
	lease("192.168.1.77/24", 3600)
	w.expect(false, "a renewed lease")
	lease("2001:db8:1::77/64", 3600)
	w.expect(false, "a renewed lease, IPv6")
	lease("192.168.1.79/24", 3600)
	w.expect(true, "a second lease")
	// All that was known of routes is forgotten with it, so the first counts.
	for range 3 {
		defaultVia(t, "home0", "fe80::1")
	}
	if mattered, others := w.step(); mattered != 1 || others < 2 {
		t.Errorf("the same route three times: %d events matter and %d don't, want 1 and 2 or more", mattered, others)
	}
	defaultVia(t, "home1", "192.168.1.1")
	w.expect(true, "another default route")
	defaultVia(t, "home0", "192.168.1.1")
	w.expect(true, "the default route as before")
	gateway("02:aa:00:00:00:99")
	w.expect(true, "another hardware address of the gateway")
	gateway("02:aa:00:00:00:99")
	check(t, "make a stranger known", netlink.NeighSet(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, IP: net.ParseIP("192.168.1.123"), HardwareAddr: macB, State: netlink.NUD_REACHABLE,
	}))
	w.expect(false, "another machine's hardware address")
	check(t, "change the MTU", netlink.LinkSetMTU(link, 1400))
	w.expect(false, "an MTU")
}

// TestLook: what is compared where the kernel refuses events.
func TestLook(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	defaultVia(t, "home0", "192.168.1.1")
	eventually(t, "a gateway's hardware address", func() bool { return !current(t, far4, 0).Weak })
	w, err := newWatcher([]string{"wg0"})
	check(t, "watch", err)
	t.Cleanup(w.close)
	look := func() string {
		t.Helper()
		text, err := w.look()
		check(t, "look", err)
		return text
	}
	before := look()
	if again := look(); again != before {
		t.Errorf("nothing changed, but:\n%s\nis now\n%s", before, again)
	}
	pointToPoint(t, "wg0", "10.9.0.2/24")
	if again := look(); again != before {
		t.Errorf("an ignored interface came, and\n%s\nis now\n%s", before, again)
	}
	defaultVia(t, "home1", "192.168.1.1")
	if look() == before {
		t.Error("the default route changed, and nothing is seen of it")
	}
}

// TestWatchGoesOnByPolling: where the kernel ends the events.
func TestWatchGoesOnByPolling(t *testing.T) {
	enterNamespace(t)
	twoHomes(t)
	w, err := newWatcher(nil)
	check(t, "watch", err)
	ctx, cancel := context.WithCancel(t.Context())
	changed, done := make(chan struct{}, 1), make(chan struct{})
	w.events.Close()
	go func() {
		defer close(done)
		w.run(ctx, changed)
	}()
	wait(t, changed, "the end of events")
	defaultVia(t, "home1", "192.168.1.1")
	wait(t, changed, "a change, by looking")
	cancel()
	<-done
}

func FuzzMatters(f *testing.F) {
	for _, kind := range []uint16{unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWNEIGH} {
		f.Add(kind, make([]byte, 40))
		f.Add(kind, []byte{2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0, 12, 0, 9, 0, 12, 0, 0, 0, 1, 0, 0, 0, 8, 0, 5, 0, 1, 2, 3, 4})
	}
	f.Fuzz(func(_ *testing.T, kind uint16, data []byte) {
		w := newFilter([]string{"wg0"})
		w.matters(kind, data)
		w.matters(kind, data)
		_ = w.text()
	})
}
