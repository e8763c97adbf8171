package vpn

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// leaks tells whether a text has a key in it, in one of the forms in which
// bytes are printed.
func leaks(text string, key [KeyBytes]byte) bool {
	numbers := strings.Trim(fmt.Sprintf("%d", key[:8]), "[]")
	for _, form := range []string{
		base64.StdEncoding.EncodeToString(key[:])[:8], hex.EncodeToString(key[:4]), strings.ToUpper(hex.EncodeToString(key[:4])),
		numbers, strings.ReplaceAll(numbers, " ", ","), strings.ReplaceAll(numbers, " ", ", "), string(key[:8]),
		strings.Trim(fmt.Sprintf("%#v", key[:4]), "[]byte{}"), strings.Trim(fmt.Sprintf("%x", key[:4]), "[]"),
		strings.Trim(fmt.Sprintf("%b", key[:4]), "[]"), strings.Trim(fmt.Sprintf("%o", key[:4]), "[]"),
		strings.Trim(fmt.Sprintf("%q", key[:4]), `"`),
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

func TestSecretKeyIsHidden(t *testing.T) {
	key := mustSecret(t, privateText)
	config, err := Parse(strings.NewReader(ownHead+"[Peer]"+peerTail+"PresharedKey = "+presharedText), "wg0.conf")
	if err != nil {
		t.Fatal(err)
	}
	// A key deep inside what others hold, exported or not.
	type holder struct {
		key    SecretKey
		config Config
		list   []SecretKey
		byName map[string]Peer
		any    any
	}
	held := holder{key, *config, []SecretKey{key}, map[string]Peer{"x": config.Peers[0]}, key}

	var shown []string
	for _, value := range []any{key, &key, []SecretKey{key}, *config, config, config.Interface, config.Peers, held, &held} {
		for _, verb := range "vsqxXdboOcUteEfgGpT" {
			for _, flags := range []string{"", "+", "#", " ", "0", "30", ".3"} {
				shown = append(shown, fmt.Sprintf("%"+flags+string(verb), value))
			}
		}
		shown = append(shown, fmt.Sprint(value), fmt.Sprintln(value))
		if text, err := json.Marshal(value); err != nil {
			t.Errorf("json of %T: %v", value, err)
		} else {
			shown = append(shown, string(text))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", value)
		shown = append(shown, log.String())
	}
	shown = append(shown, key.String(), key.GoString(), key.LogValue().String())
	for _, text := range shown {
		for _, secret := range []string{privateText, presharedText} {
			if leaks(text, mustSecret(t, secret).Reveal()) {
				t.Errorf("a secret key in %.300q", text)
			}
		}
	}
	if got := fmt.Sprintf("%v %s %x %d %#v", key, key, key, key, key); got != strings.TrimSpace(strings.Repeat("(hidden) ", 5)) {
		t.Errorf("shown as %q, want (hidden)", got)
	}
	if got := fmt.Sprint(SecretKey{}); got != "(none)" {
		t.Errorf("no key is shown as %q, want (none)", got)
	}
	// What the check above would miss, it should find in the open.
	for _, verb := range []string{"%v", "%x", "%X", "%#v", "%s", "%o"} {
		if text := fmt.Sprintf(verb, key.Reveal()); !leaks(text, key.Reveal()) {
			t.Errorf("the check doesn't see the key in %q", text)
		}
	}
}

func TestSecretKey(t *testing.T) {
	key, other := mustSecret(t, privateText), mustSecret(t, presharedText)
	revealed := key.Reveal()
	if got := base64.StdEncoding.EncodeToString(revealed[:]); got != privateText {
		t.Errorf("the key is revealed as %s, want %s", got, privateText)
	}
	if key.IsZero() || !(SecretKey{}).IsZero() || !NewSecretKey([KeyBytes]byte{}).IsZero() {
		t.Error("IsZero: want true for none and for zeros only")
	}
	if !key.Equal(mustSecret(t, privateText)) || key.Equal(other) || key.Equal(SecretKey{}) || !(SecretKey{}).Equal(SecretKey{}) {
		t.Error("Equal: want true for the same key only")
	}
	bytes := filled(7)
	made := NewSecretKey(bytes)
	bytes[0]++
	if made.Reveal() != filled(7) {
		t.Error("a key changed with the bytes that it was made of")
	}
	if got := (SecretKey{}).PublicKey(); !got.IsZero() {
		t.Errorf("no key has the public key %v, want none", got)
	}
}

// TestPublicKeyOfPrivate has Alice's keys of RFC 7748 section 6.1.
func TestPublicKeyOfPrivate(t *testing.T) {
	private, err := hex.DecodeString("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
	if err != nil {
		t.Fatal(err)
	}
	got := NewSecretKey([KeyBytes]byte(private)).PublicKey()
	if want := "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"; hex.EncodeToString(got[:]) != want {
		t.Errorf("public key %x, want %s", got[:], want)
	}
}

func TestPublicKey(t *testing.T) {
	key, err := ParsePublicKey(publicText)
	if err != nil || key != filled(1) {
		t.Fatalf("ParsePublicKey = %v, %v", key, err)
	}
	text, err := json.Marshal(map[string]PublicKey{"k": key})
	if want := `{"k":"` + publicText + `"}`; err != nil || string(text) != want {
		t.Errorf("in JSON %s, %v; want %s", text, err, want)
	}
	for _, bad := range []string{"", privateText[1:], privateText + "\n", privateText[:20] + "\n" + privateText[21:], privateText[:42] + "==", "\u00fc" + privateText[2:]} {
		_, err := ParsePublicKey(bad)
		if _, secretErr := ParseSecretKey(bad); err == nil || secretErr == nil {
			t.Errorf("%q is read as a key", bad)
		} else if bad != "" && strings.Contains(err.Error()+secretErr.Error(), bad) {
			t.Errorf("the error %q contains the key", err)
		}
	}
}

func TestPublicKeyFromJSON(t *testing.T) {
	var got map[string]PublicKey
	if err := json.Unmarshal([]byte(`{"k":"`+publicText+`"}`), &got); err != nil || got["k"] != filled(1) {
		t.Errorf("from JSON %v, %v", got, err)
	}
	if err := json.Unmarshal([]byte(`{"k":"short"}`), &got); err == nil {
		t.Error("a short key is read")
	}
}
