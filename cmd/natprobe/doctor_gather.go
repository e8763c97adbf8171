package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/network"
)

// gatherer collects facts.
type gatherer struct {
	to         *target // the reflector; nil: none
	name       string  // as its user names it
	runDir     string
	stateDir   string
	noStateDir error
	flows      int
}

// Addresses for documentation (RFC 5737, RFC 3849), which stand for the Internet:
// nothing is sent there, but they have the default route.
func elsewhere() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
}

// gather collects what there is to see. An error means that ctx is done.
func (g gatherer) gather(ctx context.Context) (facts, error) {
	begun := time.Now()
	f := facts{OwnTunnels: ownTunnels(g.runDir), Conntrack: readConntrack(), Files: readFiles(), Tunnels: readTunnels()}
	f.Files.Flows = g.flows
	g.lookUp(ctx, &f.Reflector)
	f.Paths = g.paths(f.Reflector.Addrs)
	f.Firewall = readFirewall(f.Reflector.Addrs)
	f.IPv6 = readIPv6()
	f.Places = g.places()
	f.Socket = closed(net.ListenPacket("udp", ":0"))

	var asking sync.WaitGroup
	for i := range f.Reflector.Answers {
		asking.Go(func() { askSTUN(ctx, &f.Reflector.Answers[i]) })
	}
	asking.Go(func() { f.Router = askRouters(ctx, f.Paths) })
	asking.Wait()

	f.Clock = readClock()
	// Round takes the monotonic reading away.
	f.Clock.Step = time.Now().Round(0).Sub(begun.Round(0)) - time.Since(begun)
	return f, ctx.Err()
}

// closed closes a socket that could be opened.
func closed(conn net.PacketConn, err error) error {
	if err != nil {
		return err
	}
	return conn.Close()
}

// lookUpPatience bounds the wait for the name of the reflector.
const lookUpPatience = 10 * time.Second

// lookUp finds the reflector's addresses, and those to ask: one of each family.
func (g gatherer) lookUp(ctx context.Context, r *reflectorFact) {
	if g.to == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookUpPatience)
	defer cancel()
	r.Name = g.name
	_, noAddr := netip.ParseAddr(g.to.host)
	r.Named = noAddr != nil
	if r.Addrs, r.Err = g.to.lookup(ctx, familyAuto); r.Err != nil {
		if ctx.Err() != nil {
			r.Err = fmt.Errorf("the name %q is not resolved within %s: is this machine online?", g.to.host, duration(lookUpPatience))
		}
		return
	}
	for _, family := range []string{string(results.IPv4), string(results.IPv6)} {
		for _, addr := range r.Addrs {
			if familyOf(addr) != family {
				continue
			}
			to := netip.AddrPortFrom(addr, g.to.port)
			if local, err := localAddr(ctx, to); err == nil {
				r.Answers = append(r.Answers, answerFact{To: to, Local: local})
				break
			}
		}
	}
}

// paths looks at the way to the reflector, of each family that it has an address
// of; and to the Internet where it has none.
func (g gatherer) paths(addrs []netip.Addr) []pathFact {
	var paths []pathFact
	for _, far := range elsewhere() {
		p := pathFact{To: far}
		for _, addr := range addrs {
			if addr.Is4() == far.Is4() {
				p.To, p.Reflector = addr, true
				break
			}
		}
		way, err := network.Current(p.To, 0)
		p.Err = err
		p.Interface, p.Gateway, p.Local = way.Interface, way.Gateway, way.Local
		if err == nil {
			p.Kind = tunnelKind(way.Interface)
		}
		// A reflector of two families need be reached over one only.
		if p.Err != nil && p.Reflector && otherFamily(addrs, p.To) {
			p.To, p.Reflector = far, false
		}
		paths = append(paths, p)
	}
	return paths
}

func otherFamily(addrs []netip.Addr, addr netip.Addr) bool {
	for _, a := range addrs {
		if a.Is4() != addr.Is4() {
			return true
		}
	}
	return false
}

// tunnelByName returns the kind of an interface by what systems call those of
// tunnels, where they tell no more of it; nothing for others.
func tunnelByName(name string) string {
	kinds := []struct{ prefix, kind string }{
		{"utun", "tun"}, {"tun", "tun"}, {"tap", "tap"}, {"wg", "wireguard"}, {"ppp", "ppp"}, {"ipsec", "ipsec"}, {"gif", "gif"}, {"gre", "gre"},
	}
	for _, k := range kinds {
		if rest, ok := strings.CutPrefix(name, k.prefix); ok && strings.Trim(rest, "0123456789") == "" {
			return k.kind
		}
	}
	return ""
}

// ownTunnels lists the interfaces that natprobe brought up.
func ownTunnels(runDir string) []string {
	sockets, err := filepath.Glob(filepath.Join(runDir, "*"+tunnelSocket))
	if err != nil {
		return nil // the pattern is bad: the folder has brackets in its name
	}
	var names []string
	for _, socket := range sockets {
		if !strings.HasSuffix(socket, applySocket) {
			names = append(names, interfaceOf(socket))
		}
	}
	return names
}

// readIPv6 tells whether IPv6 works up to the first router.
func readIPv6() ipv6Fact {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return ipv6Fact{Unknown: fmt.Sprintf("the addresses of this machine can't be read: %v", err)}
	}
	var fact ipv6Fact
	for _, addr := range addrs {
		prefix, ok := addr.(*net.IPNet)
		if !ok {
			continue
		}
		ip, ok := netip.AddrFromSlice(prefix.IP)
		// Unique local addresses (RFC 4193) lead nowhere.
		if ip = ip.Unmap(); ok && ip.Is6() && ip.IsGlobalUnicast() && !ip.IsPrivate() {
			fact.Address = true
		}
	}
	_, fact.Route = network.Current(elsewhere()[1], 0)
	return fact
}

// places tries the files that runs write to.
func (g gatherer) places() []placeFact {
	ports := placeFact{What: "source ports", Path: newPortFile(nil).path}
	if ports.Path == "" {
		ports.Err = errors.New("this user has no folder for caches (HOME is not set)")
	} else {
		ports.Err = canWrite(filepath.Dir(ports.Path))
	}
	known := placeFact{What: "known networks", Path: g.stateDir, Err: g.noStateDir}
	if known.Err == nil {
		known.Err = canWrite(g.stateDir)
	}
	return []placeFact{ports, known}
}

// canWrite tries whether files can be made in a folder, or the folder itself.
func canWrite(dir string) error {
	for {
		err := canCreateIn(dir)
		parent := filepath.Dir(dir)
		if !errors.Is(err, fs.ErrNotExist) || parent == dir {
			return err
		}
		dir = parent
	}
}
