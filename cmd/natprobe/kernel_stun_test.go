package main_test

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/reflector"
)

// stunPatience bounds the wait for an answer that comes within a millisecond.
const stunPatience = 20 * time.Second

// TestPionClient asks a reflector as programs do that know nothing of
// natprobe: a STUN client of somebody else gets its own address, over both
// families and over sockets bound to one address or to none.
func TestPionClient(t *testing.T) {
	for _, test := range []struct{ listen, ask string }{
		{"127.0.0.1:0", "127.0.0.1"},
		{"0.0.0.0:0", "127.0.0.1"},
		{"[::1]:0", "::1"},
		{"[::]:0", "127.0.0.2"},
		{"[::]:0", "::1"},
	} {
		t.Run(test.listen+" asked at "+test.ask, func(t *testing.T) {
			at := loopbackReflector(t, test.listen)
			conn, err := net.Dial("udp", net.JoinHostPort(test.ask, strconv.Itoa(int(at.Port()))))
			if err != nil {
				t.Skipf("SKIPPED, NO ROUTE TO %s: %v", test.ask, err)
			}
			client, err := stun.NewClient(conn) // owns conn
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			var mapped stun.XORMappedAddress
			var failure error
			err = client.Do(stun.MustBuild(stun.TransactionID, stun.BindingRequest), func(e stun.Event) {
				if failure = e.Error; failure == nil {
					failure = mapped.GetFrom(e.Message)
				}
			})
			if err != nil || failure != nil {
				t.Fatalf("no answer: %v, %v", err, failure)
			}
			if got, want := mapped.String(), conn.LocalAddr().String(); got != want {
				t.Errorf("XOR-MAPPED-ADDRESS is %s, want %s", got, want)
			}
		})
	}
}

// TestCoturnClient asks a reflector with coturn's client.
func TestCoturnClient(t *testing.T) {
	program := coturnClient(t)
	at := loopbackReflector(t, "127.0.0.1:0")
	got := reflexive(t, exec.Command(program, "-p", strconv.Itoa(int(at.Port())), "127.0.0.1"), (*exec.Cmd).Start)
	if got.Addr() != at.Addr() || got.Port() == 0 {
		t.Errorf("coturn's client learns the address %v, want one of %v", got, at.Addr())
	}
}

// TestKernelCoturnClient asks a reflector with coturn's client from behind two
// NATs.
func TestKernelCoturnClient(t *testing.T) {
	t.Parallel()
	program := coturnClient(t)
	n := startKernelNet(t, natlab.Spec{NATs: []natlab.NATSpec{box(30, 120), strict(box(30, 120))}})
	got := reflexive(t, exec.Command(program, "-p", strconv.Itoa(labPort), n.ServerAddr().String()), n.StartClient)
	if want := n.ExternalAddr(1); got.Addr() != want {
		t.Errorf("coturn's client learns the address %v, want one of %v, the outer NAT's", got, want)
	}
}

// coturnClient finds coturn's client, or skips the test.
func coturnClient(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("turnutils_stunclient")
	if err != nil {
		t.Skipf("SKIPPED, %s NEEDS turnutils_stunclient (Debian: apt-get install coturn)", t.Name())
	}
	return program
}

// loopbackReflector runs a reflector on a loopback address until the test ends.
func loopbackReflector(t *testing.T, listen string) netip.AddrPort {
	t.Helper()
	conn, err := reflector.Listen(t.Context(), listen)
	if err != nil {
		t.Skipf("SKIPPED, CAN'T LISTEN ON %s: %v", listen, err)
	}
	stop, err := serve(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// reflexiveLine is how coturn's client tells what it learned.
var reflexiveLine = regexp.MustCompile(`UDP reflexive addr: (\S+)`)

// reflexive runs coturn's client and returns the address that it learned.
func reflexive(t *testing.T, cmd *exec.Cmd, start func(*exec.Cmd) error) netip.AddrPort {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), stunPatience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, output.Bytes())
	}
	line := reflexiveLine.FindSubmatch(output.Bytes())
	if line == nil {
		t.Fatalf("%v tells no address:\n%s", cmd, output.Bytes())
	}
	addr, err := netip.ParseAddrPort(string(line[1]))
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
