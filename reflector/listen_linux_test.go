package reflector

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestListenWithoutIPv6 runs the test of a wildcard socket on a machine that has
// no IPv6, as after booting with ipv6.disable=1.
func TestListenWithoutIPv6(t *testing.T) {
	const test = "TestLoopback/:0_at_127.0.0.3"
	command := exec.Command(os.Args[0], "-test.v", "-test.run=^"+strings.Replace(test, "/", "$/^", 1)+"$")
	var output []byte
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := forbidIPv6()
		if err == nil {
			output, err = command.CombinedOutput()
		}
		done <- err
	}()
	if err := <-done; err != nil || !strings.Contains(string(output), "--- PASS: "+test) {
		t.Errorf("%v\n%s", err, output)
	}
}

// forbidIPv6 makes the kernel refuse IPv6 sockets to the calling thread, and to
// the programs that it starts, as where it has no IPv6.
func forbidIPv6() error {
	load := func(offset uintptr) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(offset)}
	}
	otherwise := func(value, skip uint32) unix.SockFilter { // go on where it is equal
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: uint8(skip), K: value}
	}
	filter := []unix.SockFilter{
		load(0), // seccomp_data.nr
		otherwise(unix.SYS_SOCKET, 3),
		load(16), // the low half of args[0], as most machines order bytes
		otherwise(unix.AF_INET6, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

// TestNoBroadcast: a request whose source is the broadcast address of a network is
// one that a whole LAN would be answered for. Nobody is.
func TestNoBroadcast(t *testing.T) {
	const everyone = "127.255.255.255"
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		conn, err := Listen(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		transport := newTransport(conn)
		packets := []packet{
			{way: way{peer: netip.MustParseAddrPort(everyone + ":9")}, data: []byte("x")},
			{way: way{peer: netip.MustParseAddrPort("127.0.0.1:9")}, data: []byte("x")},
		}
		transport.send(packets)
		if !packets[0].failed || packets[1].failed {
			t.Errorf("%s: sent to %s: %v, to one host: %v, want only the latter", address, everyone, !packets[0].failed, !packets[1].failed)
		}
	}
}
