package results

import (
	"encoding/json"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// keysOf lists the paths of all keys of a decoded JSON document, with [] for
// any element of a list. What is below free is not listed.
func keysOf(doc any, at string, free []string, add func(string)) {
	if slices.Contains(free, at) {
		return
	}
	switch v := doc.(type) {
	case map[string]any:
		for key, child := range v {
			add(join(at, key))
			keysOf(child, join(at, key), free, add)
		}
	case []any:
		for _, child := range v {
			keysOf(child, at+"[]", free, add)
		}
	}
}

func recordKeys(t *testing.T, r Record) []string {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	var keys []string
	keysOf(doc, "", []string{"config", "supplied"}, func(k string) { keys = append(keys, k) })
	slices.Sort(keys)
	return slices.Compact(keys)
}

// TestRecordKeys pins every key of the schema. A key may be added to the
// golden file; a line that is to vanish from it is a broken promise.
func TestRecordKeys(t *testing.T) {
	const golden = "testdata/record-keys.golden"
	got := strings.Join(recordKeys(t, sampleRecord()), "\n") + "\n"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("keys of the schema (-want +got):\n%s", diff)
	}
}

// TestPromisedKeys pins the keys that natprobe.record/1 began with, whatever
// the golden file says.
func TestPromisedKeys(t *testing.T) {
	promised := `
schema id started_at ended_at
tool{name version commit os arch} config{} supplied{}
network{family mapping filtering port_preservation hairpinning inbound_refresh nat_levels fingerprint access asn country}
reflector{id address_class rtt_ms boot_id attested}
lifetimes[]{regime dst_port payload hop lower_s upper_s shape censored trials alive expired inconclusive}
loss{sent lost rate upper95}
recommendation{keepalive_s fallback_s basis tolerates_losses reachability off reason alternatives[]{} cost_per_day{packets bytes wakeups}}
trials[]{regime gap_s measured_gap_s outcome reason copies_received remapped started_at}
effort{elapsed_s first_bracket_s packets_sent packets_received bytes_sent max_mappings rounds}`
	have := recordKeys(t, sampleRecord())

	var path []string
	spaced := strings.NewReplacer("{", " { ", "}", " } ").Replace(promised)
	words := strings.Fields(spaced)
	n := 0
	for i, word := range words {
		switch word {
		case "{":
			path = append(path, words[i-1])
		case "}":
			path = path[:len(path)-1]
		default:
			n++
			key := strings.TrimSuffix(strings.Join(append(slices.Clone(path), word), "."), "[]")
			if !slices.Contains(have, key) {
				t.Errorf("a record has no key %s", key)
			}
		}
	}
	if n != 78 {
		t.Errorf("checked %d keys, want 78", n)
	}
}

// TestEmptyRecordKeys checks that a record that knows nothing still has all
// required keys, and lists where lists belong.
func TestEmptyRecordKeys(t *testing.T) {
	b, err := json.Marshal(Record{Recommendation: &Recommendation{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := checkKeys(b); err != nil {
		t.Errorf("an empty record: %v", err)
	}
	for _, want := range []string{`"lifetimes":[]`, `"trials":[]`, `"config":{}`, `"supplied":{}`, `"alternatives":[]`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
}

// TestMissingKeys removes each required key in turn.
func TestMissingKeys(t *testing.T) {
	b, err := json.Marshal(sampleRecord())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range requiredKeys() {
		for _, key := range strings.Fields(o.keys) {
			var doc map[string]any
			if err := json.Unmarshal(b, &doc); err != nil {
				t.Fatal(err)
			}
			at := strings.ReplaceAll(o.path, "[]", "[0]")
			object := doc
			if o.path != "" {
				for segment := range strings.SplitSeq(o.path, ".") {
					name, isList := strings.CutSuffix(segment, "[]")
					if isList {
						object = object[name].([]any)[0].(map[string]any)
					} else {
						object = object[name].(map[string]any)
					}
				}
			}
			delete(object, key)
			without, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			want := join(at, key) + " is missing"
			if _, err := decode(without); err == nil || err.Error() != want {
				t.Errorf("without %s: error %v, want %q", join(at, key), err, want)
			}
		}
	}
}
