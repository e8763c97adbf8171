package main

import (
	"io"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/vpn/tunnel"
)

// tuningFlags are the flags that up and apply share.
type tuningFlags struct {
	reflector string
	stateDir  string
	runDir    string
	verbose   bool
}

func (f *tuningFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.reflector, "reflector", "", "`HOST[:PORT]` to measure against where the peer is no natprobe (default $"+reflectorVariable+")")
	flags.StringVar(&f.stateDir, "state-dir", "", "keep what is learned about networks in this `FOLDER` (default $STATE_DIRECTORY, as root /var/lib/natprobe)")
	addRunDirFlag(flags, &f.runDir)
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log more")
}

func addRunDirFlag(flags *pflag.FlagSet, runDir *string) {
	flags.StringVar(runDir, "run-dir", tunnel.DefaultRunDir, "`FOLDER` of the processes that run: their sockets and journals")
}

// namedReflector returns the reflector that a flag or the environment names; nil
// where neither does.
func (a *app) namedReflector(name string) (*target, error) {
	if name == "" {
		if name, _ = a.env(reflectorVariable); name == "" {
			return nil, nil //nolint:nilnil // no reflector is no error here
		}
	}
	to, err := parseTarget(name)
	if err != nil {
		return nil, err
	}
	return &to, nil
}

func newLog(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
