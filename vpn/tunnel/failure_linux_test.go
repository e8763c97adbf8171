package tunnel

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fails checks that Up fails with a sentence that has certain words, and leaves
// nothing behind.
func (w *world) fails(t *testing.T, p *program, o order, words ...string) {
	t.Helper()
	before := w.state()
	a := p.tell(o)
	for _, word := range words {
		if !strings.Contains(a.Error, word) {
			t.Errorf("the error lacks %q: %q", word, a.Error)
		}
	}
	if strings.Contains(a.Error, w.key.private) {
		t.Error("the error has a private key")
	}
	w.nothingLeft(t, before)
}

// allowAll is a peer with default routes, which take the most to undo.
const allowAll = "Endpoint = " + serverOuter + ":51820\nAllowedIPs = 0.0.0.0/0, ::/0"

func TestUpFails(t *testing.T) {
	tests := []struct {
		name         string
		prepare      func(w *world)
		more, peer   string
		words, marks []string
	}{
		{
			name: "unresolvable", peer: "Endpoint = vpn.example:51820\nAllowedIPs = 0.0.0.0/0",
			words: []string{".conf:5: Endpoint:", "vpn.example", "no such host", "check the name"},
		},
		{
			name: "port in use", more: "ListenPort = 51999", peer: allowAll,
			prepare: func(w *world) {
				var c net.PacketConn
				err := w.client.do(func() (err error) {
					var lc net.ListenConfig
					c, err = lc.ListenPacket(context.Background(), "udp4", "0.0.0.0:51999")
					return err
				})
				if err != nil {
					w.client.t.Fatal(err)
				}
				w.client.t.Cleanup(func() { c.Close() })
			},
			words: []string{"ListenPort", "51999", "in use"},
		},
		{
			name: "IPv6 off", peer: allowAll,
			prepare: func(w *world) { w.client.sysctl("ipv6/conf/default/disable_ipv6", "1") },
			words:   []string{"fd07::1/64", "IPv6 is off", "disable_ipv6=0"},
		},
		{
			name: "route taken", peer: "Endpoint = " + serverOuter + ":51820\nAllowedIPs = 10.8.0.0/16",
			more:    "PostUp = echo postup >>MARKS\nPostDown = echo postdown >>MARKS",
			prepare: func(w *world) { w.client.ip("route add 10.8.0.0/16 via " + serverOuter) },
			words:   []string{"AllowedIPs", "10.8.0.0/16", "ip route show table 254"},
		},
		{
			name: "mark of a system table", more: "FwMark = 254", peer: allowAll,
			words: []string{"FwMark", "254"},
		},
		{
			name: "no room for rules", peer: allowAll,
			prepare: func(w *world) { w.client.ip("rule add priority 1 lookup main") },
			words:   []string{"no room", "priority 1"},
		},
		{
			name: "PreUp", more: "PreUp = exit 3\nPostDown = echo postdown >>MARKS", peer: allowAll,
			words: []string{"PreUp", "command 1", "exit status 3"}, marks: []string{"postdown"},
		},
		{
			name: "PostUp", more: "PostUp = true\nPostUp = exit 4\nPreDown = echo predown >>MARKS\nPostDown = echo postdown >>MARKS",
			peer: allowAll, words: []string{"PostUp", "command 2", "exit status 4"}, marks: []string{"predown", "postdown"},
		},
		{
			name: "MTU without IPv6", more: "MTU = 1279\nPostUp = echo postup >>MARKS\nPostDown = echo postdown >>MARKS", peer: allowAll,
			words: []string{".conf: MTU: 1279", "1280"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			if test.prepare != nil {
				test.prepare(w)
			}
			marks := filepath.Join(t.TempDir(), "marks")
			write(t, marks, "")
			o := w.order(t, w.config(strings.ReplaceAll(test.more, "MARKS", marks), test.peer))
			w.fails(t, w.client.startChild(), o, test.words...)
			if got, want := strings.Fields(read(t, marks)), strings.Join(test.marks, " "); strings.Join(got, " ") != want {
				t.Errorf("commands that ran: %q, want %q", got, want)
			}
		})
	}
}

func TestNameTaken(t *testing.T) {
	w := newWorld(t)
	p := w.client.startChild()
	w.client.ip("tuntap add mode tun name " + w.name)
	o := w.order(t, w.config("PreUp = exit 3", allowAll))
	w.fails(t, p, o, "there is an interface "+w.name+" already", "wg-quick down "+w.name)
}

// TestSocketTaken: the folder of sockets is shared by network namespaces, so a
// name may be in use in another one.
func TestSocketTaken(t *testing.T) {
	w := newWorld(t)
	p := w.client.startChild()
	w.server.debianWireGuard(w.name, "[Interface]\nPrivateKey = "+w.peerKey.private+"\n")
	before := w.state()
	a := p.tell(w.order(t, w.config("", allowAll)))
	if !strings.Contains(a.Error, socketPath(w.name)) || !strings.Contains(a.Error, "another program") {
		t.Errorf("error: %q", a.Error)
	}
	if got := w.state(); got != before {
		t.Errorf("left behind:\n%s\nwant\n%s", got, before)
	}
	w.server.run("wg", "show", w.name) // its socket is still there
}

func TestNoPermission(t *testing.T) {
	w := newWorld(t)
	p := w.client.startChild(func() error { return unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_NET_ADMIN, 0, 0, 0) })
	o := w.order(t, w.config("PreUp = exit 3", allowAll))
	w.fails(t, p, o, "no permission", w.name, "as root or with CAP_NET_ADMIN")
}

// readOnly makes a file unwritable, even for root, for what the calling thread
// starts.
func readOnly(path string) func() error {
	return func() error {
		// A mount namespace needs a thread with a root folder of its own.
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount(path, path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return unix.Mount("", path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
}

func TestUnwritableResolvConf(t *testing.T) {
	w := newWorld(t)
	o := w.order(t, w.config("DNS = 10.7.0.2", allowAll))
	write(t, o.ResolvConf, "nameserver 192.0.2.53\n")
	p := w.client.startChild(readOnly(o.ResolvConf))
	w.fails(t, p, o, o.ResolvConf, "read-only", "make it writable", "remove the line DNS")
	if got := read(t, o.ResolvConf); got != "nameserver 192.0.2.53\n" {
		t.Errorf("resolv.conf: %q", got)
	}
	if strings.Contains(p.log.String(), "another program changed") {
		t.Error("the log blames another program for a file that nobody changed")
	}
}

func TestUnwritableRunDir(t *testing.T) {
	w := newWorld(t)
	if err := os.Mkdir(w.runDir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := w.client.startChild(readOnly(w.runDir))
	w.fails(t, p, w.order(t, w.config("", allowAll)), w.runDir, "can't be written", "read-only")
}
