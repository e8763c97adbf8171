package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/vpn/statefile"
)

// portsAhead is how many ports a run takes for itself when it begins, more
// than any run with default limits uses. So a run beside it has others, and so
// has the next one where this one is killed.
const portsAhead = 2048

// portFile keeps the place in the permutation of source ports in a file. A run
// goes on without it, so what goes wrong is told to note and is no error.
type portFile struct {
	path string // empty: there is no place for it
	note func(string)

	taken probe.PortState // where others begin while this run goes on
}

// newPortFile returns the store in the user's cache folder.
func newPortFile(note func(string)) *portFile {
	dir, err := os.UserCacheDir()
	if err != nil {
		return &portFile{note: note}
	}
	return &portFile{path: filepath.Join(dir, "natprobe", "ports.json"), note: note}
}

// Load returns where to begin: where the last run ended, behind what a run that
// still goes on has taken, or anywhere where neither is known.
func (f *portFile) Load() (probe.PortState, error) {
	state, err := f.claim()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.note(fmt.Sprintf("Which source ports earlier runs used is not known (%v); going on with others at random.", err))
		}
		state = anywhere()
	}
	f.taken = probe.PortState{Seed: state.Seed, Next: state.Next + portsAhead}
	if f.path != "" {
		// Where this fails, Save will, and says so.
		_ = replacePorts(f.path, f.taken)
	}
	return state, nil
}

// Save notes where this run ended, unless another one began meanwhile: that is
// ahead already.
func (f *portFile) Save(state probe.PortState) error {
	if f.path == "" {
		f.notSaved(errors.New("this user has no cache folder"))
		return nil
	}
	if now, err := readPorts(f.path); err == nil && now != f.taken {
		return nil
	}
	if err := replacePorts(f.path, state); err != nil {
		f.notSaved(err)
	}
	return nil
}

func (f *portFile) notSaved(err error) {
	f.note(fmt.Sprintf("Which source ports this run used can't be remembered (%v). "+
		"Wait some minutes before the next run, or it may meet what this one left in the NAT.", err))
}

// claim takes the file away while it is read, so that of two runs that begin at
// the same moment one gets its place and the other begins anywhere.
func (f *portFile) claim() (probe.PortState, error) {
	if f.path == "" {
		return probe.PortState{}, fs.ErrNotExist
	}
	mine := fmt.Sprintf("%s.%016x", f.path, anywhere().Seed)
	if err := os.Rename(f.path, mine); err != nil {
		return probe.PortState{}, err
	}
	state, err := readPorts(mine)
	return state, errors.Join(err, os.Remove(mine))
}

// anywhere returns the beginning of a permutation of its own.
func anywhere() probe.PortState {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
	return probe.PortState{Seed: binary.BigEndian.Uint64(b[:]) | 1}
}

func readPorts(path string) (probe.PortState, error) {
	var state probe.PortState
	text, err := os.ReadFile(path)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(text, &state); err != nil {
		return probe.PortState{}, fmt.Errorf("%s: %w", path, err)
	}
	return state, nil
}

// replacePorts puts a place in the stead of the one in the file, whose folder is
// made when it is needed.
func replacePorts(path string, state probe.PortState) error {
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return statefile.Replace(path, append(text, '\n'))
}
