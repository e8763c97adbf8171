package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The processes that keep a tunnel or tune an interface answer on a socket in
// the run folder: one line of JSON each way.
const (
	controlStatus = "status"
	controlDown   = "down"

	tunnelSocket = ".sock"       // behind a tunnel's name
	applySocket  = ".apply.sock" // behind the name of an interface that is tuned

	controlPatience = 5 * time.Second
	downPatience    = time.Minute // commands of the file may take their time
)

// interfaceOf returns the name of the interface that a socket is for.
func interfaceOf(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), applySocket), tunnelSocket)
}

type controlRequest struct {
	Do string `json:"do"`
}

type controlReply struct {
	Error  string         `json:"error,omitempty"`
	Status *runningStatus `json:"status,omitempty"`
}

// control serves a process's socket.
type control struct {
	path     string
	listener net.Listener
	status   func() runningStatus
	down     func() error // ends what the process does; nil: that isn't offered

	answers sync.WaitGroup
}

// openControl makes the socket. One that a dead process left is replaced.
func openControl(path string, status func() runningStatus, down func() error) (*control, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // the sockets inside are private, their names are not
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if errors.Is(err, syscall.EADDRINUSE) {
		if !removeStale(path) {
			return nil, fmt.Errorf("%s: another natprobe does that already; see natprobe status", interfaceOf(path))
		}
		listener, err = net.Listen("unix", path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	c := &control{path: path, listener: listener, status: status, down: down}
	c.answers.Go(c.serve)
	return c, nil
}

func (c *control) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.answers.Go(func() { c.answer(conn) })
	}
}

func (c *control) answer(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(controlPatience))
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return
	}
	var request controlRequest
	var reply controlReply
	switch err := json.Unmarshal(line, &request); {
	case err != nil:
		reply.Error = "the request is no JSON"
	case request.Do == controlStatus:
		status := c.status()
		reply.Status = &status
	case request.Do == controlDown && c.down != nil:
		if err := c.down(); err != nil {
			reply.Error = err.Error()
		}
	default:
		reply.Error = fmt.Sprintf("%q can't be asked for here", request.Do)
	}
	_ = json.NewEncoder(conn).Encode(reply) // who asked may have gone
}

// removeStale removes a socket that a dead process left, and tells whether there
// was one.
func removeStale(path string) bool {
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close() // only to see whether somebody is there
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) && os.Remove(path) == nil
}

// Close ends the service and removes the socket. Who asked already is answered.
func (c *control) Close() error { return c.listener.Close() }

// drain waits until everybody who asked has the answer.
func (c *control) drain() { c.answers.Wait() }

// errNotRunning reports that nobody listens on a socket.
var errNotRunning = errors.New("not running")

// ask sends one request to a process.
func ask(ctx context.Context, path, do string, patience time.Duration) (controlReply, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return controlReply{}, errNotRunning
	case errors.Is(err, fs.ErrPermission):
		return controlReply{}, fmt.Errorf("%s: not allowed; run this as root", path)
	case err != nil:
		return controlReply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	_ = conn.SetDeadline(time.Now().Add(patience))
	var reply controlReply
	if err := json.NewEncoder(conn).Encode(controlRequest{Do: do}); err != nil {
		return reply, fmt.Errorf("%s: %w", path, err)
	}
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return reply, fmt.Errorf("%s: no answer: %w", path, err)
	}
	if reply.Error != "" {
		return reply, errors.New(reply.Error)
	}
	if do == controlStatus && reply.Status == nil {
		return reply, fmt.Errorf("%s: the answer has no status", path)
	}
	return reply, nil
}
