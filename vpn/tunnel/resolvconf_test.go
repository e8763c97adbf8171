package tunnel

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var testServers = []netip.Addr{netip.MustParseAddr("10.7.0.2"), netip.MustParseAddr("fd07::2")}

func TestResolvConf(t *testing.T) {
	got := resolvConf("wg0", testServers, []string{"corp.example", "example"}, "nameserver 192.0.2.53\noptions edns0\n")
	want := `# natprobe tunnel wg0: while it is up, this file is its own. What is behind #|
# was here before and comes back.
nameserver 10.7.0.2
nameserver fd07::2
search corp.example example
#|nameserver 192.0.2.53
#|options edns0
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("resolv.conf (-want +got):\n%s", diff)
	}
}

func FuzzResolvConfOwner(f *testing.F) {
	f.Add("nameserver 192.0.2.53\n")
	f.Add("")
	f.Add("no newline at the end")
	f.Add("#|kept\n\n\r\n# natprobe tunnel wg9: x\n")
	f.Fuzz(func(t *testing.T, old string) {
		text := resolvConf("wg0", testServers, nil, old)
		if name, got := resolvConfOwner(text); name != "wg0" || got != old {
			t.Errorf("owner %q and text %q, want wg0 and %q", name, got, old)
		}
		resolvConfOwner(old) // must not panic
	})
}

func TestResolvConfRoundTrip(t *testing.T) {
	const old = "nameserver 192.0.2.53\n"
	missing := "(no file)"
	read := func(t *testing.T, path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return missing
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		before string
		// meanwhile happens while the change is in force; nil: nothing.
		meanwhile func(t *testing.T, path string, s step)
		undone    bool
		want      string
	}{
		{"as usual", old, nil, true, old},
		{"there was none", missing, nil, true, missing},
		{"there was an empty one", "", nil, true, ""},
		{"changed by another program", old, func(t *testing.T, path string, _ step) { write(t, path, "nameserver 203.0.113.1\n") },
			false, "nameserver 203.0.113.1\n"},
		{"removed by another program", old, func(_ *testing.T, path string, _ step) { _ = os.Remove(path) }, false, missing},
		{"not written after all", old, func(t *testing.T, path string, _ step) { write(t, path, old) }, true, old},
		{"written in part", old, func(t *testing.T, path string, s step) { write(t, path, s.Wrote[:30]) }, true, old},
		{"truncated only", old, func(t *testing.T, path string, _ step) { write(t, path, "") }, true, old},
		{"not there, and not written", missing, func(_ *testing.T, path string, _ step) { _ = os.Remove(path) }, true, missing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if test.before != missing {
				write(t, path, test.before)
			}
			s, err := planResolvConf(path, "wg0", testServers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := read(t, path); got != test.before {
				t.Errorf("planning changed the file to %q", got)
			}
			if err := s.doResolvConf(); err != nil {
				t.Fatal(err)
			}
			if got := read(t, path); !strings.Contains(got, "nameserver 10.7.0.2\n") {
				t.Errorf("written: %q", got)
			}
			if test.meanwhile != nil {
				test.meanwhile(t, path, s)
			}
			undone, err := s.undoResolvConf()
			if err != nil || undone != test.undone {
				t.Errorf("undone %v, error %v; want %v", undone, err, test.undone)
			}
			if got := read(t, path); got != test.want {
				t.Errorf("in the end %q, want %q", got, test.want)
			}
		})
	}
}

// TestResolvConfLeft: a crash took the journal along, so the file is all there
// is.
func TestResolvConfLeft(t *testing.T) {
	const old = "nameserver 192.0.2.53\n"
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte(resolvConf("wg0", testServers, nil, old)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := planResolvConf(path, "wg0", testServers, nil)
	if err != nil || s.Old != old {
		t.Errorf("old text %q, error %v; want what the file kept", s.Old, err)
	}
	if _, err := planResolvConf(path, "wg1", testServers, nil); err == nil || !strings.Contains(err.Error(), "the tunnel wg0 has it already") {
		t.Errorf("a second tunnel: %v", err)
	}
}

func TestResolvConfErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := planResolvConf(dir, "wg0", testServers, nil); err == nil || !strings.Contains(err.Error(), "make it writable") {
		t.Errorf("of a folder: %v", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxResolvConf+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := planResolvConf(big, "wg0", testServers, nil); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("of a large file: %v", err)
	}
	s, err := planResolvConf(filepath.Join(dir, "missing", "resolv.conf"), "wg0", testServers, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.doResolvConf(); err == nil || !strings.Contains(err.Error(), "DNS: ") {
		t.Errorf("in a folder that is not there: %v", err)
	}
}
