package natlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// exitNoTUN is the status of a child that may not open the TUN device.
const exitNoTUN = 45

// child runs this program for one task, on the client or on the server, and
// returns what it said and how it ended.
func child(t *testing.T, start func(*exec.Cmd) error, task string) (said string, status int) {
	t.Helper()
	var out strings.Builder
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), childTask+"="+task)
	cmd.Stdout = &out
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// TestPrograms checks what programs see on both sides.
func TestPrograms(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}}, Elsewhere: []NATSpec{{}}})
	for name, start := range map[string]func(*exec.Cmd) error{"client": n.StartClient, "server": n.StartServer} {
		said, status := child(t, start, "interfaces")
		if want := "lo eth0 eth1"; said != want || status != 0 {
			t.Errorf("on the %s a program saw the links %q, status %d, want %q", name, said, status, want)
		}
	}
}

// TestTUN checks that programs may make TUN devices on both sides, and that
// these belong to their side only.
func TestTUN(t *testing.T) {
	t.Parallel()
	n := openNetwork(t, Spec{NATs: []NATSpec{{}}})
	for name, start := range map[string]func(*exec.Cmd) error{"client": n.StartClient, "server": n.StartServer} {
		said, status := child(t, start, "tun")
		if status == exitNoTUN {
			t.Skipf("SKIPPED, TestTUN NEEDS /dev/net/tun: %s", said)
		}
		if status != 0 {
			t.Errorf("%s: %s", name, said)
		}
	}
	if said, _ := child(t, n.StartClient, "interfaces"); said != "lo eth0" {
		t.Errorf("the client has the links %q, want those of the lab only", said)
	}
}

// tunChild makes a TUN device and looks whether it is there.
func tunChild() int {
	const name = "wg-test"
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		fmt.Print(err)
		return exitNoTUN
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		fmt.Print("make a TUN device: ", err)
		return 1
	}
	if _, err := net.InterfaceByName(name); err != nil {
		fmt.Print("find the TUN device: ", err)
		return 1
	}
	return 0
}
