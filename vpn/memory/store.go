package memory

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/network"
)

const (
	schema   = "natprobe.networks/1"
	fileName = "networks.json"
	saltSize = 32
	// maxEntries bounds the file. A traveller sees some hundred networks a year.
	maxEntries = 200
	maxFile    = 4 << 20 // bytes; many times what maxEntries take
)

// file is what is on disk.
type file struct {
	Schema  string  `json:"schema"`
	Salt    []byte  `json:"salt"`
	Entries []Entry `json:"entries"`
}

// Store is the memory of one process. Its methods may be called from several
// goroutines.
type Store struct {
	dir string

	mu    sync.Mutex
	salt  []byte
	known map[key]Entry // as the file had it
	// pending is what the file doesn't have yet, because it can't be written;
	// nil: a network that is forgotten.
	pending map[key]*Entry
}

// Open returns the store in a folder, which is made when it is needed. The store
// is usable with an error too, which says what is not remembered: what was
// there, where the file is damaged (it is set aside) or unreadable; what comes,
// where the folder can't be written.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, known: make(map[key]Entry), pending: make(map[key]*Entry)}
	err := s.sync()
	if s.salt == nil { // nothing could be read
		s.salt = newSalt()
	}
	return s, err
}

func newSalt() []byte {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	return salt
}

// Salt is the key that networks are named with.
func (s *Store) Salt() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.salt)
}

// Get returns what is known of a network.
func (s *Store) Get(id network.ID, family results.Family) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := key{id, family}
	if e, ok := s.pending[k]; ok {
		if e == nil {
			return Entry{}, false
		}
		return *e, true
	}
	e, ok := s.known[k]
	return e, ok
}

// Put remembers an entry in place of what was known of its network. With an
// error it is remembered by this process only.
func (s *Store) Put(e Entry) error {
	if !e.valid() {
		return fmt.Errorf("an entry of network %q and family %q, measured at %v, can't be kept", e.Network, e.Family, e.MeasuredAt)
	}
	return s.change(e.key(), &e)
}

// Forget makes a network unknown. With an error only this process forgets it.
func (s *Store) Forget(id network.ID, family results.Family) error {
	return s.change(key{id, family}, nil)
}

func (s *Store) change(k key, e *Entry) error {
	s.mu.Lock()
	s.pending[k] = e
	s.mu.Unlock()
	return s.sync()
}

// sync brings file and memory together: what other processes wrote is taken
// over, what is pending is written.
func (s *Store) sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.syncLocked()
	if err == nil {
		clear(s.pending)
		return nil
	}
	// A file that can be read is of use although nothing can be written.
	return errors.Join(err, s.read())
}

func (s *Store) syncLocked() error {
	only := func(err error) error {
		return fmt.Errorf("what is learned about networks is forgotten when this process ends: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return only(err)
	}
	unlock, err := lock(filepath.Join(s.dir, fileName+".lock"))
	if err != nil {
		return only(err)
	}
	defer unlock()
	damaged := s.read()
	if damaged != nil && !errors.Is(damaged, errDamaged) {
		return damaged // not to be replaced
	}
	if s.salt == nil {
		s.salt = newSalt()
	}
	for k, e := range s.pending {
		if e == nil {
			delete(s.known, k)
		} else {
			s.known[k] = *e
		}
	}
	s.shrink()
	if err := s.write(); err != nil {
		return only(err)
	}
	return damaged
}

// shrink lets the networks go that were measured longest ago.
func (s *Store) shrink() {
	for len(s.known) > maxEntries {
		oldest := slices.MinFunc(slices.Collect(maps.Values(s.known)), func(a, b Entry) int { return a.MeasuredAt.Compare(b.MeasuredAt) })
		delete(s.known, oldest.key())
	}
}

// read takes over what the file has. A damaged one is set aside.
func (s *Store) read() error {
	path := filepath.Join(s.dir, fileName)
	f, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errDamaged):
		aside := path + ".bad"
		if renameErr := os.Rename(path, aside); renameErr != nil {
			return fmt.Errorf("%w; it can't be set aside: %v", err, renameErr) //nolint:errorlint // the damage is what counts
		}
		return fmt.Errorf("%w; it is now %s, and networks are learned anew", err, aside)
	case err != nil:
		return err
	}
	s.salt = f.Salt
	clear(s.known)
	for _, e := range f.Entries {
		if e.valid() {
			s.known[e.key()] = e
		}
	}
	return nil
}

// write replaces the file in one step.
func (s *Store) write() error {
	f := file{Schema: schema, Salt: s.salt, Entries: slices.Collect(maps.Values(s.known))}
	slices.SortFunc(f.Entries, func(a, b Entry) int { return a.MeasuredAt.Compare(b.MeasuredAt) })
	text, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(s.dir, fileName+".*") // for its owner only
	if err != nil {
		return err
	}
	_, err = temporary.Write(text)
	if err == nil {
		err = temporary.Sync()
	}
	if err = errors.Join(err, temporary.Close()); err == nil {
		err = os.Rename(temporary.Name(), filepath.Join(s.dir, fileName))
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	return nil
}

// errDamaged reports a file that can't be understood.
var errDamaged = errors.New("damaged")

func readFile(path string) (file, error) {
	var f file
	info, err := os.Stat(path)
	if err != nil {
		return f, err
	}
	if info.Size() > maxFile {
		return f, fmt.Errorf("%s is %w: %d bytes are too many", path, errDamaged, info.Size())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return f, fmt.Errorf("%s is %w: %w", path, errDamaged, err)
	}
	if f.Schema != schema || len(f.Salt) != saltSize {
		return f, fmt.Errorf("%s is %w: no file of %s", path, errDamaged, schema)
	}
	return f, nil
}
