package main

import (
	"io"
	"log/slog"

	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/vpn/tunnel"
)

// addTuningFlags adds the flags that up and apply share.
func addTuningFlags(flags *pflag.FlagSet, stateDir, runDir *string, verbose *bool) {
	flags.StringVar(stateDir, "state-dir", "", "keep what is learned about networks in this `FOLDER` (default $STATE_DIRECTORY, as root /var/lib/natprobe)")
	addRunDirFlag(flags, runDir)
	flags.BoolVarP(verbose, "verbose", "v", false, "log more")
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
