package wgapply

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// sockets is where programs that run a WireGuard interface listen, the same on
// Linux and the BSDs.
const sockets = "/var/run/wireguard/*.sock"

// All returns the names of this system's WireGuard interfaces in alphabetical
// order, none where there are none.
func All() ([]string, error) {
	c, err := connect()
	if err != nil {
		return nil, err
	}
	l := newLine(c)
	found, err := ask(context.Background(), l, "an interface", names)
	if err != nil {
		err = explain("WireGuard", err)
	}
	return found, errors.Join(err, l.close())
}

// names lists interfaces. wgctrl lists none at all where one socket is left of a
// program that has ended; then each is asked by name.
func names(c control) ([]string, error) {
	devices, err := c.Devices()
	if err != nil {
		return namesOneByOne(c, candidates())
	}
	found := make([]string, 0, len(devices))
	for _, d := range devices {
		found = append(found, digest(d).info.Name)
	}
	return sorted(found), nil
}

func namesOneByOne(c control, candidates []string) ([]string, error) {
	var (
		found []string
		first error
	)
	for _, name := range candidates {
		d, err := c.Device(name)
		switch {
		case err == nil:
			found = append(found, digest(d).info.Name)
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ERANGE):
		case first == nil:
			first = err
		}
	}
	if len(found) > 0 {
		return sorted(found), nil
	}
	return nil, first
}

// candidates are the names that a WireGuard interface can have.
func candidates() []string {
	var all []string
	if links, err := net.Interfaces(); err == nil {
		for _, l := range links {
			all = append(all, l.Name)
		}
	}
	if paths, err := filepath.Glob(sockets); err == nil {
		for _, p := range paths {
			all = append(all, strings.TrimSuffix(filepath.Base(p), filepath.Ext(p)))
		}
	}
	return sorted(all)
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
