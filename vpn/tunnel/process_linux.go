package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// thisProcess names the process that asks.
func thisProcess() (process, error) {
	pid := os.Getpid()
	started, alive := startOf(pid)
	if !alive {
		return process{}, errors.New("/proc can't be read, which tells processes apart after a crash; mount it")
	}
	boot, err := bootID()
	if err != nil {
		return process{}, err
	}
	return process{PID: pid, Started: started, Boot: boot}, nil
}

// alive tells whether a process still runs.
func (p process) alive() bool {
	started, alive := startOf(p.PID)
	return alive && started == p.Started && p.thisBoot()
}

// thisBoot tells whether the system was not started anew since.
func (p process) thisBoot() bool {
	boot, err := bootID()
	return err == nil && boot == p.Boot
}

func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("the number of this system's start can't be read: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// startOf tells when a process began, and false where there is none, or only
// what its parent has not asked for yet.
func startOf(pid int) (uint64, bool) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, false
	}
	// The name in parentheses may hold anything. Behind it: the state, which is
	// field 3 of proc(5), and 19 fields later, field 22, the start.
	_, behind, ok := bytes.Cut(text[bytes.LastIndexByte(text, ')')+1:], []byte(" "))
	fields := bytes.Fields(behind)
	if !ok || len(fields) < 20 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return 0, false
	}
	started, err := strconv.ParseUint(string(fields[19]), 10, 64)
	return started, err == nil
}

// ownedByUs tells whether a file is this user's.
func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

// lockDir keeps others from beginning or claiming a journal until unlock.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return func() {
		// Closing it gives up the lock, and there is nothing else to lose.
		_ = f.Close()
	}, nil
}
