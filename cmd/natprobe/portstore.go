package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/natprobe/natprobe/probe"
)

// portFile keeps the place in the permutation of source ports in a file. A run
// goes on without it, so what goes wrong is told to note and is no error.
type portFile struct {
	path string // empty: there is no place for it
	note func(string)
}

// newPortFile returns the store in the user's cache folder.
func newPortFile(note func(string)) *portFile {
	dir, err := os.UserCacheDir()
	if err != nil {
		return &portFile{note: note}
	}
	return &portFile{path: filepath.Join(dir, "natprobe", "ports.json"), note: note}
}

// Load returns where the last run ended; the zero value before the first.
func (f *portFile) Load() (probe.PortState, error) {
	var state probe.PortState
	if f.path == "" {
		return state, nil
	}
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return state, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if err != nil {
		f.note(fmt.Sprintf("Which source ports earlier runs used is not known (%s: %v); going on with others at random.", f.path, err))
		return probe.PortState{}, nil
	}
	return state, nil
}

// Save puts a new file in the place of the old one, so that a crash leaves one
// of them whole.
func (f *portFile) Save(state probe.PortState) error {
	err := errors.New("this user has no cache folder")
	if f.path != "" {
		err = replaceFile(f.path, state)
	}
	if err != nil {
		f.note(fmt.Sprintf("Which source ports this run used can't be remembered (%v). "+
			"Wait some minutes before the next run, or it may meet what this one left in the NAT.", err))
	}
	return nil
}

func replaceFile(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temp.Write(append(text, '\n'))
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return nil
}
