//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// readyVariable tells the process in the background on which descriptor somebody
// waits to hear that the tunnel is up.
const readyVariable = "NATPROBE_READY_FD"

// readyWord is what it says then; anything else is why not.
const readyWord = "up"

// inBackground tells whether this is the process that upInBackground started:
// it has the same arguments.
func inBackground() bool { return os.Getenv(readyVariable) != "" }

// upInBackground runs the same command in a process of its own, and waits until
// the tunnel is up there.
func (a *app) upInBackground(ctx context.Context, f upFlags, name string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(f.runDir, 0o755); err != nil { //nolint:gosec // the files inside are private, their names are not
		return err
	}
	logName := filepath.Join(f.runDir, name+".log")
	log, err := os.OpenFile(logName, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	waiting, telling, err := os.Pipe()
	if err != nil {
		return err
	}
	defer waiting.Close()

	// Not CommandContext: it is to outlive this process.
	cmd := exec.Command(program, a.args...) //nolint:gosec // this program itself
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{telling} // descriptor 3
	cmd.Env = append(os.Environ(), readyVariable+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, telling.Close())
	}
	if err := telling.Close(); err != nil {
		return err
	}
	interrupted := context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })
	defer interrupted()
	said, err := io.ReadAll(bufio.NewReader(waiting))
	if err != nil {
		return err
	}
	switch text := strings.TrimSpace(string(said)); text {
	case readyWord:
		a.say("%s is up, in process %d; its log is %s. End it with: natprobe down %s", name, cmd.Process.Pid, logName, name)
		return cmd.Process.Release()
	case "":
		err := cmd.Wait()
		return fmt.Errorf("the process in the background ended before the tunnel was up (%w); its log is %s", err, logName)
	default:
		_ = cmd.Wait() // it said itself why
		return errors.New(text)
	}
}

// daemonReady returns what tells the process that waits, if one does, that the
// tunnel is up, or why not. Only the first word counts.
func daemonReady() func(error) {
	number, err := strconv.Atoi(os.Getenv(readyVariable))
	if err != nil || number < 3 {
		return func(error) {}
	}
	if err := os.Unsetenv(readyVariable); err != nil { // commands of the file have nothing to do with it
		return func(error) {}
	}
	syscall.CloseOnExec(number)
	pipe := os.NewFile(uintptr(number), "ready")
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			text := readyWord
			if err != nil {
				text = err.Error()
			}
			_, _ = io.WriteString(pipe, text) // who waited may have gone
			_ = pipe.Close()
		})
	}
}
