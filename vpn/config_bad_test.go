package vpn

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Keys to write into files: a private, a preshared and two public ones.
const (
	privateText   = "oK1t8Yh7lJ2x0pQfVbN5sWmZrC4uE6dG9aLi3kTqBHA="
	presharedText = "Zr4uE6dG9aLi3kTqBHAoK1t8Yh7lJ2x0pQfVbN5sWmA="
	publicText    = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	otherText     = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
)

// ownHead and peerHead are what stands before the line to be tested, which is
// line 3 in both.
const (
	ownHead  = "[Interface]\nPrivateKey = " + privateText + "\n"
	peerHead = "[Interface]\n[Peer]\n"
	peerTail = "\nPublicKey = " + publicText + "\n"
)

func TestParseMistakes(t *testing.T) {
	const (
		noKey      = "the value (not shown) is not a key: 44 characters of base64 are allowed, the last of them =, as wg prints them"
		emptyKey   = "the value is empty and is not a key: 44 characters of base64 are allowed, the last of them =, as wg prints them"
		noPort     = "is not a port; a number from 0 to 65535 is allowed, 0 for any free port"
		noMark     = "is not a mark; off and a number from 0 to 4294967295 or 0xffffffff are allowed, 0 for off"
		noAddress  = "is not an address; IPv4 and IPv6 addresses are allowed, as in 10.0.0.1/24, fd00::1/64, separated by commas"
		noLength4  = "has no proper prefix length; a number from 0 to 32 is allowed behind the /"
		noLength6  = "has no proper prefix length; a number from 0 to 128 is allowed behind the /"
		noServer   = "is not an address; IPv4 and IPv6 addresses and search domains are allowed"
		noDomain   = "is neither an address nor a search domain; IPv4 and IPv6 addresses and names of domains are allowed, separated by commas"
		noMTU      = "is not an MTU; a number of bytes from 68 to 65535 is allowed"
		noTable    = "is no routing table; off, auto, main, default, local and a number from 1 to 4294967295 are allowed"
		noInterval = "is not an interval; auto, off and a number of seconds from 0 to 65535 are allowed, 0 for off"
		noHost     = "names no host; HOST:PORT and [IPV6]:PORT are allowed, names in ASCII"
		noEndPort  = "has no proper port; a number from 1 to 65535 is allowed behind the last colon"
		noBrackets = "has brackets in the wrong place; HOST:PORT and [IPV6]:PORT are allowed"
		ownKeys    = "allowed are " + interfaceKeys
		theirKeys  = "allowed are " + peerKeys
		noForm     = "a line must be KEY = VALUE, a section in brackets or a # comment"
		unshown    = "the value (not shown: it may be a secret) "
	)
	own := func(line, want string) [2]string { return [2]string{ownHead + line, "wg0.conf:3: " + want} }
	peer := func(line, want string) [2]string { return [2]string{peerHead + line + peerTail, "wg0.conf:3: " + want} }
	whole := func(text string, want ...string) [2]string { return [2]string{text, strings.Join(want, "\n")} }

	for _, test := range [][2]string{
		whole("", "wg0.conf: has no section [Interface]; one is needed"),
		whole("[Interface]\nMTU\x00= 1420", "wg0.conf:2: has a zero byte, which is no text; save it as UTF-8"),
		whole("MTU = 1420\n[Interface]", "wg0.conf:1: MTU: stands before the first section; begin with [Interface]"),
		whole("Mtu 1420\nX = 1\n[Interface]", "wg0.conf:1: "+noForm, "wg0.conf:2: stands before the first section; begin with [Interface]"),
		whole("[Interface]\n[Interface]", "wg0.conf:2: [Interface]: only one such section is allowed; the first is in line 1"),
		whole("[Interface]\n[Peers]\nWhatever = 1\n[Peer]\n[Interface",
			`wg0.conf:2: "[Peers]" is no section; [Interface] and [Peer] are allowed, on lines of their own`,
			"wg0.conf:4: [Peer]: PublicKey is missing; each peer needs its own",
			`wg0.conf:5: "[Interface" is no section; [Interface] and [Peer] are allowed, on lines of their own`),
		whole(strings.Repeat("[Interface]\n[Peer]\nPublicKey = "+publicText+"\n", 2),
			"wg0.conf:4: [Interface]: only one such section is allowed; the first is in line 1",
			"wg0.conf:5: [Peer]: has the PublicKey of the peer in line 2; one section for each peer is allowed"),

		own("[Peer] PublicKey = "+privateText, "a heading that is no section's; [Interface] and [Peer] are allowed, on lines of their own"),
		own("ListenPort 51820", noForm),
		own("PrivateKey "+privateText[:40], noForm),
		own("Prot = 1", `"Prot" is no known key; `+ownKeys),
		own("= 1", "no known key; "+ownKeys),
		own("Listen-Port = 1", "no known key; "+ownKeys),
		own(privateText, "no known key; "+ownKeys),
		own("PrivateKey "+privateText, "no known key; "+ownKeys),
		own("AllowedIPs = 10.0.0.0/8", "AllowedIPs: belongs in a section [Peer]"),
		own("presharedkey = "+presharedText, "PresharedKey: belongs in a section [Peer]"),
		peer("Prot = 1", `"Prot" is no known key; `+theirKeys),
		peer("PrivateKey = "+privateText, "PrivateKey: belongs in a section [Interface]"),
		peer("mtu = 1420", "MTU: belongs in a section [Interface]"),

		own("PrivateKey =", "PrivateKey: "+emptyKey),
		own("PrivateKey = "+privateText[1:], "PrivateKey: "+noKey),
		own("PrivateKey = "+privateText+"=", "PrivateKey: "+noKey),
		own("PrivateKey = "+privateText[:43]+"A", "PrivateKey: "+noKey),
		own("PrivateKey = "+privateText[:42]+"B=", "PrivateKey: "+noKey),
		own("PrivateKey = "+strings.ReplaceAll(privateText, "K", "-"), "PrivateKey: "+noKey),
		peer("PresharedKey = hunter2", "PresharedKey: "+noKey),
		peer("PresharedKey =", "PresharedKey: "+emptyKey),

		own("ListenPort =", "ListenPort: the value is empty and "+noPort),
		own("ListenPort = 65536", `ListenPort: "65536" `+noPort),
		own("ListenPort = -1", `ListenPort: "-1" `+noPort),
		own("ListenPort = domain", `ListenPort: "domain" `+noPort),
		own("ListenPort = "+privateText, "ListenPort: "+unshown+noPort),
		own("ListenPort = "+privateText[4:12], "ListenPort: "+unshown+noPort),
		own("FwMark =", "FwMark: the value is empty and "+noMark),
		own("FwMark = on", `FwMark: "on" `+noMark),
		own("FwMark = 0x", `FwMark: "0x" `+noMark),
		own("FwMark = 0xfg", `FwMark: "0xfg" `+noMark),
		own("FwMark = 4294967296", `FwMark: "4294967296" `+noMark),
		own("FwMark = 0x100000000", `FwMark: "0x100000000" `+noMark),

		own("Address = 10.0.0.1/24, home", `Address: "home" `+noAddress),
		own("Address = fe80::1%eth0/64", `Address: "fe80::1%eth0/64" `+noAddress),
		own("Address = 10.0.0.1/33", `Address: "10.0.0.1/33" `+noLength4),
		own("Address = 10.0.0.1/255.255.255.0", `Address: "10.0.0.1/255.255.255.0" `+noLength4),
		own("Address = fd00::1/129", `Address: "fd00::1/129" `+noLength6),
		own("DNS = 10.0.0.256", `DNS: "10.0.0.256" `+noServer),
		own("DNS = 10.0.0.1:53", `DNS: "10.0.0.1:53" `+noServer),
		own("DNS = corp_/x", `DNS: "corp_/x" `+noDomain),
		own("DNS = ~", `DNS: "~" `+noDomain),
		own("DNS = a..b", `DNS: "a..b" `+noDomain),
		own("MTU = 67", `MTU: "67" `+noMTU),
		own("MTU = 65536", `MTU: "65536" `+noMTU),
		own("MTU = 1e3", `MTU: "1e3" `+noMTU),
		own("MTU = 14 20", `MTU: "14 20" `+noMTU),
		own("Table = 0", `Table: "0" `+noTable),
		own("Table = 0x0", `Table: "0x0" `+noTable),
		own("Table = 010", `Table: "010" `+noTable),
		own("Table = vpn", `Table: "vpn" `+noTable),
		own("SaveConfig = true", `SaveConfig: "true" is not supported: natprobe never rewrites the file that it was given; false is allowed, or no such line`),
		own("SaveConfig = yes", `SaveConfig: "yes" is neither true nor false; false is allowed, or no such line`),
		own("SaveConfig =", "SaveConfig: the value is empty and is neither true nor false; false is allowed, or no such line"),

		peer("PublicKey = "+otherText[1:]+"\n#", "PublicKey: "+noKey+"\nwg0.conf:5: PublicKey: stands in line 3 already; a section has one, so that a line [Peer] may be missing before this one"),
		whole(peerHead+"PublicKey =", "wg0.conf:3: PublicKey: "+emptyKey),
		whole(peerHead+"PublicKey = "+strings.Repeat("A", 43)+"=", "wg0.conf:3: PublicKey: the value (not shown) is all zeros, which is nobody's public key"),
		peer("AllowedIPs =", "AllowedIPs: the value is empty; prefixes as in 10.0.0.0/24, fd00::/64 are allowed, or no such line at all"),
		peer("AllowedIPs = 10.0.0.0/8,", "AllowedIPs: has an empty place in its list; prefixes with single commas between them are allowed"),
		peer("AllowedIPs = +10.0.0.0/8", `AllowedIPs: "+10.0.0.0/8" would change a running interface; a prefix without + or - is allowed`),
		peer("AllowedIPs = 10.0.0.0/8 192.0.2.0/24", `AllowedIPs: "10.0.0.0/8 192.0.2.0/24" `+noLength4),
		peer("AllowedIPs = 10.0.0/8, any, ::/129", `AllowedIPs: "10.0.0/8" `+noAddress+"\nwg0.conf:3: AllowedIPs: \"any\" "+noAddress+"\nwg0.conf:3: AllowedIPs: \"::/129\" "+noLength6),
		peer("Endpoint =", "Endpoint: the value is empty and has no port; HOST:PORT and [IPV6]:PORT are allowed"),
		peer("Endpoint = vpn.example.com", `Endpoint: "vpn.example.com" has no port; HOST:PORT and [IPV6]:PORT are allowed`),
		peer("Endpoint = vpn.example.com:", `Endpoint: "vpn.example.com:" `+noEndPort),
		peer("Endpoint = vpn.example.com:0", `Endpoint: "vpn.example.com:0" `+noEndPort),
		peer("Endpoint = vpn.example.com:https", `Endpoint: "vpn.example.com:https" `+noEndPort),
		peer("Endpoint = [2001:db8::1]", `Endpoint: "[2001:db8::1]" `+noBrackets),
		peer("Endpoint = [2001:db8::1:51820", `Endpoint: "[2001:db8::1:51820" `+noBrackets),
		peer("Endpoint = [2001:db8::1]51820:1", `Endpoint: "[2001:db8::1]51820:1" `+noBrackets),
		peer("Endpoint = 2001:db8::1:2:3:4:5:6:7", `Endpoint: "2001:db8::1:2:3:4:5:6:7" `+noHost),
		peer("Endpoint = 192.0.2.256:1", `Endpoint: "192.0.2.256:1" `+noHost),
		peer("Endpoint = münchen.example:1", `Endpoint: "münchen.example:1" `+noHost),
		peer("Endpoint = https://a.example:1", `Endpoint: "https://a.example:1" `+noHost),
		peer("Endpoint = :51820", `Endpoint: ":51820" `+noHost),
		peer("Endpoint = "+strings.Repeat("long.", 13)+":1:x", `Endpoint: "`+strings.Repeat("long.", 12)+`…" `+noEndPort),
		peer("PersistentKeepalive =", "PersistentKeepalive: the value is empty and "+noInterval),
		peer("PersistentKeepalive = 65536", `PersistentKeepalive: "65536" `+noInterval),
		peer("PersistentKeepalive = 25s", `PersistentKeepalive: "25s" `+noInterval),
		peer("PersistentKeepalive = automatic", `PersistentKeepalive: "automatic" `+noInterval),
	} {
		text, want := test[0], test[1]
		config, err := Parse(strings.NewReader(text), "wg0.conf")
		if err == nil {
			t.Errorf("%q: no mistake found; want %q", text, want)
			continue
		}
		if diff := cmp.Diff(want, err.Error()); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
		if config != nil {
			t.Errorf("%q: a config beside the error", text)
		}
		if mistake, ok := errors.AsType[*FileError](err); !ok || mistake.File != "wg0.conf" {
			t.Errorf("%q: error is no FileError of wg0.conf", text)
		}
	}
}

func TestParseManyMistakes(t *testing.T) {
	_, err := Parse(strings.NewReader("[Interface]\n"+strings.Repeat("MTU = 1\n", maxProblems+7)), "wg0.conf")
	if err == nil {
		t.Fatal("no mistake found")
	}
	lines := strings.Split(err.Error(), "\n")
	if got, want := len(lines), maxProblems+1; got != want {
		t.Errorf("%d lines of mistakes, want %d", got, want)
	}
	if got, want := lines[len(lines)-1], "wg0.conf: and 7 mistakes more"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
	for i, line := range lines[:maxProblems] {
		if want := fmt.Sprintf("wg0.conf:%d: MTU: ", i+2); !strings.HasPrefix(line, want) {
			t.Errorf("line %d is %q, want it to begin with %q", i, line, want)
		}
	}
}

func TestParseTooLarge(t *testing.T) {
	_, err := Parse(strings.NewReader("[Interface]\n"+strings.Repeat("\n", maxFileBytes)), "wg0.conf")
	if want := "wg0.conf: is larger than 16 MiB, which is no configuration file"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestParseWarnings(t *testing.T) {
	ownPublic := mustSecret(t, privateText).PublicKey().String()
	for _, test := range []struct {
		text string
		want []string
	}{
		{"[Interface]", []string{"wg0.conf:1: [Interface]: PrivateKey is missing; no peer can be reached before one is set"}},
		{"[Interface]\nPostUp = wg set %i private-key /etc/key", nil},
		{ownHead + "ListenPort = 1\nListenPort = 2", []string{"wg0.conf:4: ListenPort: stands in line 3 already; the last one counts, as with wg(8)"}},
		{ownHead + "Address = 10.0.0.1/8, 10.0.0.1/8", []string{`wg0.conf:3: Address: "10.0.0.1/8" stands there twice`}},
		{ownHead + "MTU = 1279\nAddress = 10.0.0.1/8\n", nil},
		{ownHead + "MTU = 1280\nAddress = fd00::1/64\n", nil},
		{ownHead + "MTU = 1279\nAddress = fd00::1/64\n", []string{"wg0.conf:3: MTU: below 1280 there is no IPv6 (RFC 8200 section 5), and this file has IPv6 addresses"}},
		{ownHead + "MTU = 1279\n[Peer]" + peerTail + "AllowedIPs = ::/0\n", []string{"wg0.conf:3: MTU: below 1280 there is no IPv6 (RFC 8200 section 5), and this file has IPv6 addresses"}},
		{ownHead + "# natprobe: auto\n[Peer]" + peerTail, []string{`wg0.conf:3: the comment "# natprobe: auto" belongs in a section [Peer], below its heading; here it means nothing`}},
		{ownHead + "[Peer]" + peerTail + "# natprobe: automatic", []string{`wg0.conf:5: a comment for natprobe that it doesn't know; "# natprobe: auto" is allowed`}},
		{ownHead + "[Peer]" + peerTail + "# natprobe is nice: auto", nil},
		{ownHead + "[Peer]" + peerTail + "Endpoint = 2001:db8::1:51820", []string{`wg0.conf:5: Endpoint: "2001:db8::1:51820" is read as [2001:db8::1]:51820; write it so, in brackets`}},
		{ownHead + "[Peer]\nPublicKey = " + ownPublic, []string{"wg0.conf:3: [Peer]: PublicKey belongs to the PrivateKey of this file; WireGuard ignores a peer that is itself"}},
		{
			ownHead + "[Peer]" + peerTail + "AllowedIPs = 10.0.0.0/8\n[Peer]\nPublicKey = " + otherText + "\nAllowedIPs = 10.9.9.9/8",
			[]string{
				"wg0.conf:6: [Peer]: AllowedIPs 10.0.0.0/8 is also that of the peer in line 3; the later peer gets its packets",
				`wg0.conf:8: AllowedIPs: "10.9.9.9/8" has bits set behind the prefix; it means 10.0.0.0/8`,
			},
		},
	} {
		config, err := Parse(strings.NewReader(test.text), "wg0.conf")
		if err != nil {
			t.Errorf("%q: %v", test.text, err)
			continue
		}
		var got []string
		for _, w := range config.Warnings {
			got = append(got, w.String())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%q: -want +got:\n%s", test.text, diff)
		}
	}
}

// TestLastOneCounts pins what the warning about repeated keys promises.
func TestLastOneCounts(t *testing.T) {
	text := ownHead + "ListenPort = 1\nListenPort = 2\nTable = 3\nTable =\n[Peer]" + peerTail +
		"PersistentKeepalive = auto\nPersistentKeepalive = 7\nEndpoint = a:1\nEndpoint = b:2"
	config, err := Parse(strings.NewReader(text), "wg0.conf")
	if err != nil {
		t.Fatal(err)
	}
	if got := config.Interface.ListenPort; got != 2 {
		t.Errorf("ListenPort %d, want 2", got)
	}
	if got := config.Interface.Table; got != (Table{}) {
		t.Errorf("Table %v, want auto", got)
	}
	if got, want := config.Peers[0].Keepalive, (Keepalive{Given: true, Seconds: 7}); got != want {
		t.Errorf("Keepalive %+v, want %+v", got, want)
	}
	if got, want := config.Peers[0].Endpoint, (Endpoint{"b", 2}); got != want {
		t.Errorf("Endpoint %v, want %v", got, want)
	}
}

func mustSecret(t *testing.T, text string) SecretKey {
	t.Helper()
	secret, err := ParseSecretKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}
