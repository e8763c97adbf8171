package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

// errCheckFailed reports a reflector of which something doesn't work.
var errCheckFailed = errors.New("the reflector doesn't work as it should")

// quickGap is the longest silence of a quick check: longer than any timer of
// flows without replies should be, and over in half a minute.
const quickGap = 30 * time.Second

// nearAuto leaves it to the prober which hops are this machine's side.
const nearAuto = "auto"

// checkFlags are the flags of reflector check.
type checkFlags struct {
	maxGap time.Duration
	quick  bool
	near   string
	family string
	lab    string

	json  bool
	quiet bool
}

func (a *app) reflectorCheckCommand() *cobra.Command {
	var f checkFlags
	cmd := &cobra.Command{
		Use:   "check HOST[:PORT]",
		Short: "Check a reflector from outside: what works, and how long its side lets packets out",
		Long: `Check a reflector from another machine, outside of its network: each address that
the name has, plain STUN, natprobe's own messages and limits, the other addresses
and ports that it tells of (RFC 5780), loss, round trips and its clock; and after
which silences its packets still come out.

The last matters because a firewall or a security group in front of a reflector
has timers of its own, and probers would measure these instead of their NATs. A
gap is proven where the burst at its end arrives although nothing passed the
reflector's side meanwhile. What is proven is to be advertised; the check prints
the flag. Probers put what expires later down to the path, and not to a NAT.

This machine may be behind a NAT. Its own side is then kept open with packets that
die after one hop, so that they never get near the reflector. Where more hops are
yours, as with a carrier's NAT, say so with --near. Where a burst doesn't come,
the box that forgot is looked for, hop by hop.

It takes as long as the longest gap; up to twice that where some gap fails.

Status: 0 all works, 1 something doesn't, 2 usage, 3 undecided, 4 reflector
unreachable or refusing, 130 interrupted.`,
		Example: `  natprobe reflector check vpn.example.org
  natprobe reflector check 192.0.2.1:3478 --quick
  natprobe reflector check vpn.example.org --max-gap 10m --json
  natprobe reflector check --lab reflector-firewall --max-gap 10s    inside this machine`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.reflectorCheck(cmd.Context(), f, args, cmd.Flags())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.DurationVar(&f.maxGap, "max-gap", probe.DefaultEgressGap, "longest `GAP` to prove, in whole seconds")
	flags.BoolVar(&f.quick, "quick", false, fmt.Sprintf("the same as --max-gap %v", quickGap))
	flags.StringVar(&f.near, "near", nearAuto, "this `NUMBER` of hops from here is not the reflector's side, and is kept open; auto: 1 behind a NAT, else 0")
	flags.StringVar(&f.family, "family", familyAuto, "`FAMILY` of addresses: ipv4, ipv6 or auto, all there are")
	flags.StringVar(&f.lab, "lab", "", "check the reflector of this `NETWORK` inside this machine instead; \"natprobe lab list\" names them")
	flags.BoolVar(&f.json, "json", false, "print the result on standard output, as JSON, instead of the summary")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on standard error")
	exclude(flags, "quick", "max-gap")
	complete(cmd, "lab", labNames())
	complete(cmd, "family", families())
	return cmd
}

// config returns what the flags ask of a check, but for whom to ask.
func (f checkFlags) config(flags *pflag.FlagSet) (probe.EgressConfig, error) {
	cfg := probe.EgressConfig{MaxGap: f.maxGap, Near: probe.NearAuto}
	if f.quick {
		if flags.Changed("max-gap") {
			return cfg, usagef("--quick and --max-gap exclude each other: quick is --max-gap %v", quickGap)
		}
		cfg.MaxGap = quickGap
	}
	if f.near != nearAuto {
		near, err := strconv.Atoi(f.near)
		if err != nil || near < 0 {
			return cfg, usagef("--near %q is neither auto nor a number of hops from 0", f.near)
		}
		cfg.Near = near
	}
	if f.maxGap <= 0 { // 0 would mean the default
		return cfg, usagef("--max-gap %v is not above 0", f.maxGap)
	}
	if err := checkFamily(f.family); err != nil {
		return cfg, err
	}
	checked := cfg
	checked.Reflector = netip.AddrPortFrom(netip.IPv4Unspecified(), defaultPort)
	return cfg, checked.Validate()
}

func (a *app) reflectorCheck(ctx context.Context, f checkFlags, args []string, flags *pflag.FlagSet) error {
	cfg, err := f.config(flags)
	if err != nil {
		return err
	}
	c := check{app: a, flags: f, config: cfg, supplied: supplied(flags), screen: &checkLines{w: a.stderr, quiet: f.quiet}}
	if f.lab != "" {
		if len(args) > 0 {
			return usagef("--lab and a HOST exclude each other: a lab has a reflector of its own")
		}
		return a.inLab(ctx, f.lab, f.family, labLimits(probe.Config{Max: cfg.MaxGap}), func(spec natlab.Spec, lab *natlab.Lab) error {
			c.target, c.listen = "lab "+spec.Name, lab.ClientListen
			return c.run(ctx, []endpoint{{labReflector(lab), lab.ClientAddr()}})
		})
	}
	if len(args) > 0 {
		c.target = args[0]
	} else if c.target, _ = a.env(reflectorVariable); c.target == "" {
		return usagef("which reflector? Write: natprobe reflector check HOST, from another machine than its own")
	}
	to, err := parseTarget(c.target)
	if err != nil {
		return err
	}
	addrs, err := to.lookup(ctx, f.family)
	if err != nil {
		return err
	}
	var endpoints []endpoint
	for _, addr := range addrs {
		at := endpoint{remote: netip.AddrPortFrom(addr, to.port)}
		at.local, _ = localAddr(ctx, at.remote) // without a route it isn't tried, which is told
		endpoints = append(endpoints, at)
	}
	return c.run(ctx, endpoints)
}

// check is one run of reflector check.
type check struct {
	app      *app
	flags    checkFlags
	config   probe.EgressConfig
	supplied map[string]any
	target   string
	listen   probe.ListenFunc // nil: the system's sockets
	screen   *checkLines
}

// run checks all addresses at a time, then prints what was found.
func (c *check) run(ctx context.Context, endpoints []endpoint) error {
	found := results.Check{
		Schema: results.SchemaCheck, ID: results.NewID(), StartedAt: time.Now(), Tool: buildInfo(),
		Config: c.effective(), Supplied: c.supplied, Target: c.target, Addresses: make([]results.CheckedAddress, len(endpoints)),
	}
	c.screen.note(c.opening(endpoints))
	errs := make([]error, len(endpoints))
	var all sync.WaitGroup
	for i, at := range endpoints {
		all.Go(func() { found.Addresses[i], errs[i] = c.address(ctx, at) })
	}
	all.Wait()
	found.EndedAt = time.Now()
	interrupted := ctx.Err() != nil
	for i, err := range errs {
		switch {
		case err == nil:
		case interrupted:
			found.Addresses[i].Error = errInterrupted.Error()
		case errors.Is(err, probe.ErrUnreachable), errors.Is(err, probe.ErrRefused):
			found.Addresses[i].Error = err.Error()
		default:
			return fmt.Errorf("%s: %w", found.Addresses[i].Address, err)
		}
	}
	judge(&found)
	answered := slices.ContainsFunc(found.Addresses, func(a results.CheckedAddress) bool {
		return slices.ContainsFunc(a.Ports, func(p results.CheckedPort) bool { return p.STUN || p.Natprobe })
	})
	tried := slices.ContainsFunc(found.Addresses, func(a results.CheckedAddress) bool { return a.Tried })
	switch {
	case interrupted && !answered:
		return fmt.Errorf("%w before the reflector answered: nothing was checked", errInterrupted)
	case !tried:
		return fmt.Errorf("%w: this machine has no route to %s: is it online?", errUnresolved, c.target)
	case !answered:
		return advise(fmt.Errorf("%w: %s did not answer", probe.ErrUnreachable, c.target), endpoints[0].remote)
	}
	if c.flags.json {
		if err := c.app.printJSON(found); err != nil {
			return err
		}
	} else {
		writeCheck(c.app.stdout, found, c.app.style())
	}
	switch {
	case interrupted:
		return fmt.Errorf("%w: this is what was known by then", errInterrupted)
	case found.Verdict == results.CheckFails:
		return errCheckFailed
	case found.Verdict == results.CheckUndecided:
		return fmt.Errorf("%w: not all could be tried or judged", errInconclusive)
	default:
		return nil
	}
}

// opening says what is going to be checked.
func (c *check) opening(endpoints []endpoint) string {
	where := ""
	for i, at := range endpoints {
		if i > 0 {
			where += ", "
		}
		where += at.remote.String()
	}
	return fmt.Sprintf("Checking the reflector %s (%s) with silences up to %s.", c.target, where, duration(c.config.MaxGap))
}

// address checks one address of the reflector. Its error wraps
// probe.ErrUnreachable or probe.ErrRefused where that is so, or is of this
// machine.
func (c *check) address(ctx context.Context, at endpoint) (results.CheckedAddress, error) {
	a := results.CheckedAddress{
		Address: at.remote.String(), Family: results.Family(familyOf(at.remote.Addr())), Tried: at.local.IsValid(), Ports: []results.CheckedPort{},
	}
	if !a.Tried {
		return a, nil
	}
	listen := c.listen
	if listen == nil {
		listen = (&net.ListenConfig{}).ListenPacket
	}
	port, other, err := askPort(ctx, listen, at.remote)
	if err != nil {
		return a, err
	}
	a.Ports = append(a.Ports, port)
	if other.IsValid() {
		for _, alternate := range alternates(at.remote, other) {
			port, _, err := askPort(ctx, listen, alternate)
			if err != nil {
				return a, err
			}
			port.Alternate = true
			a.Ports = append(a.Ports, port)
		}
	}
	if !port.Natprobe {
		if port.STUN {
			return a, fmt.Errorf("%w: %v is a plain STUN server, not a natprobe reflector", probe.ErrRefused, at.remote)
		}
		return a, fmt.Errorf("%w: %v did not answer", probe.ErrUnreachable, at.remote)
	}
	checker := probe.EgressChecker{Config: c.config, Listen: c.listen}
	if c.listen == nil { // a lab's boxes begin without any state, so ports need not be remembered
		checker.Ports = newPortFile(c.screen.note)
	}
	checker.Config.Reflector, checker.Config.Local = at.remote, at.local
	checker.Observe = func(p probe.EgressProgress) { c.screen.progress(a.Address, p) }
	report, err := checker.Check(ctx)
	if report == nil {
		return a, err
	}
	a.Egress, a.RTTms, a.Loss, a.Events, a.Effort = report.Egress, report.Reflector.RTTms, report.Loss, report.Events, report.Effort
	if l := report.Limits; l.MaxDelay > 0 {
		a.Limits = &results.GrantedLimits{DelayS: l.MaxDelay.Seconds(), Copies: l.MaxCopies, Pending: l.Pending, PPS: l.PPS}
	}
	return a, err
}

// askPort asks an address and port at once for all that it answers at once, and
// where its other one is (RFC 5780).
func askPort(ctx context.Context, listen probe.ListenFunc, at netip.AddrPort) (p results.CheckedPort, other netip.AddrPort, err error) {
	p.Address = at.String()
	binding, rtt, ok, err := askBinding(ctx, listen, at)
	if err != nil {
		return p, other, err
	}
	if ok {
		p.STUN, p.RTTms, other = true, milliseconds(rtt), binding.Other
	}
	_, rtt, ok, err = askHello(ctx, listen, at)
	if ok {
		p.Natprobe = true
		if p.RTTms == 0 || milliseconds(rtt) < p.RTTms {
			p.RTTms = milliseconds(rtt)
		}
	}
	return p, other, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// alternates are the three other places of a server of RFC 5780.
func alternates(primary, other netip.AddrPort) []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(primary.Addr(), other.Port()),
		netip.AddrPortFrom(other.Addr(), primary.Port()),
		other,
	}
}

// effective returns the settings that were in force, by flag name.
func (c *check) effective() map[string]any {
	settings := map[string]any{"max-gap": c.config.MaxGap.String(), "near": c.flags.near, "family": c.flags.family}
	if c.flags.lab != "" {
		settings["lab"] = c.flags.lab
	}
	return settings
}
