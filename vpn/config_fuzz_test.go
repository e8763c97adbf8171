package vpn

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// talk is all that a reader hears of a file: the mistakes or the warnings.
func talk(config *Config, err error) string {
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, w := range config.Warnings {
		b.WriteString(w.String() + "\n")
	}
	return b.String()
}

// secretValues returns what stands under the secret keys of a file, in a way
// that has nothing of the parser's.
func secretValues(text string) []string {
	var values []string
	for line := range strings.SplitSeq(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		for _, key := range []string{"privatekey", "presharedkey"} {
			bare := strings.Join(strings.Fields(line), "")
			if len(bare) > len(key) && strings.ToLower(bare[:len(key)]) == key && bare[len(key)] == '=' {
				values = append(values, bare[len(key)+1:])
			}
		}
	}
	return values
}

// tellingLength is from where on a piece of text is a secret's and no word.
const tellingLength = 30

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.conf")
	if err != nil || len(files) == 0 {
		f.Fatalf("no files to begin with: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, text := range []string{
		ownHead + "ListenPort = " + privateText + "\nSaveConfig = true\nFwMark=0xg",
		"[Peer]\nPresharedKey = " + presharedText + "\nEndpoint = " + presharedText + ":1",
		ownHead + privateText + "\n" + privateText + " = 1\n[" + privateText + "]",
		ownHead + "Table = 0x1\nMTU = 1000\n[Peer]" + peerTail + "AllowedIPs = ::/0, ::ffff:1.2.3.4/100, -10.0.0.0/8",
		ownHead + "[Peer]" + peerTail + "Endpoint = [fe80::1%a=b]:1\nEndpoint = ::1:1\n# natprobe: auto",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		config, err := Parse(strings.NewReader(text), "wg0.conf")
		said := talk(config, err)
		for _, secret := range secretValues(text) {
			if len(secret) >= tellingLength && strings.Contains(said, secret) {
				t.Errorf("a secret is told: %q", said)
			}
		}
		// The ends of lines that Windows has make no difference.
		other, otherErr := Parse(strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")), "wg0.conf")
		if got := talk(other, otherErr); (err == nil) != (otherErr == nil) || got != said {
			t.Errorf("with other ends of lines %q, before %q", got, said)
		}
		if err != nil {
			if config != nil || said == "" {
				t.Errorf("a config %v beside the error %q", config, said)
			}
			return
		}
		checkConfig(t, config)
		if got, want := string(other.AppendUAPI(nil, nil)), string(config.AppendUAPI(nil, nil)); got != want {
			t.Errorf("with other ends of lines %q, before %q", got, want)
		}
	})
}

// checkConfig checks what the fields of a Config promise.
func checkConfig(t *testing.T, config *Config) {
	t.Helper()
	if mtu := config.Interface.MTU; mtu != 0 && (mtu < minMTU || mtu > maxMTU) {
		t.Errorf("MTU %d", mtu)
	}
	commands := slices.Concat(config.Interface.PreUp, config.Interface.PostUp, config.Interface.PreDown, config.Interface.PostDown)
	for _, command := range commands {
		if strings.ContainsAny(command, "\n#\x00") || strings.TrimFunc(command, isSpace) != command || command == "" {
			t.Errorf("command %q", command)
		}
	}
	for _, domain := range config.Interface.SearchDomains {
		if strings.ContainsFunc(domain, isSpace) || domain == "" {
			t.Errorf("search domain %q", domain)
		}
	}
	lines := 4
	peers := map[PublicKey]bool{}
	for _, peer := range config.Peers {
		if peer.PublicKey.IsZero() || peers[peer.PublicKey] {
			t.Errorf("public key %v: zero or twice", peer.PublicKey)
		}
		peers[peer.PublicKey] = true
		if again, err := ParseEndpoint(peer.Endpoint.String()); !peer.Endpoint.IsZero() && (err != nil || again != peer.Endpoint) {
			t.Errorf("endpoint %v is read again as %v, %v", peer.Endpoint, again, err)
		}
		if k := peer.Keepalive; k.Seconds > 0 && !k.Given {
			t.Errorf("keepalive %+v: seconds that nobody gave", k)
		}
		for i, prefix := range peer.AllowedIPs {
			if !prefix.IsValid() || prefix.Masked() != prefix || slices.Contains(peer.AllowedIPs[:i], prefix) {
				t.Errorf("allowed prefix %v: not valid, not masked or twice", prefix)
			}
		}
		lines += 2 + len(peer.AllowedIPs)
		if !peer.PresharedKey.IsZero() {
			lines++
		}
		if _, ok := peer.Endpoint.AddrPort(); ok {
			lines++
		}
		if peer.Keepalive.Given {
			lines++
		}
	}
	uapi := string(config.AppendUAPI(nil, nil))
	if got := strings.Count(uapi, "\n"); got != lines || !strings.HasSuffix(uapi, "\n") || strings.Contains(uapi, "\n\n") {
		t.Errorf("UAPI of %d lines, want %d: %q", got, lines, uapi)
	}
}

// TestSecretsStaySecret tears a private key apart and puts it where it doesn't
// belong, in all ways that come to mind, and looks for its pieces in what is said.
func TestSecretsStaySecret(t *testing.T) {
	var texts []string
	for i := range len(privateText) {
		head, tail := privateText[:i], privateText[i:]
		for _, between := range []string{"\n", " ", "=", " = ", ",", ":", "#", "[", "\n[", "\t\n = ", "\x01"} {
			torn := head + between + tail
			texts = append(texts, "[Interface]\nPrivateKey = "+torn, "[Interface]\nPrivateKey "+torn, "[Peer]\nPresharedKey = "+torn)
		}
	}
	for _, key := range strings.Split(interfaceKeys+", "+peerKeys+", PrivatKey, Key, x y", ", ") {
		for _, form := range []string{"%s = %s", "%s=%s:51820", "%s = [%s]:1", "%s = %s/24", "%s = 10.0.0.1/8, %s", "%s %s", "%s: %s", "%[2]s = %[1]s", "[%[2]s] %[1]s"} {
			line := fmt.Sprintf(form, key, privateText)
			texts = append(texts, line, "[Interface]\n"+line, "[Peer]\n"+line, "[Oops]\n"+line,
				// Cut short, it is recognised because it stands elsewhere too.
				ownHead+fmt.Sprintf(form, key, privateText[5:13]))
		}
	}
	// Commands may well contain what they like, and are not talked about.
	const piece = 20
	for _, text := range texts {
		longest := piece
		if strings.HasPrefix(text, ownHead) {
			longest = pieceLike
		}
		said := talk(Parse(strings.NewReader(text), "wg0.conf"))
		for i := 0; i+longest <= len(privateText); i++ {
			if strings.Contains(said, privateText[i:i+longest]) {
				t.Errorf("%q: a piece of the secret in %q", text, said)
				break
			}
		}
	}
}
