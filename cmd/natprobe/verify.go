package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

// errDoesNotHold reports that the interval that was verified is too long.
var errDoesNotHold = errors.New("the interval doesn't hold")

// verifyRegimes are those that a tunnel's keepalives find.
var verifyRegimes = []string{string(results.Exchange), string(results.Stream)}

// verifyFlags are the flags of verify.
type verifyFlags struct {
	interval  time.Duration
	reflector string
	lab       string
	family    string
	regimes   []string
	late      float64
	target    float64
	flows     int
	budget    time.Duration

	json  bool
	quiet bool
}

func (a *app) verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Try whether a keepalive interval holds",
		Long: `Try whether a keepalive interval holds on the path to a reflector: keep some flows
alive with it and have the reflector knock just before each next keepalive.

Half of the flows begin anew for each try (exchange: the first keepalive after a
tunnel's handshake), the others go on (stream: a tunnel in use). A knock that
comes through shows that the mapping lived for the whole interval. One that
doesn't counts as missed only if the reflector confirms it and the path works;
what loss, a reboot or an outage touched counts as unknown, and for nothing.

The interval holds when, for each kind of flow, the 95 % confidence interval
(Clopper-Pearson) of the share that was reached lies above --target: after 72
tries of each kind without a miss, 9 or 10 intervals with 16 flows. It fails when,
for some kind, all of it lies below. Until then it goes on, up to --budget.
Keepalives that get lost are not tried here; "natprobe measure" allows for them.

Status: 0 holds, 1 fails, 2 usage, 3 undecided, 4 reflector unreachable or
refusing, 130 interrupted.`,
		Example: `  natprobe verify --interval 25s --reflector vpn.example.org
  natprobe verify --interval 25s --late 1.13 --reflector vpn.example.org   as the kernel's WireGuard
  natprobe verify --interval 4s --lab fast                                 a NAT inside this machine
  natprobe verify --interval 25s --reflector vpn.example.org --json | jq .verdict`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verify(cmd.Context(), f, cmd.Flags()) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.DurationVar(&f.interval, "interval", 0, "`TIME` between keepalives; must be given")
	flags.StringVar(&f.reflector, "reflector", "", "`HOST[:PORT]` of the reflector (default $"+reflectorVariable+"; port 3478)")
	flags.StringVar(&f.lab, "lab", "", "try it in this `NETWORK` inside this machine instead; \"natprobe lab list\" names them")
	flags.StringVar(&f.family, "family", familyAuto, "`FAMILY` of addresses: ipv4, ipv6 or auto")
	flags.StringSliceVar(&f.regimes, "regimes", verifyRegimes, "`LIST` of the kinds of flow to try")
	flags.Float64Var(&f.late, "late", 1, "keepalives come this `FACTOR` late; 1.13 as the kernel's WireGuard may")
	flags.Float64Var(&f.target, "target", probe.DefaultTarget, "`SHARE` of knocks that must come through, 0.5 to 0.999")
	flags.IntVar(&f.flows, "flows", 0, fmt.Sprintf("keep this `NUMBER` of flows alive (default %d, fewer for a short interval)", probe.DefaultSoakFlows))
	flags.DurationVar(&f.budget, "budget", 0, "end after this `TIME`, decided or not (default 20 intervals, at least 5m)")
	flags.BoolVar(&f.json, "json", false, "print the result on standard output, as JSON, instead of the summary")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on standard error")
	exclude(flags, "lab", "reflector")
	complete(cmd, "lab", labNames())
	complete(cmd, "regimes", verifyRegimes)
	complete(cmd, "family", []string{familyAuto, string(results.IPv4), string(results.IPv6)})
	return cmd
}

// config returns what the flags ask of a soak, but for whom to ask.
func (f verifyFlags) config(flags *pflag.FlagSet) (probe.SoakConfig, error) {
	cfg := probe.SoakConfig{Interval: f.interval, Lateness: f.late, Target: f.target, Flows: f.flows, Budget: f.budget}
	for _, name := range f.regimes {
		cfg.Regimes = append(cfg.Regimes, results.Regime(name))
	}
	// To the soak 0 means the default; a 0 that was typed is a mistake.
	switch {
	case !flags.Changed("interval"):
		return cfg, usagef("--interval is missing: which keepalive is to be tried? For example --interval 25s")
	case !slices.Contains([]string{familyAuto, string(results.IPv4), string(results.IPv6)}, f.family):
		return cfg, usagef("--family %q is not ipv4, ipv6 or auto", f.family)
	case len(f.regimes) == 0:
		return cfg, usagef("--regimes names none; there are %s", strings.Join(verifyRegimes, ", "))
	case f.late == 0:
		return cfg, usagef("--late 0 is not between 1 and 2")
	case f.target == 0:
		return cfg, usagef("--target 0 is not between 0.5 and 0.999")
	case flags.Changed("flows") && f.flows <= 0:
		return cfg, usagef("--flows %d is not above 0", f.flows)
	case flags.Changed("budget") && f.budget <= 0:
		return cfg, usagef("--budget %v is not above 0", f.budget)
	}
	checked := cfg
	checked.Reflector = netip.AddrPortFrom(netip.IPv4Unspecified(), defaultPort)
	return cfg, checked.Validate()
}

func (a *app) verify(ctx context.Context, f verifyFlags, flags *pflag.FlagSet) error {
	cfg, err := f.config(flags)
	if err != nil {
		return err
	}
	if f.lab != "" && f.reflector != "" {
		return usagef("--lab and --reflector exclude each other: a lab has a reflector of its own")
	}
	v := verification{app: a, flags: f, config: cfg.Effective(), supplied: supplied(flags)}
	if f.lab != "" {
		silence := time.Duration(f.late * float64(f.interval))
		limits := labLimits(probe.Config{Max: silence, Flows: v.config.Flows})
		return a.inLab(ctx, f.lab, f.family, limits, func(spec natlab.Spec, lab *natlab.Lab) error {
			v.config.Reflector = labReflector(lab)
			v.opening = fmt.Sprintf("in the lab %s, %s", spec.Name, spec.Summary)
			return v.run(ctx, &probe.Soaker{Listen: lab.ClientListen}, false)
		})
	}
	name := f.reflector
	if name == "" {
		if name, _ = a.env(reflectorVariable); name == "" {
			return guidance(strings.NewReplacer("to measure against", "to verify against",
				"natprobe measure", "natprobe verify --interval "+f.interval.String()).Replace(string(noReflector)))
		}
		v.supplied["reflector"] = name
	}
	to, err := parseTarget(name)
	if err != nil {
		return err
	}
	at, err := to.resolve(ctx, f.family)
	if err != nil {
		return err
	}
	v.config.Reflector = at.remote
	v.opening = fmt.Sprintf("against the reflector %s from %s", at.remote, at.local)
	return v.run(ctx, &probe.Soaker{}, true)
}

// verification is one run of verify.
type verification struct {
	app      *app
	flags    verifyFlags
	config   probe.SoakConfig
	supplied map[string]any
	opening  string // where it is tried
}

// run soaks with a soaker that knows its sockets, and prints what was found.
func (v *verification) run(ctx context.Context, s *probe.Soaker, rememberPorts bool) error {
	screen := soakLines{w: v.app.stderr, quiet: v.flags.quiet}
	screen.note(fmt.Sprintf("Trying a keepalive each %s %s: %s, at most %s.", v.config.Interval, v.opening,
		plural(v.config.Flows, "flow"), duration(v.config.Budget)))
	s.Config = v.config
	s.Observe = screen.progress
	if rememberPorts {
		s.Ports = newPortFile(screen.note)
	}
	found, soakErr := s.Soak(ctx)
	soakErr = advise(soakErr, v.config.Reflector)
	if found != nil && found.Reflector.BootID == "" && soakErr == nil {
		soakErr = fmt.Errorf("%w: %v did not answer before the budget ran out", probe.ErrUnreachable, v.config.Reflector)
	}
	if found == nil || soakErr != nil && ctx.Err() == nil && found.Reached+found.Missed+found.Unknown == 0 {
		return soakErr
	}
	found.ID, found.Tool = results.NewID(), buildInfo()
	found.Config, found.Supplied = v.effective(), v.supplied
	if v.flags.json {
		if err := v.app.printJSON(found); err != nil {
			return err
		}
	} else {
		writeVerification(v.app.stdout, *found, v.app.style())
	}
	switch {
	case errors.Is(soakErr, context.Canceled):
		return fmt.Errorf("%w after %.0f s: this is what was known by then", errInterrupted, found.Effort.ElapsedS)
	case soakErr != nil:
		return soakErr
	case found.Verdict == results.Fails:
		return fmt.Errorf("%w: %v is too long here", errDoesNotHold, v.config.Interval)
	case found.Verdict == results.Undecided:
		return fmt.Errorf("%w: too few tries for a verdict on %v", errInconclusive, v.config.Interval)
	default:
		return nil
	}
}

// effective returns the settings that were in force, by flag name.
func (v *verification) effective() map[string]any {
	family := results.IPv4
	if v.config.Reflector.Addr().Unmap().Is6() {
		family = results.IPv6
	}
	settings := map[string]any{
		"interval":  v.config.Interval.String(),
		"reflector": v.config.Reflector.String(),
		"family":    string(family),
		"regimes":   v.flags.regimes,
		"late":      v.config.Lateness,
		"target":    v.config.Target,
		"flows":     v.config.Flows,
		"budget":    v.config.Budget.String(),
	}
	if v.flags.lab != "" {
		settings["lab"] = v.flags.lab
	}
	return settings
}
