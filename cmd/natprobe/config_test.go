package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// configExampleFile is the example that goes with the program.
const configExampleFile = "packaging/config.example.yaml"

// TestConfigMistakes shows what a person is told about a file that is wrong.
func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		text string
		want []string // one for each line of the error, without the file
	}{
		{"time without unit", "verbs:\n  measure:\n    max: 5\n", []string{`3: verbs.measure.max: "5" is something else; expected a time with its unit, as 500ms, 90s or 10m`}},
		{"number", "verbs: {measure: {flows: many}}", []string{`1: verbs.measure.flows: "many" is something else; expected a whole number`}},
		{"share", "verbs: {verify: {target: 95 %}}", []string{`1: verbs.verify.target: "95 %" is something else; expected a number`}},
		{"yes", "verbs: {measure: {gentle: yes}}", []string{`1: verbs.measure.gentle: "yes" is something else; expected true or false`}},
		{"no value", "reflector:\n", []string{`1: reflector: no plain value; expected a text`}},
		{"list for one", "verbs: {measure: {min: [1s, 2s]}}", []string{`1: verbs.measure.min: a list; expected a time with its unit, as 500ms, 90s or 10m`}},
		{"mapping for one", "verbs: {measure: {lab: {a: b}}}", []string{`1: verbs.measure.lab: a mapping; expected a text`}},
		{"list of lists", "verbs:\n  reflector:\n    listen:\n      - ':1'\n      - [a]\n", []string{`5: verbs.reflector.listen: an item of the list has no plain value; expected a list, as [one, two]`}},
		{"reflector that is none", "\nreflector: 'vpn.example.org:stun'", []string{`2: reflector: reflector "vpn.example.org:stun": "stun" is not a port from 1 to 65535; write HOST or HOST:PORT, as vpn.example.org, 192.0.2.1:3478 or [2001:db8::1]:3478`}},
		{"family", "verbs: {verify: {family: ipx}}", []string{`1: verbs.verify.family: --family "ipx" is not ipv4, ipv6 or auto`}},

		{"mistyped flag", "verbs:\n  measure:\n    regime: [stream]", []string{`3: verbs.measure.regime: unknown key; did you mean "regimes"?`}},
		{"underscore", "verbs: {up: {no_reflect: true}}", []string{`1: verbs.up.no_reflect: unknown key; did you mean "no-reflect"?`}},
		{"mistyped verb", "verbs: {mesure: {}}", []string{`1: verbs.mesure: unknown key; did you mean "measure"?`}},
		{"mistyped key", "reflecter: a", []string{`1: reflecter: unknown key; did you mean "reflector"?`}},
		{"nothing near", "verbs: {up: {colour: red}}", []string{`1: verbs.up.colour: unknown key; "natprobe config example" prints all there are`}},
		{"flag at top", "flows: 9", []string{`1: flows: unknown key; it belongs into a section: verbs.measure, verbs.verify`}},
		{"verb at top", "measure: {flows: 9}", []string{`1: measure: unknown key; the sections of verbs are below "verbs:", indented`}},
		{"verb reflector at top", "reflector: {listen: ':1'}", []string{`1: reflector: expected the HOST[:PORT] to measure against; the section of the verb is "reflector:", below "verbs:"`}},
		{"flags that are none", "config: x\nverbs: {measure: {config: x, help: true}}", []string{
			`1: config: unknown key; "natprobe config example" prints all there are`,
			`2: verbs.measure.config: unknown key; "natprobe config example" prints all there are`,
			`2: verbs.measure.help: unknown key; "natprobe config example" prints all there are`,
		}},
		{"terminal's own characters", "\"a\\e[2J\": 1", []string{`1: "a\x1b[2J": unknown key; "natprobe config example" prints all there are`}},

		{"twice", "verbs:\n  measure:\n    min: 1s\n    max: 2s\n    min: 3s", []string{`5: verbs.measure.min: is there already, in line 3`}},
		{"section twice", "verbs: {}\nverbs: {}", []string{`2: verbs: is there already, in line 1`}},
		{"flags that exclude each other", "verbs:\n  measure:\n    lab: fast\n    reflector: a.example", []string{`4: verbs.measure.reflector: excludes lab, which is in line 3`}},

		{"no mapping", "- a", []string{`1: expected keys with values, as in "key: value"`}},
		{"section without keys", "verbs: {measure: max}", []string{`1: verbs.measure: expected keys with values, as in "key: value"`}},
		{"key that is a list", "? [a]\n: 1", []string{`1: a key must be a word`}},
		{"anchor", "reflector: &r a\n", []string{`1: reflector: anchors and aliases are not for this file; expected a text`}},
		{"alias", "reflector: &r a\nstate-dir: *r\n", []string{
			`1: reflector: anchors and aliases are not for this file; expected a text`,
			`2: state-dir: anchors and aliases are not for this file; expected a text`,
		}},
		{"unknown anchor", "\nreflector: *secret\n", []string{`2: not YAML: anchors and aliases are not for this file; write the value out`}},
		{"tag", "reflector: !mine a", []string{`1: reflector: no plain value; expected a text`}},
		{"tabulator", "verbs:\n\tmeasure: {}", []string{`2: not YAML: found character that cannot start any token while scanning for the next token`}},
		{"bracket open", "verbs: {measure: [\n", []string{`2: not YAML: did not find expected node content while parsing a flow node`}},
		{"two documents", "reflector: a\n---\nreflector: b\n", []string{`2: a second document begins here; put all into one`}},
		{"Latin-1", "reflector: a\n# \xe4\n", []string{`2: not UTF-8 text; save the file as UTF-8`}},
		{"control character", "a: b\n# \x01", []string{"2: not YAML: control characters are not allowed (value: 1)"}},
		{"all at once", "x1: 1\nverbs: {measure: {max: 1}}\nx2: 1", []string{
			`1: x1: unknown key; "natprobe config example" prints all there are`,
			`2: verbs.measure.max: "1" is something else; expected a time with its unit, as 500ms, 90s or 10m`,
			`3: x2: unknown key; "natprobe config example" prints all there are`,
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			settings, err := parseConfig("F", []byte(tt.text), (&app{}).root())
			if err == nil || settings != nil {
				t.Fatalf("read %+v, want an error", settings)
			}
			got := strings.Split(strings.ReplaceAll("\n"+err.Error(), "\nF:", "\n"), "\n")[1:]
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestConfigKeepsSecrets: what somebody writes where it doesn't belong is not
// repeated in messages, which end in logs.
func TestConfigKeepsSecrets(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"secret: hunter2", "verbs: {reflector: {secret: hunter2}}", "verbs: {reflector: {secret-file: [hunter2]}}",
		"verbs: {reflector: {secret: [hunter2}", "verbs: {up: {private-key: hunter2}}", "secret: 'hunter2",
	} {
		if _, err := parseConfig("F", []byte(text), (&app{}).root()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want an error without the secret", text, err)
		}
	}
}

// TestConfigOrder shows what is in force where several say something.
func TestConfigOrder(t *testing.T) {
	t.Parallel()
	const file = `
reflector: file.example
state-dir: /file
verbs:
  measure: {max: 10m, flows: 100, regimes: [stream, oneway]}
  verify: {reflector: verify.example}
  apply: {follow: true}
  lab exec: {family: ipv6}
  reflector: {listen: ["192.0.2.1:1", "[::]:2"], limit-pps: 7}
`
	tests := []struct {
		name string
		file string
		env  map[string]string
		args string
		want map[string]string // of flags, where they aren't the built-in ones
	}{
		{"file", file, nil, "measure", map[string]string{"reflector": "file.example", "max": "10m0s", "flows": "100", "regimes": "[stream,oneway]"}},
		{"typed", file, nil, "measure --max 1m --regimes oneway", map[string]string{"reflector": "file.example", "max": "1m0s", "flows": "100", "regimes": "[oneway]"}},
		{"typed as it is built in", file, nil, "measure --max 6m", map[string]string{"reflector": "file.example", "flows": "100", "regimes": "[stream,oneway]"}},
		{"a few mappings only", file, nil, "measure --gentle", map[string]string{"gentle": "true", "reflector": "file.example", "max": "10m0s", "regimes": "[stream,oneway]"}},
		{"not a few", file, nil, "measure --gentle=false", map[string]string{"reflector": "file.example", "max": "10m0s", "flows": "100", "regimes": "[stream,oneway]"}},
		{"lab instead", file, nil, "measure --lab fast --regimes stream", map[string]string{"lab": "fast", "max": "10m0s", "flows": "100", "regimes": "[stream]"}},
		{"going on", file, nil, "measure --resume r.jsonl", map[string]string{"resume": "r.jsonl"}},
		{"environment", file, map[string]string{reflectorVariable: "env.example"}, "measure --regimes stream", map[string]string{"max": "10m0s", "flows": "100", "regimes": "[stream]"}},
		{"empty environment", file, map[string]string{reflectorVariable: ""}, "verify", map[string]string{"reflector": "verify.example"}},
		{"one verb's own", file, nil, "verify --family ipv4", map[string]string{"family": "ipv4", "reflector": "verify.example"}},
		{"folder", file, nil, "apply wg0", map[string]string{"follow": "true", "reflector": "file.example", "state-dir": "/file"}},
		{"folder of the unit", file, map[string]string{"STATE_DIRECTORY": "/unit"}, "apply wg0 --dry-run", map[string]string{"dry-run": "true", "reflector": "file.example"}},
		{"once, not for good", file, nil, "apply wg0 --interval 25s", map[string]string{"interval": "25s", "reflector": "file.example", "state-dir": "/file"}},
		{"two words", file, nil, "lab exec x -- y", map[string]string{"family": "ipv6"}},
		{"list", file, nil, "reflector --limit-pps 8", map[string]string{"listen": "[192.0.2.1:1,[::]:2]", "limit-pps": "8"}},
		{"list of one", "verbs: {measure: {regimes: 'stream,oneway'}}", nil, "measure", map[string]string{"regimes": "[stream,oneway]"}},
		{"empty list", "verbs: {measure: {regimes: []}}", nil, "measure", map[string]string{"regimes": "[]"}},
		{"lab in the file", "reflector: a.example\nverbs: {measure: {lab: fast}}", nil, "measure", map[string]string{"lab": "fast"}},
		{"lab in the file, reflector typed", "verbs: {measure: {lab: fast}}", nil, "measure --reflector b.example", map[string]string{"reflector": "b.example"}},
		{"lab in the file, reflector around", "verbs: {measure: {lab: fast}}", map[string]string{reflectorVariable: "b.example"}, "measure", nil},
		{"nothing", "", nil, "measure", nil},
		{"empty sections", "# nothing\nverbs:\n  measure:\n", nil, "measure", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			settings, err := parseConfig("F", []byte(tt.file), (&app{}).root())
			if err != nil {
				t.Fatal(err)
			}
			root := (&app{}).root()
			cmd, args, err := root.Find(strings.Fields(tt.args))
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.ParseFlags(args); err != nil {
				t.Fatal(err)
			}
			applySettings(root, settings, func(name string) (string, bool) { value, ok := tt.env[name]; return value, ok })
			got := make(map[string]string)
			cmd.Flags().VisitAll(func(flag *pflag.Flag) {
				if value := flag.Value.String(); value != flag.DefValue {
					got[flag.Name] = value
				}
			})
			if tt.want == nil {
				tt.want = map[string]string{}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("flags of %s (-want +got):\n%s", tt.args, diff)
			}
		})
	}
}

// TestConfigInUse runs verbs with a file.
func TestConfigInUse(t *testing.T) {
	t.Parallel()
	text := "verbs:\n  measure:\n    flows: 3\n    min: 2m\n  verify:\n    interval: 1s\n"
	good, bad := writeFile(t, "good.yaml", text), writeFile(t, "bad.yaml", text+"x: 1\n")
	missing := filepath.Join(t.TempDir(), "none.yaml")
	for _, tt := range []struct {
		args, variable string
		status         int
		says           []string
	}{
		{"--config " + good + " measure --reflector 192.0.2.1", "", exitUsage, []string{"flows 3 is below 32 (flows is from " + good + ":3)"}},
		{"measure --reflector 192.0.2.1 --max 1m --flows 50", good, exitUsage, []string{"min 2m0s is above max 1m0s (min is from " + good + ":4)"}},
		{"verify --late 3 --reflector 192.0.2.1", good, exitUsage, []string{"late"}}, // and nothing of --interval, which the file has
		{"measure --lab nowhere", bad, exitUsage, []string{"natprobe: " + bad + `:7: x: unknown key`}},
		{"lab list --config " + bad, good, exitUsage, []string{bad + ":7"}},
		{"lab list", missing, exitUsage, []string{configVariable + ": open " + missing}},
		{"lab list --config " + missing, "", exitUsage, []string{"--config: open " + missing}},
		{"lab list --config " + filepath.Dir(missing), "", exitUsage, []string{"is a directory"}},
		{"lab list --config /dev/zero", "", exitUsage, []string{"/dev/zero: larger than"}},
		{"version", bad, exitDone, nil},
		{"help measure", bad, exitDone, nil},
		{"measure --help", bad, exitDone, nil},
		{"completion bash", bad, exitDone, nil},
		{"config example", bad, exitDone, nil},
		{"config", bad, exitDone, nil},
		{"config show", bad, exitUsage, []string{bad + ":7"}},
		{"config shwo", bad, exitUsage, []string{`unknown command "shwo"`}},
	} {
		got := natprobe(t.Context(), map[string]string{configVariable: tt.variable}, "", strings.Fields(tt.args)...)
		if got.status != tt.status {
			t.Errorf("%s: status %d, want %d; stderr %q", tt.args, got.status, tt.status, got.stderr)
		}
		for _, part := range tt.says {
			if !strings.Contains(got.stderr, part) {
				t.Errorf("%s: stderr %q, want %q", tt.args, got.stderr, part)
			}
		}
	}
}

func TestConfigShow(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "config.yaml", "reflector: vpn.example.org\nverbs:\n  measure:\n    max: 10m\n")
	got := natprobe(t.Context(), map[string]string{configVariable: file, "STATE_DIRECTORY": "/var/lib/x"}, "", "config", "show")
	lines := strings.Split(regexp.MustCompile(`(?m)  +`).ReplaceAllString(got.stdout, " "), "\n")
	for _, want := range []string{
		"Configuration file: " + file,
		" key value from",
		" verbs.measure.max 10m0s line 4",
		" verbs.measure.min 1s built-in",
		` verbs.measure.lab "" built-in`,
		" verbs.measure.reflector vpn.example.org line 1",
		" verbs.up.state-dir /var/lib/x $STATE_DIRECTORY",
		` verbs.reflector.listen [":3478"] built-in`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in:\n%s", want, got.stdout)
		}
	}
}

// TestConfigPlaces: a file that is looked for may be missing, but not be there
// and unreadable.
func TestConfigPlaces(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home) // Linux
	t.Setenv("AppData", home)         // Windows
	folder, err := os.UserConfigDir()
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(folder, "natprobe")
	find := func() told {
		return natprobe(t.Context(), map[string]string{configVariable: ""}, "", "config", "show")
	}
	if got := find(); got.status != exitDone || !strings.Contains(got.stdout, "looked for "+folder) && !strings.Contains(got.stdout, "/etc/natprobe") {
		t.Errorf("without a file: %+v", got)
	}
	file := filepath.Join(folder, "config.yaml")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("reflector: vpn.example.org\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := find(); got.status != exitDone || !strings.Contains(got.stdout, "Configuration file: "+file) {
		t.Errorf("with a file: %+v", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := find(); got.status != exitUsage || !strings.Contains(got.stderr, configVariable+"="+os.DevNull) {
		t.Errorf("with a folder in its place: %+v", got)
	}
	// A service's home may be no folder at all.
	t.Setenv("XDG_CONFIG_HOME", os.DevNull)
	t.Setenv("HOME", os.DevNull)
	if got := find(); got.status != exitDone {
		t.Errorf("without a home: %+v", got)
	}
}

// TestConfigExample keeps the example what the code prints. With every key set
// to what it shows, it is still right: types, names, places.
func TestConfigExample(t *testing.T) {
	t.Parallel()
	got := natprobe(t.Context(), nil, "", "config", "example")
	if got.status != exitDone || got.stderr != "" {
		t.Fatalf("%+v", got)
	}
	if *update {
		if err := os.WriteFile(configExampleFile, []byte(got.stdout), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(configExampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(kept), got.stdout); diff != "" {
		t.Errorf("%s is not what \"natprobe config example\" prints; go test -run %s -update writes it (-kept +printed):\n%s", configExampleFile, t.Name(), diff)
	}
	settings, err := parseConfig(configExampleFile, kept, (&app{}).root())
	if err != nil || len(settings) != 0 {
		t.Errorf("as it is: %v, %v; want nothing set", settings, err)
	}

	root := (&app{}).root()
	names, verbs := configurable(root)
	want := make(map[string]string)
	for _, name := range names {
		for _, flag := range configFlags(verbs[name]) {
			want[name+" --"+flag.Name] = flag.DefValue
		}
	}
	for _, key := range commonKeys() {
		want[" --"+key] = "" // whose default differs from verb to verb
	}
	all := regexp.MustCompile(`(?m)^( *)#(\S)`).ReplaceAll(kept, []byte("$1$2"))
	settings, err = parseConfig(configExampleFile, all, root)
	if err != nil {
		t.Fatalf("with all keys: %v", err)
	}
	set := make(map[string]string)
	for _, s := range settings {
		value := ""
		if s.verb != "" {
			value = verbs[s.verb].Flags().Lookup(s.flag).Value.String()
		}
		set[s.verb+" --"+s.flag] = value
	}
	if diff := cmp.Diff(want, set); diff != "" {
		t.Errorf("with all keys (-want +got):\n%s", diff)
	}
	if len(want) < 50 {
		t.Errorf("only %d keys: %v", len(want), slices.Sorted(maps.Keys(want)))
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"measure", "recommend", "run-dir", "min", "max"}
	for word, want := range map[string]string{
		"measure": "measure", "mesaure": "measure", "Measure": "measure", "recommendd": "recommend", "run_dir": "run-dir",
		"mix": "", "xyz": "", "": "", strings.Repeat("m", 1000): "",
	} {
		got := nearest(word, known)
		if word == "mix" { // one letter from two of them: either will do
			got = ""
		}
		if got != want {
			t.Errorf("nearest(%.20q) = %q, want %q", word, got, want)
		}
	}
}

// FuzzParseConfig: any text is read or refused, with a place for each mistake;
// and what is read can be set.
func FuzzParseConfig(f *testing.F) {
	example, err := os.ReadFile(configExampleFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, text := range []string{
		"", "reflector: vpn.example.org\nverbs:\n  measure: {max: 10m, regimes: [stream]}\n",
		"verbs: {reflector: {listen: [':3478', '[::]:1']}}", "a: &a [*a, *a]\n<<: *a\n", "? {a: b}\n: !!binary aGk=\n", "--- 1\n--- 2\n", "\xff\xfe\x00", "reflector: |\n  a\n b",
	} {
		f.Add([]byte(text))
	}
	place := regexp.MustCompile(`^F:([1-9][0-9]*: |.* more mistakes$)`)
	f.Fuzz(func(t *testing.T, text []byte) {
		settings, err := parseConfig("F", text, (&app{}).root())
		if err != nil {
			for _, line := range strings.Split(err.Error(), "\n") {
				if !place.MatchString(line) && !strings.HasPrefix(line, "F: ") {
					t.Errorf("%q: no place in %q", text, line)
				}
			}
			return
		}
		root := (&app{}).root()
		applySettings(root, settings, func(string) (string, bool) { return "", false })
		_, verbs := configurable(root)
		for _, s := range settings {
			if s.line < 1 || s.verb != "" && verbs[s.verb].Flags().Lookup(s.flag) == nil {
				t.Errorf("%q: read %+v", text, s)
			}
		}
	})
}
