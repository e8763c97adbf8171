package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

// verbsKey is the key of the file that holds a section for each verb.
const verbsKey = "verbs"

// setting is one key of the configuration file.
type setting struct {
	verb  string // in words, as "lab exec"; empty: for all verbs that have the flag
	flag  string
	items []string // of a list; else one, the value as on the command line
	list  bool
	line  int
}

// key is what a setting is called in messages.
func (s setting) key() string {
	if s.verb == "" {
		return s.flag
	}
	return verbsKey + "." + s.verb + "." + s.flag
}

// set gives the value to the flag, as if it had been typed.
func (s setting) set(flags *pflag.FlagSet) error {
	if !s.list {
		return flags.Set(s.flag, s.items[0])
	}
	values, ok := flags.Lookup(s.flag).Value.(pflag.SliceValue)
	if !ok {
		return errors.New("not a list")
	}
	// Set, so that the flag counts as given; Replace, as a comma in an item of a
	// list is part of it.
	if err := flags.Set(s.flag, ""); err != nil {
		return err
	}
	return values.Replace(s.items)
}

// configReader reads a configuration file, and notes all that is wrong with it.
type configReader struct {
	path     string
	names    []string
	verbs    map[string]*cobra.Command
	settings []setting
	problems []configProblem
}

type configProblem struct {
	line int
	text string
}

// parseConfig reads the text of a configuration file. The values of root's flags
// are changed to try them. An error has a line for each mistake, which says
// where it is and what is expected there.
func parseConfig(path string, text []byte, root *cobra.Command) ([]setting, error) {
	r := &configReader{path: path}
	r.names, r.verbs = configurable(root)
	r.document(text)
	r.conflicts()
	if len(r.problems) == 0 {
		return r.settings, nil
	}
	slices.SortStableFunc(r.problems, func(a, b configProblem) int { return a.line - b.line })
	var lines []string
	for _, p := range r.problems {
		lines = append(lines, fmt.Sprintf("%s:%d: %s", path, p.line, p.text))
	}
	const most = 20
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("%s: %d more mistakes", path, len(lines)-most))
	}
	return nil, errors.New(strings.Join(lines, "\n"))
}

func (r *configReader) problem(line int, key, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if key != "" {
		text = key + ": " + text
	}
	r.problems = append(r.problems, configProblem{max(line, 1), text})
}

func (r *configReader) document(text []byte) {
	if !utf8.Valid(text) {
		bad := 0
		for bad < len(text) {
			c, size := utf8.DecodeRune(text[bad:])
			if c == utf8.RuneError && size <= 1 {
				break
			}
			bad += size
		}
		r.problem(1+bytes.Count(text[:bad], []byte("\n")), "", "not UTF-8 text; save the file as UTF-8")
		return
	}
	var documents []yaml.Node
	if err := yaml.Load(text, &documents, yaml.WithAllDocuments()); err != nil {
		r.syntax(text, err)
		return
	}
	if len(documents) > 1 {
		r.problem(documents[1].Line, "", "a second document begins here; put all into one")
		return
	}
	if len(documents) == 0 || len(documents[0].Content) == 0 {
		return
	}
	sections := []string{verbsKey}
	r.mapping(documents[0].Content[0], "", append(commonKeys(), sections...), func(key string, at, value *yaml.Node) {
		if key != verbsKey {
			r.common(key, at, value)
			return
		}
		r.mapping(value, verbsKey, r.names, r.verb)
	})
}

// syntax notes what YAML itself finds wrong. Its messages show nothing of the
// file but names of anchors, which this file doesn't have.
func (r *configReader) syntax(text []byte, err error) {
	var all *yaml.LoadErrors
	if errors.As(err, &all) && len(all.Errors) > 0 {
		err = all.Errors[0]
	}
	var where *yaml.LoadError
	if !errors.As(err, &where) {
		r.problem(1, "", "not YAML: %v", err)
		return
	}
	line := where.Mark.Line
	if at := where.Mark.Index; line == 0 && at >= 0 && at <= len(text) { // from the reader of characters
		line = 1 + bytes.Count(text[:at], []byte("\n"))
	}
	message := where.Message
	if where.ContextMsg != "" {
		message += " " + where.ContextMsg
	}
	if strings.Contains(message, "anchor") {
		message = "anchors and aliases are not for this file; write the value out"
	}
	r.problem(line, "", "not YAML: %s", message)
}

// mapping reads a mapping whose keys are known.
func (r *configReader) mapping(node *yaml.Node, name string, known []string, each func(key string, at, value *yaml.Node)) {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return // all of it is commented out
	}
	if node.Kind != yaml.MappingNode {
		r.problem(node.Line, name, "expected keys with values, as in %q", "key: value")
		return
	}
	seen := make(map[string]int)
	for i := 0; i+1 < len(node.Content); i += 2 {
		at, value := node.Content[i], node.Content[i+1]
		if at.Kind != yaml.ScalarNode {
			r.problem(at.Line, name, "a key must be a word")
			continue
		}
		key := at.Value
		full := key
		if name != "" {
			full = name + "." + key
		}
		if line, twice := seen[key]; twice {
			r.problem(at.Line, shownKey(full), "is there already, in line %d", line)
			continue
		}
		seen[key] = at.Line
		if !slices.Contains(known, key) {
			r.problem(at.Line, shownKey(full), "unknown key%s", r.hint(name, key, known))
			continue
		}
		each(key, at, value)
	}
}

// hint tells what somebody may have meant by an unknown key.
func (r *configReader) hint(name, key string, known []string) string {
	if name == "" && slices.Contains(r.names, key) {
		return fmt.Sprintf("; the sections of verbs are below %q, indented", verbsKey+":")
	}
	if name == "" {
		var holders []string
		for _, verb := range r.names {
			if slices.ContainsFunc(configFlags(r.verbs[verb]), func(f *pflag.Flag) bool { return f.Name == key }) {
				holders = append(holders, verbsKey+"."+verb)
			}
		}
		if len(holders) > 0 {
			return "; it belongs into a section: " + strings.Join(holders, ", ")
		}
	}
	if near := nearest(key, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; \"natprobe config example\" prints all there are"
}

// common reads a key for all verbs that have such a flag.
func (r *configReader) common(key string, at, value *yaml.Node) {
	if key == "reflector" && value.Kind == yaml.MappingNode {
		r.problem(at.Line, key, "expected the HOST[:PORT] to measure against; the section of the verb is %q, below %q", "reflector:", verbsKey+":")
		return
	}
	for _, name := range r.names {
		if slices.ContainsFunc(configFlags(r.verbs[name]), func(f *pflag.Flag) bool { return f.Name == key }) {
			r.value(setting{flag: key, line: at.Line}, r.verbs[name], value)
			return
		}
	}
}

// verb reads the section of a verb.
func (r *configReader) verb(name string, _, section *yaml.Node) {
	verb := r.verbs[name]
	var known []string
	for _, flag := range configFlags(verb) {
		known = append(known, flag.Name)
	}
	r.mapping(section, verbsKey+"."+name, known, func(key string, at, value *yaml.Node) {
		r.value(setting{verb: name, flag: key, line: at.Line}, verb, value)
	})
}

// value reads the value of a flag and tries it.
func (r *configReader) value(s setting, verb *cobra.Command, node *yaml.Node) {
	flag := verb.Flags().Lookup(s.flag)
	wrong := func(what string) {
		r.problem(node.Line, s.key(), "%s; expected %s", what, expected(flag))
	}
	_, isList := flag.Value.(pflag.SliceValue)
	switch {
	case node.Kind == yaml.AliasNode || node.Anchor != "":
		wrong("anchors and aliases are not for this file")
		return
	case node.Kind == yaml.SequenceNode && isList:
		s.list = true
		for _, item := range node.Content {
			if !plainScalar(item) {
				r.problem(item.Line, s.key(), "an item of the list has no plain value; expected %s", expected(flag))
				return
			}
			s.items = append(s.items, item.Value)
		}
	case node.Kind == yaml.SequenceNode:
		wrong("a list")
		return
	case node.Kind != yaml.ScalarNode:
		wrong("a mapping")
		return
	case !plainScalar(node):
		wrong("no plain value")
		return
	default:
		s.items = []string{node.Value}
	}
	if err := s.set(verb.Flags()); err != nil {
		wrong(clip(strings.Join(s.items, ",")) + " is something else")
		return
	}
	if err := checkValue(s); err != nil {
		r.problem(node.Line, s.key(), "%v", err)
		return
	}
	r.settings = append(r.settings, s)
}

// plainScalar tells whether a node is a value that could be typed.
func plainScalar(node *yaml.Node) bool {
	known := []string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}
	return node.Kind == yaml.ScalarNode && node.Anchor == "" && slices.Contains(known, node.Tag)
}

// checkValue checks what is not a matter of types and needs no verb to run. The
// rest is checked where the flags of a verb are.
func checkValue(s setting) error {
	for _, item := range s.items {
		switch {
		case s.flag == "reflector" && item != "":
			if _, err := parseTarget(item); err != nil {
				return err
			}
		case s.flag == "family":
			if err := checkFamily(item); err != nil {
				return err
			}
		}
	}
	return nil
}

// conflicts notes flags of one section that exclude each other.
func (r *configReader) conflicts() {
	for i, s := range r.settings {
		for _, earlier := range r.settings[:i] {
			if s.verb == "" || s.verb != earlier.verb || idle(s.items0()) || idle(earlier.items0()) {
				continue
			}
			flags := r.verbs[s.verb].Flags()
			if slices.Contains(flags.Lookup(s.flag).Annotations[yieldsTo], earlier.flag) &&
				slices.Contains(flags.Lookup(earlier.flag).Annotations[yieldsTo], s.flag) {
				r.problem(s.line, s.key(), "excludes %s, which is in line %d", earlier.flag, earlier.line)
			}
		}
	}
}

// items0 is the first item, or nothing.
func (s setting) items0() string {
	if len(s.items) == 0 {
		return ""
	}
	return s.items[0]
}

// expected says what a flag takes.
func expected(flag *pflag.Flag) string {
	words := map[string]string{
		"bool":        "true or false",
		"duration":    "a time with its unit, as 500ms, 90s or 10m",
		"int":         "a whole number",
		"float64":     "a number",
		"string":      "a text",
		"stringSlice": "a list, as [one, two]",
		"stringArray": "a list, as [one, two]",
	}
	if word, ok := words[flag.Value.Type()]; ok {
		return word
	}
	return "what --" + flag.Name + " takes"
}

// clip quotes a text, its beginning where it is long.
func clip(text string) string {
	const most = 40
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

// shownKey is a key as messages show it: quoted where it isn't a plain word.
func shownKey(key string) string {
	if strings.IndexFunc(key, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_. ", c)
	}) >= 0 || len(key) > 80 || key == "" {
		return clip(key)
	}
	return key
}

// nearest returns the known word that a mistyped one may stand for, or nothing.
func nearest(word string, known []string) string {
	word = strings.ToLower(strings.ReplaceAll(word, "_", "-"))
	if len(word) > 40 {
		return ""
	}
	distances := make(map[string]int)
	for _, k := range known {
		distances[k] = editDistance(word, k)
	}
	best, least := "", 1+len(word)/4
	for _, k := range slices.Sorted(maps.Keys(distances)) {
		if d := distances[k]; d < least || d == least && best == "" {
			best, least = k, d
		}
	}
	return best
}

// editDistance counts the letters to put in, take out or change to make one word
// from another (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
