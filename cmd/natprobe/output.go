package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/natprobe/natprobe/results"
)

// recordFile is where --output says that the record goes. A file that isn't
// there yet is made only once there is a record.
type recordFile struct {
	path   string
	writer *results.Writer // nil: there is no file yet
}

// openOutput makes sure that a record can be written: nobody wants to hear
// after six minutes that the folder doesn't exist. An empty path is no file.
func openOutput(path string) (*recordFile, error) {
	if path == "" {
		return nil, nil
	}
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		// Not by making the file itself and removing it: another run may have
		// opened it by then.
		if err := canCreateIn(filepath.Dir(path)); err != nil {
			return nil, inputError{fmt.Errorf("--output %s: %w", path, err)}
		}
		return &recordFile{path: path}, nil
	}
	// An existing file stays open: it may be a pipe with one reader.
	writer, err := results.OpenWriter(path)
	if err != nil {
		return nil, inputError{fmt.Errorf("--output: %w", err)}
	}
	return &recordFile{path, writer}, nil
}

func canCreateIn(dir string) error {
	trial, err := os.CreateTemp(dir, ".natprobe-*")
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err // whoever reads it doesn't know the trial's name
		}
		return fmt.Errorf("no file can be made in the folder %s: %w", dir, err)
	}
	return errors.Join(trial.Close(), os.Remove(trial.Name()))
}

// Append appends a record. It does nothing without a file.
func (f *recordFile) Append(record results.Record) (err error) {
	if f == nil {
		return nil
	}
	if f.writer == nil {
		if f.writer, err = results.OpenWriter(f.path); err != nil {
			return fmt.Errorf("--output: %w", err)
		}
	}
	return f.writer.Append(record)
}

// Close closes the file, if there is one.
func (f *recordFile) Close() error {
	if f == nil || f.writer == nil {
		return nil
	}
	return f.writer.Close()
}
