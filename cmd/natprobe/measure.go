package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

// reflectorVariable names the reflector where --reflector does not.
const reflectorVariable = "NATPROBE_REFLECTOR"

// noReflector is what measure says when nobody told it whom to ask.
const noReflector = guidance(`no reflector to measure against. You need one on any machine with a public address.

  There, run:    natprobe reflector --listen :3478
  Then, here:    natprobe measure --reflector THAT-HOST

` + reflectorVariable + `=THAT-HOST in the environment does the same as the flag,
and so does "reflector: THAT-HOST" in the file of "natprobe config --help".
To try natprobe without a reflector (Linux):

  natprobe measure --lab fast`)

// measureFlags are the flags of measure.
type measureFlags struct {
	reflector  string
	lab        string
	family     string
	regimes    []string
	min        time.Duration
	max        time.Duration
	flows      int
	gentle     bool
	resolution time.Duration
	repeat     int
	resume     string
	budget     time.Duration

	json   bool
	output string
	quiet  bool
}

func (a *app) measureCommand() *cobra.Command {
	var f measureFlags
	cmd := &cobra.Command{
		Use:   "measure",
		Short: "Measure how long mappings live, and recommend a keepalive",
		Long: `Measure how long the NATs and firewalls between here and a reflector keep an idle
UDP mapping, and recommend a PersistentKeepalive for WireGuard.

All gaps are tried at the same time, each on a flow of its own, so that it takes
little longer than the longest lifetime itself: mostly 2 to 4 minutes, and at most
a little more than --max. Ctrl-C ends it with what is known by then.

A NAT may have a timer for each kind of traffic, so each of these is measured:
  solitary   one packet out, nothing in
  oneway     several packets out, nothing in
  exchange   out, in, out, at once: a tunnel right after its handshake
  stream     traffic for some seconds: a warmed tunnel

Status: 0 done, 1 failed, 2 usage, 3 not enough evidence for an interval,
4 reflector unreachable or refusing, 130 interrupted.`,
		Example: `  natprobe measure --reflector vpn.example.org
  natprobe measure --reflector 192.0.2.1:3478 --output records.jsonl
  natprobe measure --reflector [2001:db8::1]:3478 --json | jq .lifetimes
  natprobe measure --lab fast                        a NAT inside this machine
  natprobe measure --reflector vpn.example.org --regimes exchange,stream --budget 2m
  natprobe measure --resume records.jsonl --output records.jsonl
                                                     after Ctrl-C
  natprobe measure --resume records.jsonl --repeat 5 does the NAT always take as long?`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.measure(cmd.Context(), &f, cmd.Flags()) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.reflector, "reflector", "", "`HOST[:PORT]` of the reflector (default $"+reflectorVariable+"; port 3478)")
	flags.StringVar(&f.lab, "lab", "", "measure this `NETWORK` inside this machine instead; \"natprobe lab list\" names them")
	flags.StringVar(&f.family, "family", familyAuto, "`FAMILY` of addresses: ipv4, ipv6 or auto")
	flags.StringSliceVar(&f.regimes, "regimes", regimeNames(), "`LIST` of the kinds of traffic to measure")
	flags.DurationVar(&f.min, "min", probe.DefaultShortest, "shortest `GAP` to try")
	flags.DurationVar(&f.max, "max", probe.DefaultLongest, "longest `GAP` to try")
	flags.DurationVar(&f.resolution, "resolution", 0, "go on until brackets are this narrow in `TIME`, from 500ms; each further round takes as long as a lifetime")
	flags.IntVar(&f.repeat, "repeat", 0, "try the gaps around each bracket again in this `NUMBER` of rounds, at other times: a lazy NAT shows its band only so")
	flags.StringVar(&f.resume, "resume", "", "go on from the last record in this `FILE`, with its settings, on the same path")
	flags.IntVar(&f.flows, "flows", probe.DefaultFlows, "hold at most this `NUMBER` of mappings at a time")
	flags.BoolVar(&f.gentle, "gentle", false, fmt.Sprintf("hold few mappings (%d) and take longer, for small NAT tables", probe.GentleFlows))
	flags.DurationVar(&f.budget, "budget", 0, "end after this `TIME` with what is known by then (default: no limit)")
	flags.BoolVar(&f.json, "json", false, "print the record on standard output, as JSON, instead of the summary")
	flags.StringVar(&f.output, "output", "", "append the record to this `FILE` (JSONL)")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress on standard error")
	exclude(flags, "lab", "reflector")
	yields(flags, "flows", "gentle")
	for _, name := range resumed { // the record's settings are what goes on
		yields(flags, name, "resume")
	}
	complete(cmd, "lab", labNames())
	complete(cmd, "regimes", regimeNames())
	complete(cmd, "family", []string{familyAuto, string(results.IPv4), string(results.IPv6)})
	return cmd
}

// complete lets shells offer the values of a flag.
func complete(cmd *cobra.Command, flag string, values []string) {
	// It fails only for a flag that doesn't exist or has completions already.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

func regimeNames() []string {
	var names []string
	for _, r := range results.Regimes() {
		names = append(names, string(r))
	}
	return names
}

// config returns what the flags ask of a measurement, but for whom to ask.
func (f measureFlags) config(flags *pflag.FlagSet) (probe.Config, error) {
	cfg := probe.Config{Min: f.min, Max: f.max, Gentle: f.gentle, Budget: f.budget, Resolution: f.resolution, Repeat: f.repeat}
	if !slices.Contains([]string{familyAuto, string(results.IPv4), string(results.IPv6)}, f.family) {
		return cfg, usagef("--family %q is not ipv4, ipv6 or auto", f.family)
	}
	if len(f.regimes) == 0 {
		return cfg, usagef("--regimes names none; there are %s", strings.Join(regimeNames(), ", "))
	}
	for _, name := range f.regimes {
		if !slices.Contains(regimeNames(), name) {
			return cfg, usagef("--regimes: there is no regime %q; there are %s", name, strings.Join(regimeNames(), ", "))
		}
		cfg.Regimes = append(cfg.Regimes, results.Regime(name))
	}
	if flags.Changed("flows") || !f.gentle {
		cfg.Flows = f.flows
	}
	// To the prober 0 means the default; a 0 that was typed is a mistake.
	switch {
	case f.min <= 0:
		return cfg, usagef("--min %v is not above 0", f.min)
	case f.max <= 0:
		return cfg, usagef("--max %v is not above 0", f.max)
	case flags.Changed("resolution") && f.resolution <= 0:
		return cfg, usagef("--resolution %v is not above 0", f.resolution)
	case f.flows <= 0:
		return cfg, usagef("--flows %d is not above 0", f.flows)
	}
	// What else is wrong is to be said before anybody is asked anything: any
	// reflector will do for that.
	checked := cfg
	checked.Reflector = netip.AddrPortFrom(netip.IPv4Unspecified(), defaultPort)
	return cfg, checked.Validate()
}

func (a *app) measure(ctx context.Context, f *measureFlags, flags *pflag.FlagSet) (err error) {
	var earlier *results.Record
	if f.resume != "" {
		if earlier, err = a.resume(f, flags); err != nil {
			return err
		}
	}
	cfg, err := f.config(flags)
	if err != nil {
		return err
	}
	cfg.Resume = earlier
	if f.lab != "" && f.reflector != "" {
		return usagef("--lab and --reflector exclude each other: a lab has a reflector of its own")
	}
	m := measurement{app: a, flags: *f, config: cfg, supplied: supplied(flags)}
	if f.lab != "" {
		return m.inLab(ctx)
	}

	name := f.reflector
	if name == "" {
		if name, _ = a.env(reflectorVariable); name == "" {
			return noReflector
		}
		m.supplied["reflector"] = name
	}
	to, err := parseTarget(name)
	if err != nil {
		return err
	}
	at, err := to.resolve(ctx, f.family)
	if err != nil {
		return err
	}
	m.config.Reflector, m.config.Local = at.remote, at.local
	if err := samePath(earlier, at.remote, ""); err != nil {
		return err
	}
	m.reflector = name
	return m.run(ctx, &probe.Prober{}, true)
}

// measurement is one run of measure.
type measurement struct {
	app       *app
	flags     measureFlags
	config    probe.Config
	supplied  map[string]any
	reflector string // as its user names it
	lab       *natlab.Spec
}

// run measures with a prober that knows its sockets, then writes and prints
// what was found.
func (m *measurement) run(ctx context.Context, p *probe.Prober, rememberPorts bool) (err error) {
	out, err := openOutput(m.flags.output)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()

	screen := newView(m.app.stderr, m.flags.quiet)
	closed := false
	closeScreen := func() {
		if !closed {
			closed = true
			screen.Close()
		}
	}
	defer closeScreen()
	screen.Note(m.opening())
	if r := m.config.Resume; r != nil {
		screen.Note(fmt.Sprintf("Going on from the record of %s, with %s.", r.StartedAt.Local().Format("2006-01-02 15:04:05"), plural(len(r.Trials), "trial")))
	}
	p.Config = m.config
	p.Observe = screen.Progress
	if rememberPorts {
		p.Ports = newPortFile(screen.Note)
	}
	record, measureErr := p.Measure(ctx)
	closeScreen()

	measureErr = advise(measureErr, m.config.Reflector)
	if record != nil && record.Reflector.BootID == "" && measureErr == nil {
		measureErr = fmt.Errorf("%w: %v did not answer before the budget ran out", probe.ErrUnreachable, m.config.Reflector)
	}
	if record != nil && record.Reflector.BootID == "" && ctx.Err() != nil {
		return fmt.Errorf("%w before the reflector answered: nothing was measured", errInterrupted)
	}
	if record == nil || measureErr != nil && ctx.Err() == nil && len(record.Trials) == 0 {
		return measureErr
	}
	if err := m.fillIn(record); err != nil {
		return errors.Join(measureErr, err)
	}
	if err := m.write(out, *record); err != nil {
		return err
	}
	return m.verdict(*record, measureErr)
}

// opening says what is going to be measured.
func (m *measurement) opening() string {
	if m.lab != nil {
		return fmt.Sprintf("Measuring the lab %s, %s.", m.lab.Name, m.lab.Summary)
	}
	name := m.config.Reflector.String()
	if to, err := parseTarget(m.reflector); err == nil {
		if _, err := netip.ParseAddr(to.host); err != nil { // it has a name
			name = fmt.Sprintf("%s (%s)", m.reflector, name)
		}
	}
	return fmt.Sprintf("Measuring against the reflector %s from %s.", name, m.config.Local)
}

// advise adds to an error what its reader can do about it.
func advise(err error, reflector netip.AddrPort) error {
	var ours *net.OpError // it was this machine's socket that failed
	if errors.Is(err, probe.ErrUnreachable) && !errors.As(err, &ours) {
		return fmt.Errorf("%w; does \"natprobe reflector\" run there, and do the firewalls let UDP port %d through?", err, reflector.Port())
	}
	return err
}

// fillIn adds what the prober doesn't know.
func (m *measurement) fillIn(record *results.Record) error {
	record.Tool = buildInfo()
	record.Config = m.effective()
	record.Supplied = m.supplied
	in, err := analysis.InputFromRecord(*record)
	if err != nil {
		return err
	}
	recommendation := analysis.Recommend(in)
	record.Recommendation = &recommendation
	return nil
}

// effective returns the settings that were in force, by flag name.
func (m *measurement) effective() map[string]any {
	family := string(results.IPv4)
	if m.config.Reflector.Addr().Unmap().Is6() {
		family = string(results.IPv6)
	}
	flows := m.config.Flows
	if flows == 0 {
		flows = probe.GentleFlows
	}
	regimes := make([]string, 0, len(m.config.Regimes))
	for _, r := range m.config.Regimes {
		regimes = append(regimes, string(r))
	}
	settings := map[string]any{
		"reflector":  m.config.Reflector.String(),
		"family":     family,
		"regimes":    regimes,
		"min":        m.config.Min.String(),
		"max":        m.config.Max.String(),
		"flows":      flows,
		"gentle":     m.config.Gentle,
		"resolution": m.config.Resolution.String(),
		"repeat":     m.config.Repeat,
		"budget":     m.config.Budget.String(),
	}
	if m.lab != nil {
		settings["lab"] = m.lab.Name
	}
	return settings
}

// supplied returns the settings of the measurement as the user gave them.
// Where files lie is none.
func supplied(flags *pflag.FlagSet) map[string]any {
	given := make(map[string]any)
	flags.Visit(func(flag *pflag.Flag) {
		switch flag.Name {
		case "json", "output", "quiet", "resume":
		default:
			given[flag.Name] = strings.Trim(flag.Value.String(), "[]")
		}
	})
	return given
}

// write saves the record and prints it, in the form that was asked for.
func (m *measurement) write(out *recordFile, record results.Record) error {
	saved := out.Append(record)
	// Printed also where it could not be saved: it took minutes to get.
	if m.flags.json {
		return errors.Join(saved, m.app.printJSON(record))
	}
	s := summary{Record: record}
	if m.lab != nil {
		s.Truth, s.Latest = truth(*m.lab), latest(*m.lab)
	}
	writeSummary(m.app.stdout, s, m.app.style())
	if saved == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("%w; the record is printed below the summary instead", saved), m.app.printJSON(record))
}

// verdict returns the error that a measurement ends with.
func (m *measurement) verdict(record results.Record, measureErr error) error {
	switch {
	case errors.Is(measureErr, context.Canceled):
		return fmt.Errorf("%w after %.0f s: this is what was known by then", errInterrupted, record.Effort.ElapsedS)
	case measureErr != nil:
		return measureErr
	default:
		return inconclusive(*record.Recommendation, m.flags.json)
	}
}
