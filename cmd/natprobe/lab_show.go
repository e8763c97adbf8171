package main

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

func (a *app) labShowCommand() *cobra.Command {
	var json bool
	cmd := &cobra.Command{
		Use:   "show NAME",
		Short: "Show what a lab is, and the truth about it",
		Long: `Show the boxes on a lab's path, its loss, and the lifetimes that a measurement
must find. NAME is one of "natprobe lab list", or a description.`,
		Example: `  natprobe lab show cgn
  natprobe lab show nat:6s/12s+nat:4s/9s,loss=5 --json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("which lab? Write: natprobe lab show NAME; \"natprobe lab list\" has the names")
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(labNames(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(_ *cobra.Command, args []string) error {
			spec, err := natlab.Lookup(args[0])
			if err != nil {
				return usageError{err}
			}
			if json {
				return a.printJSON(describeLab(spec))
			}
			_, err = fmt.Fprint(a.stdout, labText(spec))
			return err
		},
	}
	cmd.Flags().BoolVar(&json, "json", false, "print it as JSON")
	return cmd
}

// labDescription is what `lab show --json` prints. Times are in seconds.
type labDescription struct {
	Name     string                          `json:"name"`
	Summary  string                          `json:"summary"`
	Notation string                          `json:"notation"`
	Emulated bool                            `json:"emulated"`
	Family   natlab.Family                   `json:"family"`
	Port     uint16                          `json:"port"`
	Loss     float64                         `json:"loss"` // share, 0 to 1, each way
	Boxes    []boxDescription                `json:"boxes"`
	Truth    map[results.Regime]*labLifetime `json:"truth"` // null: nothing expires
	// EgressS is the shortest timer of the server's side; absent: nothing there
	// expires.
	EgressS float64 `json:"egress_s,omitempty"`
}

// boxDescription is a box, innermost first. What it doesn't have is left out.
type boxDescription struct {
	Kind                string  `json:"kind"` // nat or firewall
	SolitaryS           float64 `json:"solitary_s"`
	StreamS             float64 `json:"stream_s"`
	DNSS                float64 `json:"dns_s,omitempty"`
	SweepS              float64 `json:"sweep_s,omitempty"`
	RandomPorts         bool    `json:"random_ports,omitempty"`
	Strict              bool    `json:"strict,omitempty"`
	ServerSide          bool    `json:"server_side,omitempty"`
	Filtering           string  `json:"filtering,omitempty"` // absent: address-and-port-dependent, unless endpoint_independent is set
	Ports               int     `json:"ports,omitempty"`
	Addresses           int     `json:"addresses,omitempty"`
	EndpointIndependent bool    `json:"endpoint_independent,omitempty"`
	OutboundOnly        bool    `json:"outbound_only,omitempty"`
	Table               int     `json:"table,omitempty"`
}

// labLifetime is where the true lifetimes lie: at one value as a rule.
type labLifetime struct {
	FromS float64 `json:"from_s"`
	ToS   float64 `json:"to_s"`
}

func describeLab(spec natlab.Spec) labDescription {
	d := labDescription{
		Name: spec.Name, Summary: spec.Summary, Notation: spec.Notation(), Emulated: spec.Emulated,
		Family: familyOfLab(spec), Port: portOfLab(spec), Loss: spec.Loss,
		Boxes: []boxDescription{}, Truth: make(map[results.Regime]*labLifetime), EgressS: spec.Egress().Seconds(),
	}
	for _, nat := range spec.NATs {
		box := boxDescription{
			Kind: "nat", SolitaryS: nat.Solitary.Seconds(), StreamS: nat.Stream.Seconds(),
			DNSS: nat.DNS.Seconds(), SweepS: nat.Sweep.Seconds(), RandomPorts: nat.RandomPorts, Strict: nat.Strict, ServerSide: nat.ServerSide,
			Filtering: string(nat.Filtering), Ports: nat.Ports, Addresses: nat.Addresses, EndpointIndependent: nat.EndpointIndependent,
			OutboundOnly: nat.OutboundOnly, Table: nat.Table,
		}
		if nat.None {
			box.Kind = "firewall"
		}
		d.Boxes = append(d.Boxes, box)
	}
	from, to := truth(spec), latest(spec)
	for _, r := range results.Regimes() {
		d.Truth[r] = nil
		if from[r] > 0 {
			d.Truth[r] = &labLifetime{from[r], to[r]}
		}
	}
	return d
}

// labText shows a lab to a person.
func labText(spec natlab.Spec) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s.\n\n", spec.Name, strings.TrimSuffix(spec.Summary, "."))
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	// Nothing can fail that writes to memory.
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(table, "  %s\t"+format+"\n", append([]any{name}, args...)...)
	}
	row("addresses", "%s", familyWord(string(familyOfLab(spec))))
	for i, nat := range spec.NATs {
		row("box "+strconv.Itoa(i+1), "%s", nat.Describe())
	}
	row("server", "its reflector is at port %d", portOfLab(spec))
	if spec.Loss > 0 {
		row("loss", "%g %% each way, between the last box and the server", 100*spec.Loss)
	} else {
		row("loss", "none")
	}
	if spec.Emulated {
		row("made of", "models inside natprobe: any system, no privileges")
	} else {
		row("made of", "the Linux kernel's own parts: root or user namespaces")
	}
	_ = table.Flush()

	b.WriteString("\nTrue lifetimes of an idle mapping:\n")
	from, to := truth(spec), latest(spec)
	for _, r := range results.Regimes() {
		row(string(r), "%s", timerText(secondsOf(from[r]), secondsOf(to[r])))
	}
	_ = table.Flush()
	if egress := spec.Egress(); egress > 0 {
		fmt.Fprintf(&b, "\nThe firewall in front of the server forgets flows after %g s: what expires from\n"+
			"there on need not be the client's side's doing.\n", egress.Seconds())
	}
	fmt.Fprintf(&b, "\nAs a description: %s\n", spec.Notation())
	return b.String()
}

func secondsOf(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func familyOfLab(spec natlab.Spec) natlab.Family {
	if spec.Family == "" {
		return natlab.IPv4
	}
	return spec.Family
}

func portOfLab(spec natlab.Spec) uint16 {
	if spec.Port == 0 {
		return defaultPort
	}
	return spec.Port
}
