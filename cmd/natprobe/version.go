package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/results"
)

// Set by the linker when a release is built.
var (
	version string
	commit  string
)

// buildInfo says which program this is: what the linker was told, else what Go
// noted when it built it.
func buildInfo() results.Tool {
	tool := results.Tool{Name: "natprobe", Version: version, Commit: commit, OS: runtime.GOOS, Arch: runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if tool.Version == "" {
		tool.Version = strings.TrimPrefix(info.Main.Version, "v")
	}
	if tool.Version == "" || tool.Version == "(devel)" {
		tool.Version = "devel"
	}
	for _, setting := range info.Settings {
		if tool.Commit == "" && setting.Key == "vcs.revision" {
			tool.Commit = setting.Value[:min(12, len(setting.Value))]
		}
	}
	return tool
}

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which natprobe this is",
		Args:  cobra.NoArgs,
		// It is asked where something is wrong.
		Annotations: map[string]string{withoutConfig: "true"},
		RunE: func(*cobra.Command, []string) error {
			tool := buildInfo()
			if asJSON {
				return a.printJSON(tool)
			}
			from := ""
			if tool.Commit != "" {
				from = ", commit " + tool.Commit
			}
			_, err := fmt.Fprintf(a.stdout, "natprobe %s%s, %s/%s, %s\n", tool.Version, from, tool.OS, tool.Arch, runtime.Version())
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}
