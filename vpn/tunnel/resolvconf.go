package tunnel

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
)

const (
	// systemResolvConf is the file that the C library and Go read.
	systemResolvConf = "/etc/resolv.conf"
	// maxResolvConf bounds what is kept of it; it is a few lines usually.
	maxResolvConf = 64 << 10
	// maxServers is how many name servers the C library looks at.
	maxServers = 3

	// keptMark is before each line that a resolv.conf had before us.
	keptMark  = "#|"
	ownerMark = "# natprobe tunnel "
)

// resolvConf is what is written to a resolv.conf. It keeps the old text, as
// comments, so that it can be had back from the file alone.
func resolvConf(name string, servers []netip.Addr, search []string, old string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s: while it is up, this file is its own. What is behind %s\n# was here before and comes back.\n",
		ownerMark, name, keptMark)
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	for line := range strings.Lines(old) {
		b.WriteString(keptMark + line)
	}
	return b.String()
}

// resolvConfOwner returns the tunnel that a resolv.conf belongs to, and what the
// file said before; empty where it belongs to none.
func resolvConfOwner(text string) (name, old string) {
	behind, ok := strings.CutPrefix(text, ownerMark)
	if !ok {
		return "", ""
	}
	name, _, ok = strings.Cut(behind, ":")
	if !ok {
		return "", ""
	}
	var b strings.Builder
	for line := range strings.Lines(behind) {
		if kept, ok := strings.CutPrefix(line, keptMark); ok {
			b.WriteString(kept)
		}
	}
	return name, b.String()
}

// planResolvConf reads a resolv.conf and says how to rewrite it. Nothing is
// written yet.
func planResolvConf(path, name string, servers []netip.Addr, search []string) (step, error) {
	s := step{Kind: stepResolvConf, Path: path, Existed: true}
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.Existed = false
	case err != nil:
		return step{}, resolvConfError(path, err)
	case len(text) > maxResolvConf:
		return step{}, resolvConfError(path, fmt.Errorf("it has more than %d bytes", maxResolvConf))
	}
	s.Old = string(text)
	switch owner, old := resolvConfOwner(s.Old); owner {
	case "":
	case name:
		// Left by a crash that took the journal along.
		s.Old = old
	default:
		return step{}, resolvConfError(path, fmt.Errorf("the tunnel %s has it already, and only one can", owner))
	}
	s.Wrote = resolvConf(name, servers, search, s.Old)
	return s, nil
}

// doResolvConf makes the change.
func (s step) doResolvConf() error {
	if err := writeInPlace(s.Path, s.Wrote); err != nil {
		return resolvConfError(s.Path, err)
	}
	return nil
}

// undoResolvConf brings the old text back. It reports false where somebody else
// changed the file meanwhile; then it is theirs and stays.
func (s step) undoResolvConf() (undone bool, err error) {
	text, err := os.ReadFile(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return !s.Existed, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s can't be read to restore it: %w", s.Path, err)
	}
	switch now := string(text); {
	case now == s.Old && s.Existed:
		return true, nil
	case !strings.HasPrefix(s.Wrote, now): // a part of it: we died while we wrote
		return false, nil
	case !s.Existed:
		err = os.Remove(s.Path)
	default:
		err = writeInPlace(s.Path, s.Old)
	}
	if err != nil {
		return false, fmt.Errorf("%s can't be restored: %w; it keeps its old text behind %s", s.Path, err, keptMark)
	}
	return true, nil
}

// writeInPlace writes a file without replacing it: a resolv.conf is often a link
// or, in a container, mounted by itself.
func writeInPlace(path, text string) error {
	return os.WriteFile(path, []byte(text), 0o644) //nolint:gosec // everybody's programs read it
}

func resolvConfError(path string, err error) error {
	return fmt.Errorf("DNS: %s can't be changed: %w; make it writable, install resolvconf or systemd-resolved "+
		"(several tunnels can share those), or remove the line DNS from the file", path, err)
}
