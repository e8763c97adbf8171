package results

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// MaxLine is the longest line, in bytes, of a file of records. A record with
// 100,000 trials has about 25 MiB.
const MaxLine = 64 << 20

// Writer appends records to a JSONL file, one per line. Each line is written
// with a single write and is on the disk when Append returns, so a crash costs
// at most the record that was being written. Several programs may append to
// one file. A Writer is not for several goroutines at once.
type Writer struct {
	file *os.File
}

// OpenWriter opens the file for appending and creates it where it is missing,
// readable by its owner only: a record tells where and when someone was online.
func OpenWriter(path string) (*Writer, error) {
	_, statErr := os.Lstat(path)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open file of records: %w", err)
	}
	if errors.Is(statErr, os.ErrNotExist) {
		// Not every file system can sync a folder; then the file's own sync has to do.
		if dir, err := os.Open(filepath.Dir(path)); err == nil {
			_ = dir.Sync()
			_ = dir.Close()
		}
	}
	return &Writer{file: f}, nil
}

// Append validates the record and appends it. Where an earlier write was torn
// by a crash, so that the last line has no end, the record begins on a line of
// its own and both its predecessors and it stay readable.
func (w *Writer) Append(r Record) error {
	if err := r.Validate(); err != nil {
		return fmt.Errorf("append record %s: %w", r.ID, err)
	}
	line, err := r.MarshalJSON()
	if err != nil {
		return fmt.Errorf("append record %s: %w", r.ID, err)
	}
	if len(line) > MaxLine {
		return fmt.Errorf("append record %s: its line has %d bytes, more than %d", r.ID, len(line), MaxLine)
	}
	torn, err := w.torn()
	if err != nil {
		return fmt.Errorf("append record %s: look at the end of %s: %w", r.ID, w.file.Name(), err)
	}
	if torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := w.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("append record %s: %w", r.ID, err)
	}
	if err := w.sync(); err != nil {
		return fmt.Errorf("append record %s: %w", r.ID, err)
	}
	return nil
}

// Close closes the file.
func (w *Writer) Close() error { return w.file.Close() }

// torn says whether the file's last line lacks its end.
func (w *Writer) torn() (bool, error) {
	info, err := w.file.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return false, nil
	}
	var last [1]byte
	if _, err := w.file.ReadAt(last[:], info.Size()-1); err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return last[0] != '\n', nil
}

// sync waits until the file is on the disk. Pipes and terminals have none.
func (w *Writer) sync() error {
	info, err := w.file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	return w.file.Sync()
}
