package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) configCommand() *cobra.Command {
	config := &cobra.Command{
		Use:   "config",
		Short: "Defaults for flags from a file",
		Long: `Defaults for the flags of all verbs can be kept in a file, in YAML. It is the one
that --config names, else ` + configVariable + `, else the first that exists of
natprobe/config.yaml in your own folder of configurations (~/.config on Linux) and
/etc/natprobe/config.yaml. The command line goes before the environment, that
before the file.`,
		Example: `  natprobe config example > ~/.config/natprobe/config.yaml
  natprobe config show`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q for %q; there are \"natprobe config example\" and \"natprobe config show\"", args[0], cmd.CommandPath())
			}
			return cmd.Help()
		},
		Annotations: map[string]string{withoutConfig: "true"},
	}
	config.AddCommand(&cobra.Command{
		Use:     "example",
		Short:   "Print a file with every key there is, its meaning and its default",
		Example: "  natprobe config example > config.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(a.stdout, configExample(cmd.Root()))
			return err
		},
	}, a.configShowCommand())
	return config
}

func (a *app) configShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show the value of every flag that is in force, and where it comes from",
		Long: `Show the value of every flag that is in force, and where it comes from: the file,
by its line, the environment, or the program itself. Flags on a verb's command
line go before all of these.`,
		Example: "  natprobe config show | grep -v built-in",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.configure(cmd.Root()); err != nil {
				return err
			}
			_, err := fmt.Fprint(a.stdout, a.config.text(cmd.Root()))
			return err
		},
	}
}

// text shows the value of each flag and its source.
func (c configuration) text(root *cobra.Command) string {
	var b strings.Builder
	switch {
	case c.path != "":
		fmt.Fprintf(&b, "Configuration file: %s\n\n", c.path)
	default:
		fmt.Fprintf(&b, "No configuration file; looked for %s\n\n", strings.Join(c.tried, ", "))
	}
	t := table{header: true}
	t.row("key", "value", "from")
	names, verbs := configurable(root)
	for _, name := range names {
		for _, flag := range configFlags(verbs[name]) {
			source, value := c.sources[flag], yamlValue(flag)
			where := "built-in"
			switch {
			case source.variable != "":
				where, value = "$"+source.variable, yamlText(source.value)
			case source.line > 0:
				where = "line " + strconv.Itoa(source.line)
			}
			t.row(setting{verb: name, flag: flag.Name}.key(), value, where)
		}
	}
	t.write(&b, style{})
	return b.String()
}

// configExample is a configuration file with every key, all of them commented
// out.
func configExample(root *cobra.Command) string {
	var b strings.Builder
	comment := func(indent, text string) {
		for _, line := range wrap(text, textWidth-len(indent)) {
			b.WriteString(strings.TrimRight(indent+"# "+line, " ") + "\n")
		}
	}
	comment("", "Defaults for the flags of natprobe. The file is the one that --config names, else $"+configVariable+
		", else the first that exists of ~/.config/natprobe/config.yaml (or where your system keeps such files) and"+
		" /etc/natprobe/config.yaml. The command line goes before the environment, that before this file.")
	b.WriteString("#\n")
	comment("", "All keys there are, with the values that are in force without this file. To set one, take away its #."+
		" \"natprobe config example\" prints this; \"natprobe config show\" shows what is in force.")

	names, verbs := configurable(root)
	for _, key := range commonKeys() {
		// Its default is that of any verb that has it.
		for _, name := range names {
			if flag := verbs[name].Flags().Lookup(key); flag != nil {
				b.WriteString("\n")
				comment("", commonMeanings()[key])
				fmt.Fprintf(&b, "#%s: %s\n", key, yamlValue(flag))
				break
			}
		}
	}
	b.WriteString("\n" + verbsKey + ":\n")
	for i, name := range names {
		if i > 0 {
			b.WriteString("\n")
		}
		comment("  ", verbs[name].Short)
		fmt.Fprintf(&b, "  %s:\n", name)
		for _, flag := range configFlags(verbs[name]) {
			comment("    ", plainUsage(flag))
			fmt.Fprintf(&b, "    #%s: %s\n", flag.Name, yamlValue(flag))
		}
	}
	return b.String()
}

// plainUsage is the help of a flag.
func plainUsage(flag *pflag.Flag) string {
	_, usage := pflag.UnquoteUsage(flag)
	return usage
}

// yamlValue writes the value of a flag.
func yamlValue(flag *pflag.Flag) string {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		var items []string
		for _, item := range list.GetSlice() {
			items = append(items, yamlText(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if flag.Value.Type() == "string" {
		return yamlText(flag.Value.String())
	}
	return flag.Value.String()
}

// yamlText writes a text, in quotes unless it is a plain word.
func yamlText(text string) string {
	word := regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9._/-]*$`)
	other := regexp.MustCompile(`^(?i:true|false|yes|no|on|off|y|n|null|nan|inf)$`)
	if word.MatchString(text) && !other.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}
