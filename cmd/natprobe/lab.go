package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/results"
)

func (a *app) labCommand() *cobra.Command {
	lab := &cobra.Command{
		Use:   "lab",
		Short: "Networks inside this machine to measure",
		Long: `A lab is a whole network inside one machine: a client, the NATs it sits behind,
and a server. Their timers are known, so it shows whether natprobe measures
rightly. Nothing of it is left behind.

The NATs of most labs are the Linux kernel's own; these need root, or a system
that lets everyone make user namespaces. The others are emulated, and run
everywhere.

Wherever a lab's NAME goes, a description can: nat or firewall, its timers, and
options, for several boxes in a row joined by +, the client's first:
  nat:30s/120s,loss=5
  nat:6s/12s,strict+nat:4s/9s,ports=random,family=ipv6
The options of a box are ports=random, strict, server-side (a firewall in front of
the server), filtering=address-dependent or endpoint-independent, block=N and
pool=N (external ports and addresses), dns=TIME, endpoint-independent,
outbound-only, sweep=TIME and table=N; those of the lab loss=PERCENT, family=ipv4
or ipv6, port=N and emulated.`,
		Example: `  natprobe lab list
  natprobe lab show cgn
  natprobe measure --lab cgn
  natprobe measure --lab nat:6s/12s,loss=5
  natprobe lab exec cgn -- ip route`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q for %q; there is \"natprobe lab list\"", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
	}
	lab.AddCommand(&cobra.Command{
		Use:     "list",
		Short:   "List the labs and their true lifetimes",
		Example: "  natprobe lab list",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return a.listLabs() },
	}, a.labShowCommand(), a.labExecCommand())
	return lab
}

func (a *app) listLabs() error {
	table := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	_, err := fmt.Fprintln(table, "LAB\tIDLE\tSTREAM\tSYSTEM\tWHAT IT IS")
	for _, spec := range natlab.Catalogue() {
		timers, latest := spec.Truth(), spec.Latest()
		system := "Linux"
		if spec.Emulated {
			system = "any"
		}
		_, lineErr := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", spec.Name, timerText(timers.Solitary, latest.Solitary),
			timerText(timers.Stream, latest.Stream), system, spec.Summary)
		err = errors.Join(err, lineErr)
	}
	if err = errors.Join(err, table.Flush()); err != nil {
		return err
	}
	_, err = fmt.Fprint(a.stdout, "\nIDLE is how long a mapping lives after little traffic, STREAM after some seconds of it.\n"+
		"Measure one with: natprobe measure --lab NAME\n"+
		"NAME can also describe a lab, as nat:30s/120s,loss=5: \"natprobe lab --help\" tells more.\n")
	return err
}

// timerText writes a lifetime, or the band in which lifetimes lie.
func timerText(from, to time.Duration) string {
	switch from {
	case 0:
		return "never"
	case to:
		return fmt.Sprintf("%g s", from.Seconds())
	default:
		return fmt.Sprintf("%g–%g s", from.Seconds(), to.Seconds())
	}
}

func families() []string {
	return []string{familyAuto, string(results.IPv4), string(results.IPv6)}
}

func checkFamily(family string) error {
	if !slices.Contains(families(), family) {
		return usagef("--family %q is not ipv4, ipv6 or auto", family)
	}
	return nil
}

func labNames() []string {
	var names []string
	for _, spec := range natlab.Catalogue() {
		names = append(names, spec.Name)
	}
	return names
}

// truth returns the lifetimes that a lab was configured with, in seconds; 0
// where nothing expires.
func truth(spec natlab.Spec) map[results.Regime]float64 { return byRegime(spec.Truth()) }

// latest returns by when a lab's mappings are gone, in seconds: truth, but for
// labs whose boxes are lazy.
func latest(spec natlab.Spec) map[results.Regime]float64 { return byRegime(spec.Latest()) }

func byRegime(timers natlab.Timers) map[results.Regime]float64 {
	return map[results.Regime]float64{
		results.Solitary: timers.Solitary.Seconds(),
		results.Oneway:   timers.Oneway.Seconds(),
		results.Exchange: timers.Exchange.Seconds(),
		results.Stream:   timers.Stream.Seconds(),
	}
}

// inLab measures a lab, with a reflector inside it.
func (m *measurement) inLab(ctx context.Context) error {
	return m.app.inLab(ctx, m.flags.lab, m.flags.family, labLimits(m.config), func(spec natlab.Spec, lab *natlab.Lab) error {
		m.lab = &spec
		m.config.Reflector = labReflector(lab)
		m.config.Local = lab.ClientAddr()
		if err := samePath(m.config.Resume, m.config.Reflector, spec.Name); err != nil {
			return err
		}
		// Each lab's NATs begin without any state, so ports need not be remembered.
		return m.run(ctx, &probe.Prober{Listen: lab.ClientListen}, false)
	})
}

// labReflector returns where a lab's reflector is.
func labReflector(lab *natlab.Lab) netip.AddrPort {
	return netip.AddrPortFrom(lab.ServerAddr(), portOfLab(lab.Spec()))
}

// inLab builds a lab with a reflector inside it, and lets it be used.
func (a *app) inLab(
	ctx context.Context, name, family string, limits reflector.Limits, use func(natlab.Spec, *natlab.Lab) error,
) (err error) {
	spec, err := natlab.Lookup(name)
	if err != nil {
		return usageError{err}
	}
	if family != familyAuto {
		spec.Family = natlab.Family(family)
	}

	if !spec.Emulated {
		// Not ctx: the other process gets each signal passed on, and would take
		// the end of ctx for a second Ctrl-C.
		ran, status, err := natlab.EnterUserNamespace(context.WithoutCancel(ctx), a.args)
		if err != nil {
			return fmt.Errorf("lab %s: %w", spec.Name, err)
		}
		if ran {
			return statusError(status)
		}
	}

	lab, err := natlab.Start(ctx, spec)
	if err != nil {
		return fmt.Errorf("lab %s: %w", spec.Name, err)
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	stop, err := serveInLab(ctx, lab, reflector.Config{Limits: limits, EgressGap: labEgress(spec, limits.MaxDelay)})
	if err != nil {
		return fmt.Errorf("lab %s: %w", spec.Name, err)
	}
	defer func() { err = errors.Join(err, stop()) }()

	return use(spec, lab)
}

// labLimits returns limits under which a lab's reflector refuses nothing that
// the flags can ask for. Otherwise they are the default ones, as outside.
func labLimits(cfg probe.Config) reflector.Limits {
	delay := cfg.Max.Truncate(time.Second)
	if delay < cfg.Max {
		delay += time.Second
	}
	limits := reflector.Limits{MaxDelay: max(delay, reflector.DefaultMaxDelay)}
	if cfg.Flows > reflector.DefaultPending {
		limits.Pending = reflector.Unlimited
	}
	return limits
}

// labEgress returns the egress gap that a lab's reflector advertises: what is
// true there, as far as the longest gap that it can be asked for.
func labEgress(spec natlab.Spec, longest time.Duration) time.Duration {
	if timer := spec.Egress(); timer > 0 {
		return min(longest, timer-time.Second) // in whole seconds, the longest that is shorter
	}
	return longest
}

// serveInLab runs a reflector on a lab's server until stop.
func serveInLab(ctx context.Context, lab *natlab.Lab, cfg reflector.Config) (stop func() error, err error) {
	conn, err := lab.ServerListen(ctx, "udp", labReflector(lab).String())
	if err != nil {
		return nil, err
	}
	r, err := reflector.New(cfg)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	// It outlives an interrupted measurement, which ends with stop.
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- r.Serve(serving, conn) }()
	return func() error {
		cancel()
		return errors.Join(<-served, conn.Close())
	}, nil
}
