package tunnel

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// upWithAll brings a tunnel up that changes everything a tunnel can.
func (w *world) upWithAll(t *testing.T, p *program) (o order, marks string) {
	t.Helper()
	marks = filepath.Join(t.TempDir(), "marks")
	o = w.order(t, w.config("DNS = 10.7.0.2, corp.example\n"+
		"PreDown = echo predown %i >>"+marks+"\nPostDown = echo postdown >>"+marks,
		"Endpoint = "+serverOuter+":51820\nAllowedIPs = 0.0.0.0/0, ::/0"))
	write(t, o.ResolvConf, "nameserver 192.0.2.53\n")
	p.must(o)
	if got := read(t, o.ResolvConf); !strings.Contains(got, "nameserver 10.7.0.2\nsearch corp.example\n") {
		t.Errorf("resolv.conf:\n%s", got)
	}
	w.client.reaches(farHost + ":7")
	return o, marks
}

func TestKilled(t *testing.T) {
	w := newWorld(t)
	w.serveInternet()
	before := w.state()
	first := w.client.startChild()
	o, marks := w.upWithAll(t, first)

	second := w.client.startChild()
	if a := second.tell(o); !a.Running || !strings.Contains(a.Error, "up already") {
		t.Errorf("Up of a tunnel that is up: %+v", a)
	}
	if a := second.tell(order{Op: "cleanup", RunDir: w.runDir, Name: w.name}); !a.Running || a.Cleaned {
		t.Errorf("CleanUp of a tunnel that is up: %+v", a)
	}
	w.client.reaches(farHost + ":7")

	first.kill()
	if got := w.state(); got == before {
		t.Error("nothing survives a kill -9, so this test shows nothing")
	}
	if a := second.must(order{Op: "cleanup", RunDir: w.runDir, Name: w.name}); !a.Cleaned {
		t.Error("CleanUp says that there was nothing to do")
	}
	w.nothingLeft(t, before)
	if got := read(t, o.ResolvConf); got != "nameserver 192.0.2.53\n" {
		t.Errorf("resolv.conf is not restored:\n%s", got)
	}
	if got, want := read(t, marks), "predown "+w.name+"\npostdown\n"; got != want {
		t.Errorf("commands ran: %q, want %q", got, want)
	}
	if a := second.must(order{Op: "cleanup", RunDir: w.runDir, Name: w.name}); a.Cleaned {
		t.Error("CleanUp did something again")
	}
}

func TestUpAfterKilled(t *testing.T) {
	w := newWorld(t)
	w.serveInternet()
	before := w.state()
	first := w.client.startChild()
	o, _ := w.upWithAll(t, first)
	first.kill()

	second := w.client.startChild()
	if a := second.must(o); a.Mark != firstMark {
		t.Errorf("mark %d, want %d, which is free again", a.Mark, firstMark)
	}
	if !strings.Contains(second.log.String(), "cleaned up what an earlier natprobe left") {
		t.Error("the log doesn't say that Up cleaned up")
	}
	w.client.reaches(farHost + ":7")
	w.down(second, before)
	if got := read(t, o.ResolvConf); got != "nameserver 192.0.2.53\n" {
		t.Errorf("resolv.conf is not restored:\n%s", got)
	}
}

// TestKilledBetween kills Up while it waits for a command, before and after the
// changes.
func TestKilledBetween(t *testing.T) {
	for _, key := range []string{"PreUp", "PostUp"} {
		t.Run(key, func(t *testing.T) {
			w := newWorld(t)
			before := w.state()
			fifo := filepath.Join(t.TempDir(), "fifo")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			p := w.client.startChild()
			// exec: no shell in between that would outlive the kill and wait.
			o := w.order(t, w.config(key+" = exec cat "+fifo, "Endpoint = "+serverOuter+":51820\nAllowedIPs = ::/0"))
			if err := p.in.Encode(o); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(fifo, os.O_WRONLY, 0) // waits until the command reads
			if err != nil {
				t.Fatal(err)
			}
			pid := p.cmd.Process.Pid
			if err := p.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() string {
				if _, alive := startOf(pid); alive {
					return "the killed process lives on"
				}
				return ""
			})
			f.Close() // only now: the command's end must not be seen
			p.kill()
			next := w.client.startChild()
			if a := next.must(order{Op: "cleanup", RunDir: w.runDir, Name: w.name}); !a.Cleaned {
				t.Error("CleanUp says that there was nothing to do")
			}
			w.nothingLeft(t, before)
		})
	}
}

func TestInterfaceDeleted(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	p := w.client.startChild()
	w.up(p, w.config("", "Endpoint = "+serverOuter+":51820\nAllowedIPs = 0.0.0.0/0"))
	w.client.ip("link del " + w.name)
	p.must(order{Op: "done"})
	w.down(p, before)
}

func TestSocketRemoved(t *testing.T) {
	w := newWorld(t)
	before := w.state()
	p := w.client.startChild()
	w.up(p, w.config("", "Endpoint = "+serverOuter+":51820\nAllowedIPs = 10.8.0.0/16"))
	// A mere change of its permissions ends nothing.
	if err := os.Chmod(socketPath(w.name), 0o700); err != nil {
		t.Fatal(err)
	}
	w.client.run("wg", "show", w.name)
	w.down(p, before)

	p = w.client.startChild()
	w.up(p, w.config("", "Endpoint = "+serverOuter+":51820\nAllowedIPs = 10.8.0.0/16"))
	if err := os.Remove(socketPath(w.name)); err != nil {
		t.Fatal(err)
	}
	p.must(order{Op: "done"})
	w.down(p, before)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
