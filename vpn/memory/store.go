package memory

import (
	"bytes"
	"context"
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
	"github.com/natprobe/natprobe/vpn/statefile"
)

const (
	saltSize = 32
	// maxEntries bounds the file. A traveller sees some hundred networks a year.
	maxEntries = 200
)

// Store is the memory of one process. Its methods may be called from several
// goroutines.
type Store struct {
	dir string

	mu    sync.Mutex
	salt  []byte        // never changes after Open: callers have made names with it
	known map[key]Entry // as the file has it
	// pending is what the file doesn't have yet, because it can't be written;
	// nil: a network that is forgotten.
	pending map[key]*Entry
	seen    fs.FileInfo // of the file that known is from; nil where there was none
}

// Open returns the store in a folder, which is made when it is needed. The store
// is usable with an error too, which says what is not remembered: what was
// there, where the file is damaged (it is set aside) or can't be read; what
// comes, where the folder can't be written. Where all is there already and only
// the folder can't be written, the first Put is what notices.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, known: make(map[key]Entry), pending: make(map[key]*Entry)}
	err := s.sync()
	if s.salt == nil {
		// A file that can be read is of use although nothing can be written.
		if readErr := s.refresh(); errors.Is(readErr, errDamaged) {
			err = errors.Join(err, readErr)
		}
	}
	if s.salt == nil {
		s.salt = newSalt()
	}
	return s, err
}

func newSalt() []byte {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	return salt
}

// Salt is the key that networks are named with. It stays the same as long as the
// store is open.
func (s *Store) Salt() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.salt)
}

// Get returns what is known of a network, by this process or another one.
func (s *Store) Get(id network.ID, family results.Family) (Entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed() {
		// What this process knows is good enough where that fails; the next
		// Put tells why.
		_ = s.refresh()
	}
	k := key{id, family}
	if e, ok := s.pending[k]; ok {
		if e == nil {
			return Entry{}, false
		}
		return e.clone(), true
	}
	e, ok := s.known[k]
	return e.clone(), ok
}

// Put remembers an entry in place of what was known of its network. An error
// says that this process alone remembers it, or that the file was damaged and
// has been replaced.
func (s *Store) Put(e Entry) error {
	if !e.valid() {
		return fmt.Errorf("an entry of network %q and family %q with the interval %d s, measured at %v, can't be kept",
			e.Network, e.Family, e.IntervalS, e.MeasuredAt)
	}
	// One entry that can't be written must not keep the others from it.
	if _, err := json.Marshal(e); err != nil {
		return fmt.Errorf("what was measured in network %s can't be kept: %w", e.Network, err)
	}
	e = e.clone()
	return s.change(e.key(), &e)
}

// Forget makes a network unknown. An error says that this process alone forgets
// it, or that the file was damaged and has been replaced.
func (s *Store) Forget(id network.ID, family results.Family) error {
	return s.change(key{id, family}, nil)
}

func (s *Store) change(k key, e *Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending[k] = e
	return s.sync()
}

// sync brings file and memory together: what other processes wrote is taken
// over, what is pending is written.
func (s *Store) sync() error {
	only := func(err error) error {
		return fmt.Errorf("what is learned about networks is forgotten when this process ends: %w", err)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return only(err)
	}
	unlock, err := statefile.Lock(context.Background(), s.path()+".lock")
	if err != nil {
		return only(err)
	}
	defer unlock()
	err = s.refresh()
	var damage error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		clear(s.known) // who removes the file wants it forgotten
		s.seen = nil
	case errors.Is(err, errDamaged):
		if damage, err = s.setAside(err); err != nil {
			return only(err)
		}
	case err != nil:
		return only(err) // and not to be replaced
	case len(s.pending) == 0:
		return nil
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
	clear(s.pending)
	return damage
}

// shrink lets the networks go that were measured longest ago.
func (s *Store) shrink() {
	for len(s.known) > maxEntries {
		oldest := slices.MinFunc(slices.Collect(maps.Values(s.known)), func(a, b Entry) int { return a.MeasuredAt.Compare(b.MeasuredAt) })
		delete(s.known, oldest.key())
	}
}

// changed says whether the file is another one than known is from.
func (s *Store) changed() bool {
	now, err := os.Stat(s.path())
	if err != nil {
		return false
	}
	return s.seen == nil || !os.SameFile(now, s.seen) || now.Size() != s.seen.Size() || !now.ModTime().Equal(s.seen.ModTime())
}

// refresh takes over what the file has.
func (s *Store) refresh() error {
	f, info, err := readFile(s.path())
	if err != nil {
		return err
	}
	if s.salt != nil && !bytes.Equal(s.salt, f.Salt) {
		return fmt.Errorf("%s names networks by another salt than when this process began; start it again", s.path())
	}
	s.salt, s.seen = f.Salt, info
	clear(s.known)
	for _, e := range f.Entries {
		if e.valid() {
			s.known[e.key()] = e
		}
	}
	return nil
}

func (s *Store) path() string { return filepath.Join(s.dir, fileName) }
