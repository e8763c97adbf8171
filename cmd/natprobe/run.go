package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// app is what verbs may touch of the world outside: data goes to stdout, talk
// to stderr.
type app struct {
	args   []string // of the whole command line, without the program's name
	env    func(string) (string, bool)
	stdin  io.Reader
	stdout *output
	stderr io.Writer
	// begun is set once the command line was understood. Errors before that
	// are about the command line.
	begun bool

	configPath string // --config
	config     configuration
}

// run carries out a command line and returns the exit status. When ctx is done
// the verb ends and keeps what it has.
func run(ctx context.Context, args []string, env func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{args: args, env: env, stdin: stdin, stdout: &output{to: stdout}, stderr: stderr}
	root := a.root()
	// Not nil: cobra would look at os.Args.
	root.SetArgs(append([]string{}, args...))
	ran, err := root.ExecuteContextC(ctx)
	if err != nil && !a.begun {
		err = usageError{err}
	}
	if a.begun && exitStatus(err) == exitUsage {
		err = a.explain(ran, err)
	}
	if a.stdout.err != nil && !errors.Is(err, a.stdout.err) {
		err = fmt.Errorf("write to standard output: %w", a.stdout.err)
	}
	return report(stderr, ran.CommandPath(), err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "natprobe",
		Short: "Measure how long NATs and firewalls remember you",
		Long: `natprobe measures how long the NATs and firewalls between you and the Internet
keep an idle UDP mapping, and tells which PersistentKeepalive WireGuard needs.

It takes two machines: yours, behind the NAT, runs "natprobe measure"; one with a
public address runs "natprobe reflector". To see it work on one machine, without
any network, measure a lab.`,
		Example: `  natprobe measure --lab fast                    try it, on Linux, in half a minute
  natprobe reflector                             on a public machine
  natprobe doctor                                is this machine fit to measure?
  natprobe measure --reflector vpn.example.org   at home
  natprobe verify --interval 25s --reflector vpn.example.org
                                                 does that interval hold?
  natprobe recommend record.json                 an interval from a saved measurement
  natprobe up wg0.conf                           a tunnel that chooses its own interval
  natprobe apply wg0 --follow                    the same for an interface that exists`,
		Version:       buildInfo().Version,
		SilenceErrors: true, // report says them, once
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.begun = true
			return a.configure(cmd)
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetVersionTemplate("natprobe {{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVar(&a.configPath, "config", "", "`FILE` with defaults for flags, see \"natprobe config --help\" (default $"+configVariable+")")
	root.AddCommand(a.measureCommand(), a.recommendCommand(), a.verifyCommand(),
		a.upCommand(), a.downCommand(), a.statusCommand(), a.applyCommand(), a.reflectorCommand(), a.labCommand(), a.doctorCommand(), a.configCommand(), a.versionCommand())
	return root
}

// printJSON writes a value as one document on one line of stdout, so that
// outputs that are appended to a file make JSONL.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// output is standard output. It remembers the first failure, so that the text
// of a page can be written without a look at each line.
type output struct {
	to  io.Writer
	err error
}

// Write writes, unless that failed before.
func (o *output) Write(b []byte) (int, error) {
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(b)
	o.err = err
	return n, err
}

// style returns what suits stdout. There are colours only for the eyes of
// someone who wants them (https://no-color.org).
func (a *app) style() style {
	plain := style{unicode: true}
	file, ok := a.stdout.to.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return plain
	}
	s := plain
	if width, _, err := term.GetSize(int(file.Fd())); err == nil {
		s.width = width
	}
	noColor, _ := a.env("NO_COLOR")
	kind, _ := a.env("TERM")
	s.color = noColor == "" && kind != "dumb"
	return s
}

// say tells a person something, on stderr.
func (a *app) say(format string, args ...any) {
	// A person can't be told where telling fails.
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
}
