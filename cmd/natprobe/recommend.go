package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/results"
)

// recommendFlags are the flags of recommend.
type recommendFlags struct {
	implementation string
	slack          time.Duration
	losses         int
	unreachable    float64
	json           bool
}

// lateness is how late each implementation of WireGuard may send a keepalive.
func lateness(implementation string) (float64, error) {
	switch implementation {
	case "kernel":
		return analysis.LatenessKernel, nil
	case "wireguard-go":
		return analysis.LatenessExact, nil
	default:
		return 0, usagef("--implementation %q is not kernel or wireguard-go", implementation)
	}
}

func (a *app) recommendCommand() *cobra.Command {
	var f recommendFlags
	cmd := &cobra.Command{
		Use:   "recommend RECORD.json",
		Short: "Recommend a keepalive from a saved measurement",
		Long: `Recommend a PersistentKeepalive from a record that "natprobe measure" saved with
--output or printed with --json, perhaps with other tolerances. Of several records in
the file the last counts; "-" reads standard input.

Status: 0 done, 2 the record can't be read, 3 it has not enough evidence.`,
		Example: `  natprobe recommend record.json
  natprobe recommend records.jsonl --implementation wireguard-go
  natprobe recommend record.json --losses 3 --json
  natprobe measure --reflector vpn.example.org --json | natprobe recommend -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("recommend takes one file of records, and got %d; try: natprobe recommend record.json", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return a.recommend(args[0], f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.implementation, "implementation", "kernel", "`WHOSE` keepalives: kernel (up to 13 % late) or wireguard-go (in time)")
	flags.DurationVar(&f.slack, "slack", analysis.DefaultSlack, "margin in `TIME`, added to the round-trip time")
	flags.IntVar(&f.losses, "losses", 0, "`NUMBER` of keepalives in a row that may be lost without harm, 1 to 100 (default: by the loss measured)")
	flags.Float64Var(&f.unreachable, "unreachable", 0, "`SHARE` of time, up to 1, in which peers may fail to reach this side (default: by the loss measured)")
	flags.BoolVar(&f.json, "json", false, "print the recommendation as one JSON document")
	complete(cmd, "implementation", []string{"kernel", "wireguard-go"})
	return cmd
}

// tolerance returns what the flags ask for.
func (f recommendFlags) tolerance() (analysis.Tolerance, error) {
	late, err := lateness(f.implementation)
	if err != nil {
		return analysis.Tolerance{}, err
	}
	t := analysis.Tolerance{Lateness: late, Slack: f.slack, Losses: f.losses, Unreachable: f.unreachable}
	if f.slack == 0 {
		t.Slack = time.Nanosecond // 0 would mean the default
	}
	if err := (analysis.Input{Tolerance: t}).Validate(); err != nil {
		return t, usageError{errors.New(strings.NewReplacer(
			"Tolerance.Slack", "--slack", "Tolerance.Losses", "--losses", "Tolerance.Unreachable", "--unreachable",
		).Replace(err.Error()))}
	}
	return t, nil
}

func (a *app) recommend(name string, f recommendFlags) error {
	tolerance, err := f.tolerance()
	if err != nil {
		return err
	}
	record, err := a.lastRecord(name)
	if err != nil {
		return err
	}
	in, err := analysis.InputFromRecord(record)
	if err != nil {
		return inputError{fmt.Errorf("%s: %w", name, err)}
	}
	in.Tolerance = tolerance
	recommendation := analysis.Recommend(in)
	if f.json {
		err = a.printJSON(recommendation)
	} else {
		record.Recommendation = &recommendation
		writeRecommendation(a.stdout, record, a.style())
	}
	if err != nil {
		return err
	}
	return inconclusive(recommendation, f.json)
}

// lastRecord reads a file of records and returns the last that can be read. It
// says so where others were passed over.
func (a *app) lastRecord(name string) (results.Record, error) {
	var records []results.Record
	var err error
	if name == "-" {
		records, err = results.ReadRecords(a.stdin, "standard input")
	} else {
		records, err = results.ReadRecordFile(name)
	}
	if len(records) == 0 {
		return results.Record{}, inputError{firstOf(err)}
	}
	last := records[len(records)-1]
	if err != nil {
		a.say("%v. Using the last record that can be read.", firstOf(err))
	}
	if len(records) > 1 {
		a.say("%s has %d records; this is about the last, which began at %s.",
			name, len(records), last.StartedAt.Local().Format("2006-01-02 15:04:05"))
	}
	return last, nil
}

// firstOf returns the first of joined errors, and how many there are besides.
func firstOf(err error) error {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) == 0 {
		return err
	}
	all := joined.Unwrap()
	if len(all) == 1 {
		return all[0]
	}
	return fmt.Errorf("%w (and %d more like it)", all[0], len(all)-1)
}
