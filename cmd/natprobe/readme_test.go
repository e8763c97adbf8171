package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/natprobe/natprobe/analysis"
	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/results"
)

func readme(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// TestReadmeCommands parses each command line of the README: its verb and its
// flags must be there.
func TestReadmeCommands(t *testing.T) {
	// Indented lines that begin with the program, and the same in backquotes.
	commands := regexp.MustCompile("(?m)(?:^    |`)(?:bin/)?natprobe ([^`\n]+)").FindAllStringSubmatch(readme(t), -1)
	if len(commands) < 5 {
		t.Fatalf("found only %d commands; the page or this test has changed its form", len(commands))
	}
	for _, found := range commands {
		a := &app{}
		verb, args, err := a.root().Find(strings.Fields(found[1]))
		if err == nil {
			err = verb.ParseFlags(args)
		}
		if err == nil {
			err = verb.ValidateArgs(verb.Flags().Args())
		}
		if err == nil && verb.HasSubCommands() && verb.Name() != "reflector" { // which does something by itself
			err = errors.New("names no verb")
		}
		if err != nil && !errors.Is(err, pflag.ErrHelp) {
			t.Errorf("README.md: natprobe %s: %v", found[1], err)
		}
	}
}

// TestReadmeConfig reads the configuration file of the README.
func TestReadmeConfig(t *testing.T) {
	_, text, _ := strings.Cut(readme(t), "## Keep your settings")
	var file strings.Builder
	for line := range strings.Lines(text) {
		if line, indented := strings.CutPrefix(line, "    "); indented {
			file.WriteString(line)
		} else if file.Len() > 0 {
			break
		}
	}
	settings, err := parseConfig("README.md", []byte(file.String()), (&app{}).root())
	if err != nil || len(settings) < 3 {
		t.Errorf("%d settings, %v, in:\n%s", len(settings), err, file.String())
	}
}

// TestReadmeFacts compares the README with the code.
func TestReadmeFacts(t *testing.T) {
	page := strings.Join(strings.Fields(readme(t)), " ") // however its lines are broken
	demo, err := natlab.Find("fast")
	if err != nil {
		t.Fatal(err)
	}
	facts := []string{
		fmt.Sprintf("Its timers, %.0f s and %.0f s, are known", demo.Truth().Solitary.Seconds(), demo.Truth().Stream.Seconds()),
		fmt.Sprintf("silences up to %.0f minutes (`--max`, up to %.0f minutes with a reflector's default limits)",
			probe.DefaultLongest.Minutes(), reflector.DefaultMaxDelay.Minutes()),
		fmt.Sprintf("up to %d mappings open, %d with `--gentle`", probe.DefaultFlows, probe.GentleFlows),
		fmt.Sprintf("never above %d s", analysis.MaxKeepaliveS),
		fmt.Sprintf("may send (%.0f %%)", 100*(analysis.LatenessKernel-1)),
		fmt.Sprintf("%d as a rule", defaultPort),
		fmt.Sprintf("`verify` keeps %d flows alive", probe.DefaultSoakFlows),
		fmt.Sprintf("that share lies above %.0f %% (`--target`)", 100*probe.DefaultTarget),
		reflectorVariable + "=",
		"`" + configVariable + "`",
		"`" + schemaDoctor + "`",
	}
	for _, status := range []int{exitDone, exitFailed, exitUsage, exitInconclusive, exitUnreachable, exitInterrupted} {
		facts = append(facts, "| "+strconv.Itoa(status)+" | ")
	}
	for _, r := range results.Regimes() {
		facts = append(facts, fmt.Sprintf("| `%s` | ", r))
	}
	for _, fact := range facts {
		if !strings.Contains(page, fact) {
			t.Errorf("README.md doesn't say: %s", fact)
		}
	}
}

// TestReflectorGuideFacts compares the operator's guide with the verb.
func TestReflectorGuideFacts(t *testing.T) {
	guide, err := os.ReadFile("../../reflector/README.md")
	if err != nil {
		t.Fatal(err)
	}
	security, err := os.ReadFile("../../reflector/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	facts := []string{"| `--config "}
	(&app{}).reflectorCommand().Flags().VisitAll(func(flag *pflag.Flag) {
		facts = append(facts, "| `--"+flag.Name+" ")
	})
	for _, fact := range append(facts, "`go_*`", "`process_*`", "net.core.rmem_max=4194304") {
		if !strings.Contains(string(guide), fact) {
			t.Errorf("reflector/README.md doesn't say: %s", fact)
		}
	}
	if fact := fmt.Sprintf("it holds at most %d", maxAdminConns); !strings.Contains(string(security), fact) {
		t.Errorf("reflector/SECURITY.md doesn't say: %s", fact)
	}
}
