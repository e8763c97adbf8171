package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/natprobe/natprobe/vpn/statefile"
)

const (
	schema   = "natprobe.networks/1"
	fileName = "networks.json"
	maxFile  = 4 << 20 // bytes; many times what maxEntries take
)

// file is what is on disk.
type file struct {
	Schema  string  `json:"schema"`
	Salt    []byte  `json:"salt"`
	Entries []Entry `json:"entries"`
}

// errDamaged reports a file that can be read and not understood.
var errDamaged = errors.New("damaged")

// readFile reads a file, and what identifies it.
func readFile(path string) (file, fs.FileInfo, error) {
	var f file
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return f, nil, err
	case !info.Mode().IsRegular():
		return f, nil, fmt.Errorf("%s is no file: it is %s", path, info.Mode())
	case info.Size() > maxFile:
		return f, nil, fmt.Errorf("%s is %w: %d bytes are too many", path, errDamaged, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return f, nil, err
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, nil, fmt.Errorf("%s is %w: %w", path, errDamaged, err)
	}
	if f.Schema != schema || len(f.Salt) != saltSize {
		return f, nil, fmt.Errorf("%s is %w: no file of %s", path, errDamaged, schema)
	}
	return f, info, nil
}

// setAside renames a damaged file, and returns what to say of it. The lock must
// be held, lest another process's new file be taken for the damaged one.
func (s *Store) setAside(damage error) (said, err error) {
	aside := s.path() + ".bad"
	if err := os.Rename(s.path(), aside); err != nil {
		return nil, fmt.Errorf("%w; it can't be set aside: %w", damage, err)
	}
	return fmt.Errorf("%w; it is now %s, and a new one is begun", damage, aside), nil
}

// write replaces the file in one step. The lock must be held.
func (s *Store) write() error {
	f := file{Schema: schema, Salt: s.salt, Entries: slices.Collect(maps.Values(s.known))}
	slices.SortFunc(f.Entries, func(a, b Entry) int { return a.MeasuredAt.Compare(b.MeasuredAt) })
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	if err := statefile.Replace(s.path(), text); err != nil {
		return err
	}
	// What was just written need not be read.
	s.seen, _ = os.Stat(s.path())
	return nil
}
