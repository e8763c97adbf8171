package tunnel

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

const (
	// dnsTime bounds a program that sets name servers.
	dnsTime = 15 * time.Second
	// resolvedSocket answers where systemd-resolved runs.
	resolvedSocket = "/run/systemd/resolve/io.systemd.Resolve"
	// interfaceOrder is where Debian's resolvconf says which records count first.
	interfaceOrder = "/etc/resolvconf/interface-order"
)

// setDNS sets the tunnel's name servers; without any, search domains are left
// alone, as by wg-quick.
func (t *Tunnel) setDNS(ctx context.Context) error {
	in := &t.config.Interface
	if len(in.DNS) == 0 {
		return nil
	}
	way := t.system.dns
	if way == "" {
		way = chooseDNS(resolvedSocket)
	}
	t.logger.Info("set name servers", "servers", len(in.DNS), "way", way)
	var s step
	switch way {
	case stepResolvconf:
		s = step{Kind: way, Record: recordPrefix(interfaceOrder) + t.config.Name}
	case stepResolvectl:
		s = step{Kind: way, Record: t.config.Name}
	default:
		var err error
		if s, err = planResolvConf(t.system.resolvConf, t.config.Name, in.DNS, in.SearchDomains); err != nil {
			return err
		}
		if len(in.DNS) > maxServers {
			t.logger.Warn("programs look at the first name servers of resolv.conf only", "servers", len(in.DNS), "used", maxServers)
		}
	}
	if err := t.journal.add(s); err != nil {
		return err
	}
	switch way {
	case stepResolvconf:
		// -m 0: its metric, before all others; -x: no others beside it.
		return runDNS(ctx, t.resolvconfRecord(), "resolvconf", "-a", s.Record, "-m", "0", "-x")
	case stepResolvectl:
		servers := []string{"dns", t.config.Name}
		for _, a := range in.DNS {
			servers = append(servers, a.String())
		}
		if err := runDNS(ctx, "", "resolvectl", servers...); err != nil {
			return err
		}
		// ~. sends all names there.
		return runDNS(ctx, "", "resolvectl", append([]string{"domain", t.config.Name, "~."}, in.SearchDomains...)...)
	}
	return s.doResolvConf()
}

func (t *Tunnel) resolvconfRecord() string {
	var b strings.Builder
	for _, a := range t.config.Interface.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if search := t.config.Interface.SearchDomains; len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	return b.String()
}

// chooseDNS looks for the way in which this system sets name servers.
func chooseDNS(resolved string) string {
	path, err := exec.LookPath("resolvconf")
	if err == nil {
		target, err := filepath.EvalSymlinks(path)
		// systemd brings a resolvconf that is resolvectl by another name, and of
		// no use where systemd-resolved doesn't run.
		if err == nil && filepath.Base(target) != "resolvectl" {
			return stepResolvconf
		}
	}
	if _, err := exec.LookPath("resolvectl"); err == nil && listens(resolved) {
		return stepResolvectl
	}
	return stepResolvConf
}

// listens tells whether a program takes calls on a socket.
func listens(path string) bool {
	c, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was said
	return true
}

// recordPrefix is what Debian's resolvconf wants before a record's name to let it
// count first: the first line of its order that ends in a star.
func recordPrefix(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	first := regexp.MustCompile(`(?m)^([A-Za-z0-9-]+)\*$`).FindSubmatch(text)
	if first == nil {
		return ""
	}
	return string(first[1]) + "."
}

// runDNS runs a program of the system that sets name servers.
func runDNS(ctx context.Context, input, program string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, dnsTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // one of two programs, and no shell between
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = pipeGrace
	said, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("DNS: %s %s failed: %w: %s; repair it, or remove the line DNS from the file",
			program, args[0], err, bytes.TrimSpace(said))
	}
	return nil
}
