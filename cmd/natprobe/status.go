package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) statusCommand() *cobra.Command {
	var runDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show the tunnels and interfaces that natprobe looks after",
		Long: `Show the tunnels of "natprobe up" and the interfaces of "natprobe apply --follow":
the network that they are in, how long its mappings live, the keepalive that is
set and why, what it saves, and what is done next.`,
		Example: `  natprobe status
  natprobe status wg0
  natprobe status --json | jq '.tuner.paths[].interval_s'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.status(cmd.Context(), strings.Join(args, ""), runDir, asJSON)
		},
	}
	addRunDirFlag(cmd.Flags(), &runDir)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document for each, a line each")
	return cmd
}

func (a *app) status(ctx context.Context, which, runDir string, asJSON bool) error {
	pattern := "*" + tunnelSocket
	if which != "" {
		name, err := interfaceName(which)
		if err != nil {
			return err
		}
		pattern = name + "*" + tunnelSocket
	}
	sockets, err := filepath.Glob(filepath.Join(runDir, pattern))
	if err != nil {
		return err
	}
	slices.Sort(sockets)
	var failures []error
	shown := 0
	for _, socket := range sockets {
		reply, err := ask(ctx, socket, controlStatus, controlPatience)
		switch {
		case errors.Is(err, errNotRunning):
			name := interfaceOf(socket)
			if strings.HasSuffix(socket, applySocket) {
				a.say("%s: the process that followed it was killed, and its interval stays as it is; natprobe apply %s --follow goes on.", name, name)
				continue
			}
			a.say("%s: the process that looked after it was killed; natprobe down %s cleans up.", name, name)
			continue
		case err != nil:
			failures = append(failures, fmt.Errorf("%s: %w", filepath.Base(socket), err))
			continue
		}
		if which != "" && !strings.HasPrefix(pattern, reply.Status.Interface+"*") {
			continue // wg0* matches wg01 as well
		}
		shown++
		if asJSON {
			err = a.printJSON(reply.Status)
		} else {
			writeStatus(a.stdout, *reply.Status, a.style())
		}
		if err != nil {
			return err
		}
	}
	switch {
	case len(failures) > 0:
		return errors.Join(failures...)
	case shown == 0 && which != "":
		return fmt.Errorf("natprobe looks after no interface %s", which)
	case shown == 0 && !asJSON:
		a.say("natprobe looks after no interface. \"natprobe up\" brings up a tunnel, \"natprobe apply\" helps one that exists.")
	}
	return nil
}
