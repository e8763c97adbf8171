package vpn

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// privateBytes are the PrivateKey of all files in testdata.
func privateBytes() (key [KeyBytes]byte) {
	for i := range key {
		key[i] = byte(i)
	}
	return key
}

func filled(b byte) (key [KeyBytes]byte) {
	for i := range key {
		key[i] = b
	}
	return key
}

func prefixes(texts ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// comparable types of netip have fields that aren't exported.
func compareNetip() cmp.Option { return cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}) }

func TestParseFile(t *testing.T) {
	for _, want := range []*Config{
		{
			Name: "client",
			Interface: Interface{
				PrivateKey: NewSecretKey(privateBytes()),
				Addresses:  prefixes("10.200.100.8/24"),
				DNS:        []netip.Addr{netip.MustParseAddr("10.200.100.1")},
			},
			Peers: []Peer{{
				Line:         7,
				PublicKey:    filled(0xa1),
				PresharedKey: NewSecretKey(filled(0xb1)),
				AllowedIPs:   prefixes("0.0.0.0/0"),
				Endpoint:     Endpoint{Host: "demo.example.com", Port: 51820},
			}},
		},
		{
			Name: "server",
			Interface: Interface{
				PrivateKey: NewSecretKey(privateBytes()),
				ListenPort: 51820,
				Addresses:  prefixes("10.192.122.1/24", "10.10.0.1/16"),
			},
			Peers: []Peer{
				{Line: 8, PublicKey: filled(0xa1), AllowedIPs: prefixes("10.192.122.3/32", "10.192.124.0/24")},
				{
					Line: 12, PublicKey: filled(0xa2), AllowedIPs: prefixes("10.192.122.4/32", "192.168.0.0/16"),
					Endpoint: Endpoint{Host: "2001:db8:60:6b0::543", Port: 2468},
				},
				{
					Line: 17, PublicKey: filled(0xa3), AllowedIPs: prefixes("10.10.10.230/32"),
					Endpoint: Endpoint{Host: "192.0.2.67", Port: 1234},
				},
			},
			Warnings: []Warning{{
				Place: Place{File: "testdata/server.conf", Line: 10, Key: "AllowedIPs"},
				Text:  `"10.192.124.1/24" has bits set behind the prefix; it means 10.192.124.0/24`,
			}},
		},
		{
			Name: "full",
			Interface: Interface{
				PrivateKey:    NewSecretKey(privateBytes()),
				FwMark:        0xca6c,
				Addresses:     prefixes("10.0.0.1/24", "fd00::1/64", "10.0.1.1/32"),
				DNS:           []netip.Addr{netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("fd00::53")},
				SearchDomains: []string{"corp.example", "lan", "~."},
				MTU:           1420,
				Table:         Table{Number: 1234},
				PreUp:         []string{"echo before %i"},
				PostUp:        []string{"ip rule add ipproto tcp dport 22 table 1234", `echo "cut here`},
				PreDown:       []string{"ip rule delete ipproto tcp dport 22 table 1234"},
				PostDown:      []string{"a=b"},
			},
			Peers: []Peer{
				{
					Line: 17, PublicKey: filled(0xa1), AllowedIPs: prefixes("10.0.0.2/32", "fd00::2/128", "10.9.0.0/16"),
					Endpoint: Endpoint{Host: "vpn.example.com", Port: 51820}, Keepalive: Keepalive{Given: true, Seconds: 25},
				},
				{Line: 23, PublicKey: filled(0xa2), Keepalive: Keepalive{Auto: true, Given: true, Seconds: 25}},
				{Line: 26, PublicKey: filled(0xa3), Keepalive: Keepalive{Auto: true}},
				{Line: 29, PublicKey: filled(0xa4), Keepalive: Keepalive{Auto: true}},
				{Line: 32, PublicKey: filled(0xa5), Keepalive: Keepalive{Given: true}},
				{Line: 35, PublicKey: filled(0xa6)},
			},
		},
	} {
		t.Run(want.Name, func(t *testing.T) {
			want.File = "testdata/" + want.Name + ".conf"
			text, err := os.ReadFile(want.File)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Parse(bytes.NewReader(text), want.File)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, compareNetip()); diff != "" {
				t.Errorf("Parse, -want +got:\n%s", diff)
			}

			golden := filepath.Join("testdata", want.Name+".uapi")
			uapi := got.AppendUAPI(nil, nil)
			if *update {
				if err := os.WriteFile(golden, uapi, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			wantUAPI, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(wantUAPI), string(uapi)); diff != "" {
				t.Errorf("AppendUAPI, -want +got:\n%s", diff)
			}
		})
	}
}

// TestParseValues has one line in place of the X of a small file that is good.
func TestParseValues(t *testing.T) {
	for _, test := range []struct {
		line string
		want Interface
	}{
		{"ListenPort = 65535", Interface{ListenPort: 65535}},
		{"FwMark = off", Interface{}},
		{"FwMark = OFF", Interface{}},
		{"FwMark = 0", Interface{}},
		{"FwMark = 4294967295", Interface{FwMark: 4294967295}},
		{"FwMark = 0xffffffff", Interface{FwMark: 0xffffffff}},
		{"FwMark = 010", Interface{FwMark: 10}},
		{"Table = off", Interface{Table: Table{Off: true}}},
		{"Table = Auto", Interface{}},
		{"Table =", Interface{}},
		{"Table = main", Interface{Table: Table{Number: 254}}},
		{"Table = local", Interface{Table: Table{Number: 255}}},
		{"Table = default", Interface{Table: Table{Number: 253}}},
		{"Table = 4294967295", Interface{Table: Table{Number: 4294967295}}},
		{"Table = 0x4d2", Interface{Table: Table{Number: 1234}}},
		{"MTU = 68", Interface{MTU: 68}},
		{"MTU = 65535", Interface{MTU: 65535}},
		{"MTU =", Interface{}},
		{"SaveConfig = FALSE", Interface{}},
		{"Address = 2001:db8::1", Interface{Addresses: prefixes("2001:db8::1/128")}},
		{"Address = ,10.0.0.1/8,,", Interface{Addresses: prefixes("10.0.0.1/8")}},
		{"DNS = fe80::1%eth0", Interface{DNS: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")}}},
		{"DNS = ~corp.example., corp.example", Interface{SearchDomains: []string{"~corp.example.", "corp.example"}}},
		{"DNS = 9.9.9.9, 9.9.9.9, a, a", Interface{DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")}, SearchDomains: []string{"a"}}},
		{"PreUp = true\nPreUp = false", Interface{PreUp: []string{"true", "false"}}},
	} {
		got, err := Parse(strings.NewReader("[Interface]\nPostDown = true\n"+test.line+"\nPreUp = true"), "wg0.conf")
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		want := test.want
		want.PostDown, want.PreUp = []string{"true"}, append(want.PreUp, "true")
		if diff := cmp.Diff(want, got.Interface, compareNetip()); diff != "" {
			t.Errorf("%s: -want +got:\n%s", test.line, diff)
		}
		if len(got.Warnings) > 0 {
			t.Errorf("%s: warnings %v, want none", test.line, got.Warnings)
		}
	}
}

func TestParseEndpoint(t *testing.T) {
	for text, want := range map[string]Endpoint{
		"192.0.2.1:1":               {"192.0.2.1", 1},
		"[2001:db8::1]:65535":       {"2001:db8::1", 65535},
		"[fe80::1%eth0]:51820":      {"fe80::1%eth0", 51820},
		"[192.0.2.1]:51820":         {"192.0.2.1", 51820},
		"2001:db8::1:51820":         {"2001:db8::1", 51820},
		"localhost:51820":           {"localhost", 51820},
		"vpn_1.example-2.com.:443":  {"vpn_1.example-2.com.", 443},
		"1.2.3.4.nip.example.:0443": {"1.2.3.4.nip.example.", 443},
	} {
		got, err := ParseEndpoint(text)
		if err != nil || got != want {
			t.Errorf("ParseEndpoint(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for text, want := range map[Endpoint]string{
		{}:                     "",
		{"vpn.example.com", 1}: "vpn.example.com:1",
		{"2001:db8::1", 51820}: "[2001:db8::1]:51820",
	} {
		if got := text.String(); got != want {
			t.Errorf("String of %#v = %q, want %q", text, got, want)
		}
	}
	for _, host := range []string{"", "vpn.example.com"} {
		if got, ok := (Endpoint{host, 1}).AddrPort(); ok {
			t.Errorf("AddrPort of %q = %v, want none", host, got)
		}
	}
	if got, ok := (Endpoint{"::ffff:192.0.2.1", 1}).AddrPort(); !ok || got.String() != "192.0.2.1:1" {
		t.Errorf("AddrPort of a mapped address = %v, %v; want 192.0.2.1:1", got, ok)
	}
}

func TestTableString(t *testing.T) {
	for table, want := range map[Table]string{{}: "auto", {Off: true}: "off", {Number: 7}: "7"} {
		if got := table.String(); got != want {
			t.Errorf("String of %#v = %q, want %q", table, got, want)
		}
	}
}

func TestInterfaceName(t *testing.T) {
	for path, want := range map[string]string{
		"wg0.conf":                  "wg0",
		"/etc/wireguard/home.conf":  "home",
		"dir.conf/a_=+.-Z9.conf":    "a_=+.-Z9",
		"fifteen-letters.conf":      "fifteen-letters",
		"wg0.conf.conf":             "wg0.conf",
		"sixteen--letters.conf":     "",
		".conf":                     "",
		"..conf":                    "",
		"...conf":                   "",
		"wg0":                       "",
		"wg0.CONF":                  "",
		"wg 0.conf":                 "",
		"wg0\n.conf":                "",
		"wgü.conf":                  "",
		"/etc/wireguard/":           "",
		"/etc/wireguard/wg0.conf/x": "",
	} {
		got, err := InterfaceName(path)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("InterfaceName(%q) = %q, %v; want %q", path, got, err, want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("error %q doesn't begin with the file %q", err, path)
		}
	}
	config, err := Parse(strings.NewReader("[Interface]"), "standard input")
	if err != nil || config.Name != "" {
		t.Errorf("Parse of a file without a proper name = %v, %v; want an interface without a name", config, err)
	}
}

func TestParseFileErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := ParseFile(filepath.Join(dir, "wg0.txt")); err == nil || !strings.Contains(err.Error(), "as in wg0.conf") {
		t.Errorf("wrong name: %v", err)
	}
	missing := filepath.Join(dir, "wg0.conf")
	if _, err := ParseFile(missing); !os.IsNotExist(err) || !strings.Contains(err.Error(), missing) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := ParseFile(dir + "/d.conf"); err == nil {
		t.Error("no error for a file that isn't there")
	}
	if err := os.Mkdir(dir+"/d.conf", 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := ParseFile(dir + "/d.conf"); err == nil || !strings.Contains(err.Error(), "d.conf") {
		t.Errorf("a directory: %v", err)
	}
	bad := filepath.Join(dir, "bad.conf")
	if err := os.WriteFile(bad, []byte("[Interface]\nMTU = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if config, err := ParseFile(bad); config != nil || err == nil || !strings.HasPrefix(err.Error(), bad+":2: MTU: ") {
		t.Errorf("a mistake: %v, %v", config, err)
	}
	if _, err := Parse(iotest.ErrReader(os.ErrClosed), "wg0.conf"); err == nil || err.Error() != "read wg0.conf: file already closed" {
		t.Errorf("unreadable: %v", err)
	}
}

func TestExposure(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no permission bits on Windows")
	}
	secret, err := os.ReadFile("testdata/client.conf")
	if err != nil {
		t.Fatal(err)
	}
	public := []byte("[Interface]\nPostUp = true\n")
	preshared := "[Interface]\nPostUp = true\n[Peer]\nPublicKey = " + PublicKey(filled(1)).String() +
		"\nPresharedKey = " + PublicKey(filled(2)).String()
	for _, test := range []struct {
		name      string
		text      []byte
		file, dir os.FileMode
		want      string
	}{
		{"closed", secret, 0o600, 0o755, ""},
		{"group", secret, 0o640, 0o755, ""},
		{"readable", secret, 0o644, 0o755, "can read the secret keys"},
		{"preshared", []byte(preshared), 0o644, 0o755, "can read the secret keys"},
		{"closed directory", secret, 0o666, 0o750, ""},
		{"nothing secret", public, 0o644, 0o755, ""},
		{"writable", public, 0o602, 0o755, "can change this file and the commands in it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "wg0.conf")
			if err := os.WriteFile(path, test.text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, test.file); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, test.dir); err != nil {
				t.Fatal(err)
			}
			// A link from elsewhere makes no difference.
			link := filepath.Join(t.TempDir(), "link.conf")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{path, link} {
				config, err := ParseFile(name)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, w := range config.Warnings {
					got = append(got, w.String())
				}
				if test.want == "" && len(got) > 0 {
					t.Errorf("warnings %q, want none", got)
				}
				if test.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], name+": ") || !strings.Contains(got[0], test.want)) {
					t.Errorf("warnings %q, want one with %q", got, test.want)
				}
			}
		})
	}
}
