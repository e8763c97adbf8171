package vpn

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	// maxFileBytes is the size of the largest file that is read. A peer takes
	// about 150 bytes, so that this is room for 100,000 of them.
	maxFileBytes = 16 << 20
	// maxInterfaceName is how long Linux lets the name of an interface be.
	maxInterfaceName = 15
)

// Config is a configuration file, read.
type Config struct {
	// File is the file's name as it was given.
	File string
	// Name is the interface's name: that of the file without .conf. It is
	// empty where Parse was given a name that is none by [InterfaceName].
	Name      string
	Interface Interface
	// Peers are in the order of the file.
	Peers []Peer
	// Warnings tell what is allowed but hardly meant, in the order of lines.
	Warnings []Warning
}

// Interface is the [Interface] section.
type Interface struct {
	// PrivateKey may be missing: a PostUp command can set it later.
	PrivateKey SecretKey
	// ListenPort 0: any free port.
	ListenPort uint16
	// FwMark 0: packets are not marked. It is what both "off" and 0 give.
	FwMark uint32
	// Addresses keep the bits behind the prefix: 10.0.0.8/24 is the address
	// 10.0.0.8 in its network. An address without a prefix is alone in it.
	Addresses []netip.Prefix
	// DNS are the name servers, SearchDomains the names under the same key.
	DNS           []netip.Addr
	SearchDomains []string
	// MTU in bytes; 0: to be chosen by the path.
	MTU   int
	Table Table
	// Commands for the shell, in the order of the file. "%i" in them stands
	// for the interface's name and is not replaced yet.
	PreUp, PostUp, PreDown, PostDown []string
}

// Peer is one [Peer] section.
type Peer struct {
	// Line is where the section begins, from 1.
	Line      int
	PublicKey PublicKey
	// PresharedKey is optional.
	PresharedKey SecretKey
	// AllowedIPs have no bits set behind the prefix and none occurs twice.
	// Where an earlier peer has the same prefix, the later one gets it.
	AllowedIPs []netip.Prefix
	// Endpoint is the zero value where the peer is the one that calls.
	Endpoint  Endpoint
	Keepalive Keepalive
}

// Keepalive is what a file says about PersistentKeepalive.
type Keepalive struct {
	// Auto: natprobe is to choose the interval. The value auto asks for it,
	// and so does the comment "# natprobe: auto", whatever the number beside it.
	Auto bool
	// Given: the file has a number, or off. Without Auto that is the user's
	// decision; with it, Seconds is where to start from.
	Given bool
	// Seconds from 1 to 65535; 0: none are sent.
	Seconds uint16
}

// Table is where routes go. The zero value is "auto": the main table, with
// default routes treated specially.
type Table struct {
	// Off: no routes are made.
	Off bool
	// Number of a routing table; 0: auto.
	Number uint32
}

// String returns what the key Table could say.
func (t Table) String() string {
	switch {
	case t.Off:
		return "off"
	case t.Number == 0:
		return "auto"
	}
	return fmt.Sprint(t.Number)
}

// ParseFile reads the configuration file of an interface, which is named after
// the file; see [InterfaceName]. The error lists all mistakes, see [Parse]. A
// file that others on this machine may read or change brings a warning.
func ParseFile(path string) (*Config, error) {
	if _, err := InterfaceName(path); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	config, err := Parse(file, path)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" { // where these bits are made up
		if text := exposure(config, path, info.Mode()); text != "" {
			w := Warning{Place: Place{File: path}, Text: text}
			config.Warnings = append([]Warning{w}, config.Warnings...)
		}
	}
	return config, nil
}

// exposure tells what others on this machine can do with a file, or nothing. As
// with wg-quick, a closed directory protects what is in it.
func exposure(config *Config, path string, mode fs.FileMode) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		if dir, err := os.Stat(filepath.Dir(resolved)); err == nil && dir.Mode()&0o001 == 0 {
			return ""
		}
	}
	switch {
	case mode&0o002 != 0:
		return "every user of this machine can change this file and the commands in it; chmod 600 prevents that"
	case mode&0o004 != 0 && config.hasSecret():
		return "every user of this machine can read the secret keys in this file; chmod 600 prevents that"
	}
	return ""
}

func (c *Config) hasSecret() bool {
	if !c.Interface.PrivateKey.IsZero() {
		return true
	}
	for i := range c.Peers {
		if !c.Peers[i].PresharedKey.IsZero() {
			return true
		}
	}
	return false
}

// Parse reads a configuration file from r; name is what errors call it, and the
// interface's name is taken from it. It reads to the end whatever it finds: the
// error joins a [*FileError] for each mistake, in the order of lines, and the
// Config is nil then.
func Parse(r io.Reader, name string) (*Config, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	whole := Place{File: name}
	if len(text) > maxFileBytes {
		return nil, &FileError{whole, fmt.Sprintf("is larger than %d MiB, which is no configuration file", maxFileBytes>>20)}
	}
	if i := bytes.IndexByte(text, 0); i >= 0 {
		whole.Line = 1 + bytes.Count(text[:i], []byte("\n"))
		return nil, &FileError{whole, "has a zero byte, which is no text; save it as UTF-8"}
	}
	p := newParser(name)
	// Editors on Windows mark UTF-8 in this way; wg-quick trips over it.
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		p.readLine(line)
	}
	return p.finish()
}

// InterfaceName returns the name of the interface that a configuration file is
// for: the file's own without .conf. As with wg-quick it has 1 to 15 letters,
// digits and characters of _=+.- .
func InterfaceName(path string) (string, error) {
	base := filepath.Base(path)
	name, ok := strings.CutSuffix(base, ".conf")
	if !ok {
		return "", fmt.Errorf("%s: the file's name must be that of the interface and .conf, as in wg0.conf", path)
	}
	// The kernel keeps the names of directories for itself.
	if len(name) < 1 || len(name) > maxInterfaceName || name == "." || name == ".." || strings.IndexFunc(name, notInName) >= 0 {
		return "", fmt.Errorf("%s: %q can't name an interface: 1 to %d characters are allowed, of a-z A-Z 0-9 _ = + . -",
			path, name, maxInterfaceName)
	}
	return name, nil
}

func notInName(r rune) bool { return !isAlphanumeric(r) && !strings.ContainsRune("_=+.-", r) }

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
