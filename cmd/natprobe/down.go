package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/tunnel"
)

func (a *app) downCommand() *cobra.Command {
	var runDir string
	cmd := &cobra.Command{
		Use:   "down NAME",
		Short: "Take down a tunnel that natprobe brought up",
		Long: `Take down a tunnel that "natprobe up" brought up, by its name or its file, and wait
until everything is undone. Where the process that kept it was killed, what it left
behind is cleaned up: routing rules, firewall rules, name servers.`,
		Example: `  natprobe down wg0
  natprobe down /etc/wireguard/wg0.conf`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.down(cmd.Context(), args[0], runDir) },
	}
	addRunDirFlag(cmd.Flags(), &runDir)
	return cmd
}

func (a *app) down(ctx context.Context, which, runDir string) error {
	name, err := interfaceName(which)
	if err != nil {
		return err
	}
	_, err = ask(ctx, filepath.Join(runDir, name+tunnelSocket), controlDown, downPatience)
	if err == nil {
		a.say("%s is down.", name)
		return nil
	}
	if !errors.Is(err, errNotRunning) {
		return err
	}
	cleaned, err := tunnel.CleanUp(ctx, runDir, name)
	if err == nil {
		cleaned = removeStale(filepath.Join(runDir, name+tunnelSocket)) || cleaned
	}
	pid, _, _ := tunnel.Owner(runDir, name) // for the message only
	switch {
	case errors.Is(err, tunnel.ErrRunning):
		return fmt.Errorf("%s is just coming up or going down, in process %d; try again in a moment, or end that process", name, pid)
	case err != nil:
		return err
	case cleaned:
		a.say("%s was not running any more; what it had left behind is cleaned up.", name)
		return nil
	default:
		return fmt.Errorf("no tunnel %s is up; natprobe status lists what is", name)
	}
}

// interfaceName accepts the name of an interface, or of its file.
func interfaceName(which string) (string, error) {
	if !strings.ContainsAny(which, "/\\") && !strings.HasSuffix(which, ".conf") {
		which += ".conf"
	}
	name, err := vpn.InterfaceName(which)
	if err != nil {
		return "", usageError{err}
	}
	return name, nil
}
