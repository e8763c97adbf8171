package tunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// process names one run of a program: numbers of processes come again.
type process struct {
	PID int `json:"pid"`
	// Started is in clock ticks since the system's start, see proc(5).
	Started uint64 `json:"started"`
	// Boot is the system's start that Started counts from.
	Boot string `json:"boot"`
}

// record is what a journal holds.
type record struct {
	Version   int     `json:"version"`
	Interface string  `json:"interface"`
	Process   process `json:"process"`
	// Mark is the fwmark in force; 0: none.
	Mark uint32 `json:"mark,omitempty"`
	// PreDown and PostDown are commands still to run, as in the file.
	PreDown  []string `json:"pre_down,omitempty"`
	PostDown []string `json:"post_down,omitempty"`
	// Steps are in the order in which they were made.
	Steps []step `json:"steps,omitempty"`
}

const (
	journalVersion = 1
	// maxJournalBytes bounds what is read; a resolv.conf and commands are a few
	// thousand bytes.
	maxJournalBytes = 4 << 20
)

// journal is a record that is on disk at all times: each change is written
// before it becomes true.
type journal struct {
	path string
	record
}

func journalPath(dir, name string) string { return filepath.Join(dir, name+".json") }

// makeRunDir makes the folder of journals.
func makeRunDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // others may see which tunnels are up; each journal is its owner's only
		return fmt.Errorf("the folder %s, which says after a crash what to clean up, can't be made: %w; "+
			"run natprobe as root or name another folder", dir, err)
	}
	return nil
}

// createJournal begins a journal. It fails with fs.ErrExist where there is one.
func createJournal(dir string, r record) (*journal, error) {
	j := &journal{path: journalPath(dir, r.Interface), record: r}
	temp, err := j.writeTemp()
	if err == nil {
		// A link, unlike a rename, never replaces another journal.
		err = errors.Join(os.Link(temp, j.path), os.Remove(temp))
	}
	if err != nil {
		return nil, j.explain(err)
	}
	return j, nil
}

// add records a change that is about to be made.
func (j *journal) add(s step) error {
	j.Steps = append(j.Steps, s)
	return j.save()
}

// save replaces what is on disk, all or nothing.
func (j *journal) save() error {
	temp, err := j.writeTemp()
	if err == nil {
		err = os.Rename(temp, j.path)
	}
	if err != nil {
		return j.explain(err)
	}
	return nil
}

// remove ends the journal: nothing is left to be undone.
func (j *journal) remove() error {
	if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return j.explain(err)
	}
	return nil
}

func (j *journal) explain(err error) error {
	return fmt.Errorf("the journal %s, which says after a crash what to clean up, can't be written: %w", j.path, err)
}

// writeTemp writes the record beside its place. os.CreateTemp makes files that
// only their owner may read.
func (j *journal) writeTemp() (path string, err error) {
	text, err := json.MarshalIndent(j.record, "", "  ")
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(j.path), "."+j.Interface+".json-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(append(text, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// readJournal reads a journal; nil where there is none. Commands in it are run
// with our rights, so it must be a file that only its owner could write, and the
// owner must be the one who asks.
func readJournal(dir, name string) (*journal, error) {
	path := journalPath(dir, name)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no journal is the usual state, not an error
	}
	if err != nil {
		return nil, fmt.Errorf("the journal of %s can't be read: %w", name, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 || !ownedByUs(info) {
		return nil, fmt.Errorf("the journal %s is not a file that only this user can write; "+
			"see what it says, undo it by hand, and remove it", path)
	}
	if info.Size() > maxJournalBytes {
		return nil, fmt.Errorf("the journal %s has more than %d bytes; see what it says and remove it", path, maxJournalBytes)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the journal of %s can't be read: %w", name, err)
	}
	j := &journal{path: path}
	if err := json.Unmarshal(text, &j.record); err != nil {
		return nil, fmt.Errorf("the journal %s is damaged (%w); undo by hand what it lists, and remove it", path, err)
	}
	if j.Version != journalVersion || j.Interface != name {
		return nil, fmt.Errorf("the journal %s is of another version of natprobe, or of another tunnel; "+
			"undo by hand what it lists, and remove it", path)
	}
	return j, nil
}

// readJournals reads all journals of a folder but one, and leaves out those that
// can't be read.
func readJournals(dir, except string) []*journal {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil
	}
	var all []*journal
	for _, p := range paths {
		name := filepath.Base(p[:len(p)-len(".json")])
		if name == except {
			continue
		}
		if j, err := readJournal(dir, name); err == nil && j != nil {
			all = append(all, j)
		}
	}
	return all
}
