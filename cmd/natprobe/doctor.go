package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/results"
)

// schemaDoctor names the form of a doctorReport.
const schemaDoctor = "natprobe.doctor/1"

// doctorReport is what `doctor --json` prints.
type doctorReport struct {
	Schema   string       `json:"schema"`
	Tool     results.Tool `json:"tool"`
	At       time.Time    `json:"at"`
	Findings []finding    `json:"findings"`
}

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	reflector string
	stateDir  string
	runDir    string
	json      bool
}

func (a *app) doctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what on this machine could spoil a measurement",
		Long: `Look for what on this machine could spoil a measurement, or be measured instead of
the router: a VPN, the machine's own firewall, a second NAT, the clock, IPv6,
permissions, the number of files that may be open, a reflector that doesn't answer.
Nothing is changed, and what can't be seen is called unknown. As root it sees more.

It asks the reflector for one STUN answer for each family of addresses, and the
router for its outer address (NAT-PMP).

Status: 0 no problem (perhaps warnings), 1 a problem, 2 usage.`,
		Example: `  natprobe doctor --reflector vpn.example.org
  natprobe doctor --json | jq '.findings[] | select(.status != "ok")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd, f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.reflector, "reflector", "", "`HOST[:PORT]` of the reflector to ask (default $"+reflectorVariable+"; port 3478)")
	flags.StringVar(&f.stateDir, "state-dir", "", "`FOLDER` of what is learned about networks (default $STATE_DIRECTORY, as root /var/lib/natprobe)")
	addRunDirFlag(flags, &f.runDir)
	flags.BoolVar(&f.json, "json", false, "print the findings as one JSON document")
	return cmd
}

func (a *app) doctor(cmd *cobra.Command, f doctorFlags) error {
	to, err := a.namedReflector(f.reflector)
	if err != nil {
		return err
	}
	g := gatherer{to: to, runDir: f.runDir, flows: flowsInForce(cmd.Root())}
	if g.name = f.reflector; g.name == "" {
		g.name, _ = a.env(reflectorVariable)
	}
	g.stateDir, g.noStateDir = stateDir(f.stateDir, a.env)
	seen, err := g.gather(cmd.Context())
	if err != nil {
		return err
	}
	findings := examine(seen)
	if f.json {
		err = a.printJSON(doctorReport{schemaDoctor, buildInfo(), time.Now().UTC(), findings})
	} else {
		err = writeFindings(a.stdout, findings, a.style())
	}
	if err != nil {
		return err
	}
	if n := tally(findings)[verdictProblem]; n > 0 {
		return fmt.Errorf("%s found", plural(n, "problem"))
	}
	return nil
}

// flowsInForce returns how many flows measure would have at a time, without
// flags.
func flowsInForce(root *cobra.Command) int {
	flows := 0
	if _, verbs := configurable(root); verbs["measure"] != nil {
		flags := verbs["measure"].Flags()
		// They fail only for flags that don't exist, which a test finds.
		flows, _ = flags.GetInt("flows")
		if gentle, _ := flags.GetBool("gentle"); gentle && !flags.Changed("flows") {
			flows = probe.GentleFlows
		}
	}
	return flows
}

// writeFindings shows findings to a person.
func writeFindings(w io.Writer, findings []finding, st style) error {
	colours := map[verdict]string{verdictOK: sgrGreen, verdictWarn: sgrYellow, verdictProblem: sgrRed, verdictUnknown: sgrDim}
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	indent := strings.Repeat(" ", len("  problem  ")+width+2)
	room := max(st.screen()-len(indent), minText)
	var b strings.Builder
	for _, f := range findings {
		lines := wrap(f.Seen, room)
		fmt.Fprintf(&b, "  %s  %s  %s\n", st.paint(colours[f.Status], pad(string(f.Status), len("problem"))), pad(f.Check, width), lines[0])
		for _, line := range lines[1:] {
			b.WriteString(indent + line + "\n")
		}
		if f.Advice != "" {
			for i, line := range wrap(f.Advice, room-2) {
				lead := "  "
				if i == 0 {
					lead = "→ "
				}
				b.WriteString(indent + lead + line + "\n")
			}
		}
	}
	b.WriteString("\n" + diagnosis(findings) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// diagnosis is all of it in a sentence.
func diagnosis(findings []finding) string {
	n := tally(findings)
	var parts []string
	if n[verdictProblem] > 0 {
		parts = append(parts, plural(n[verdictProblem], "problem"))
	}
	if n[verdictWarn] > 0 {
		parts = append(parts, plural(n[verdictWarn], "warning"))
	}
	if n[verdictUnknown] > 0 {
		parts = append(parts, fmt.Sprintf("%d unknown", n[verdictUnknown]))
	}
	if len(parts) == 0 {
		return "Nothing here would spoil a measurement."
	}
	return fmt.Sprintf("%s; %d ok.", strings.Join(parts, ", "), n[verdictOK])
}

func tally(findings []finding) map[verdict]int {
	n := make(map[verdict]int)
	for _, f := range findings {
		n[f.Status]++
	}
	return n
}
