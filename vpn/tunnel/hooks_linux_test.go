package tunnel

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCommands runs commands that fail where they are run in the wrong order.
func TestCommands(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	marks := filepath.Join(t.TempDir(), "marks")
	p := w.client.startChild()
	w.up(p, w.config(strings.ReplaceAll(`PreUp = ! ip link show %i 2>/dev/null && echo preup >>MARKS
PostUp = ip route get 10.8.0.1 | grep -q "dev %i" && echo postup %i >>MARKS
PostUp = wg show %i latest-handshakes >/dev/null && echo again >>MARKS
PostUp = wg set %i peer `+w.peerKey.public+` persistent-keepalive <(echo 11 | tr -d '\n') || wg set %i peer `+w.peerKey.public+` persistent-keepalive 11
PreDown = wg show %i >/dev/null && echo predown >>MARKS
PostDown = ! ip link show %i 2>/dev/null && echo postdown >>MARKS
`, "MARKS", marks), "Endpoint = "+serverOuter+":51820\nAllowedIPs = 10.8.0.0/16"))
	if got := p.must(order{Op: "peers"}).Peers[0].Keepalive.Seconds(); got != 11 {
		t.Errorf("interval %v s, want the 11 s that PostUp set", got)
	}
	w.down(p, before)
	want := fmt.Sprintf("preup\npostup %s\nagain\npredown\npostdown\n", w.name)
	if diff := cmp.Diff(want, read(t, marks)); diff != "" {
		t.Errorf("commands that ran (-want +got):\n%s", diff)
	}
	if strings.Contains(p.log.String(), "persistent-keepalive") {
		t.Error("the log shows a command, which may hold a secret")
	}
}

// TestDownGoesOn: where something fails the rest is undone all the same.
func TestDownGoesOn(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	marks := filepath.Join(t.TempDir(), "marks")
	p := w.client.startChild()
	w.up(p, w.config("PreDown = exit 5\nPreDown = echo second >>"+marks+"\nPostDown = exit 6", allowAll))
	a := p.tell(order{Op: "down"})
	for _, want := range []string{"PreDown: command 1", "exit status 5", "PostDown: command 1", "exit status 6"} {
		if !strings.Contains(a.Error, want) {
			t.Errorf("the error lacks %q: %q", want, a.Error)
		}
	}
	w.nothingLeft(t, before)
	if got := read(t, marks); got != "second\n" {
		t.Errorf("the second command left %q", got)
	}
	if again := p.tell(order{Op: "down"}); again.Error != a.Error {
		t.Errorf("Down again: %q, want the same", again.Error)
	}
}

// TestDNSPrograms runs stand-ins for the programs that set name servers.
func TestDNSPrograms(t *testing.T) {
	tests := []struct{ program, up, down string }{
		{stepResolvconf, "-a NAME -m 0 -x\nnameserver 10.7.0.2\nnameserver fd07::2\nsearch corp.example\n", "-d NAME -f\n"},
		{stepResolvectl, "dns NAME 10.7.0.2 fd07::2\ndomain NAME ~. corp.example\n", "revert NAME\n"},
	}
	for _, test := range tests {
		t.Run(test.program, func(t *testing.T) {
			w := newWorld(t)
			before := w.state()
			dir := t.TempDir()
			said := filepath.Join(dir, "said")
			script := "#!/bin/sh\necho \"$@\" >>" + said + "\ncat >>" + said + "\n"
			if err := os.WriteFile(filepath.Join(dir, test.program), []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			o := w.order(t, w.config("DNS = 10.7.0.2, fd07::2, corp.example", allowAll))
			o.Path = dir + ":" + os.Getenv("PATH")
			o.DNS = test.program
			p := w.client.startChild()
			p.must(o)
			if got, want := read(t, said), strings.ReplaceAll(test.up, "NAME", w.name); got != want {
				t.Errorf("it was told\n%s\nwant\n%s", got, want)
			}
			write(t, said, "")
			w.down(p, before)
			if got, want := read(t, said), strings.ReplaceAll(test.down, "NAME", w.name); got != want {
				t.Errorf("it was told\n%s\nwant\n%s", got, want)
			}
			if _, err := os.Stat(o.ResolvConf); err == nil {
				t.Error("resolv.conf was made as well")
			}
		})
	}
}

func TestDNSProgramFails(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	script := "#!/bin/sh\n[ \"$1\" = -d ] || { echo no such thing; exit 1; }\n"
	if err := os.WriteFile(filepath.Join(dir, "resolvconf"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	o := w.order(t, w.config("DNS = 10.7.0.2", allowAll))
	o.Path, o.DNS = dir+":"+os.Getenv("PATH"), stepResolvconf
	w.fails(t, w.client.startChild(), o, "DNS: resolvconf -a failed", "no such thing")
}
