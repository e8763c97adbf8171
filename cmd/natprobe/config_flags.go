package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commonKeys are the flags that the file can set for all verbs that have them.
func commonKeys() []string { return []string{"reflector", "state-dir", "run-dir"} }

// commonMeanings says what they are.
func commonMeanings() map[string]string {
	return map[string]string{
		"reflector": "HOST[:PORT] of the reflector to measure against, for all verbs (default $" + reflectorVariable + "; port 3478)",
		"state-dir": "FOLDER for what is learned about networks, for all verbs (default $STATE_DIRECTORY, as root /var/lib/natprobe)",
		"run-dir":   "FOLDER of the processes that run, for all verbs: their sockets and journals",
	}
}

// flagVariables are the variables of the environment that stand for a flag
// where it isn't given.
func flagVariables() map[string]string {
	return map[string]string{"reflector": reflectorVariable, "state-dir": "STATE_DIRECTORY"}
}

// yieldsTo is the annotation of a flag with those that take its place.
const yieldsTo = "natprobe_yields_to"

// yields says that a flag's value in the configuration file doesn't count where
// the command line or the environment gives one of others.
func yields(flags *pflag.FlagSet, name string, others ...string) {
	flag := flags.Lookup(name)
	// It fails only for a flag that doesn't exist, which a test finds.
	_ = flags.SetAnnotation(name, yieldsTo, append(flag.Annotations[yieldsTo], others...))
}

// exclude says that of two flags only one can be given; the one that is typed
// takes the place of the other, where that is in the configuration file.
func exclude(flags *pflag.FlagSet, one, other string) {
	yields(flags, one, other)
	yields(flags, other, one)
}

// idle tells whether a value is as if the flag had not been given.
func idle(value string) bool { return value == "" || value == "false" }

// configurable returns the verbs that the file has sections for, by the words
// that call them, and in the order of the help.
func configurable(root *cobra.Command) (names []string, verbs map[string]*cobra.Command) {
	verbs = make(map[string]*cobra.Command)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Annotations[withoutConfig] != "" || cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
			return
		}
		if cmd.HasParent() && cmd.Runnable() && len(configFlags(cmd)) > 0 {
			name := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
			names = append(names, name)
			verbs[name] = cmd
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return names, verbs
}

// configFlags returns the flags of a verb that the file can set, in the order of
// its help.
func configFlags(cmd *cobra.Command) []*pflag.Flag {
	var flags []*pflag.Flag
	everywhere := cmd.Root().PersistentFlags()
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "help" && !flag.Hidden && flag.Deprecated == "" && everywhere.Lookup(flag.Name) == nil {
			flags = append(flags, flag)
		}
	})
	return flags
}

// applySettings gives the flags of all verbs the values of the file, and returns
// where the values of flags come from that are no longer built in. What was
// typed, or is in the environment, stays.
func applySettings(root *cobra.Command, settings []setting, env func(string) (string, bool)) map[*pflag.Flag]from {
	sources := make(map[*pflag.Flag]from)
	names, verbs := configurable(root)
	for _, name := range names {
		given := make(map[string]bool) // before the file
		for _, flag := range configFlags(verbs[name]) {
			variable := flagVariables()[flag.Name]
			value, _ := env(variable)
			if flag.Changed {
				given[flag.Name] = !idle(flag.Value.String())
			} else if variable != "" && value != "" {
				given[flag.Name] = true
				sources[flag] = from{variable: variable, value: value}
			}
		}
		// What is for the verb alone goes before what is for all.
		for _, section := range []string{name, ""} {
			chosen := make(map[string]bool)
			for _, s := range settings {
				flag := verbs[name].Flags().Lookup(s.flag)
				if s.verb != section || flag == nil || flag.Hidden {
					continue
				}
				_, isGiven := given[flag.Name]
				if isGiven || slices.ContainsFunc(flag.Annotations[yieldsTo], func(other string) bool { return given[other] }) {
					continue
				}
				if s.set(verbs[name].Flags()) == nil { // checked when it was read
					sources[flag] = from{line: s.line}
					chosen[flag.Name] = !idle(flag.Value.String())
				}
			}
			for flag, counts := range chosen {
				given[flag] = counts
			}
		}
	}
	return sources
}
