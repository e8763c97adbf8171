// Package statefile keeps small files of state that a crash leaves whole and that
// several processes share.
package statefile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Replace puts a file with a text in the place of the one at path, in one step:
// a crash leaves one of them, whole. Only its owner can read it. The folder must
// be there.
func Replace(path string, text []byte) error {
	dir := filepath.Dir(path)
	temp, err := os.CreateTemp(dir, filepath.Base(path)+".*") // for its owner only
	if err != nil {
		return err
	}
	_, err = temp.Write(text)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	// Not every system can sync a folder; then the file's own sync has to do.
	if folder, err := os.Open(dir); err == nil {
		_ = folder.Sync()
		_ = folder.Close()
	}
	return nil
}

const (
	// lockPatience is how long another process may hold a lock. It needs
	// milliseconds, unless it is stopped or its disk is slow.
	lockPatience = 2 * time.Second
	lockEach     = 10 * time.Millisecond
)

var errHeld = errors.New("another natprobe holds the lock")

// Lock keeps other processes off what the file at path stands for, until unlock
// is called or this process ends. It waits for at most 2 s, and for ctx. The file
// stays: to remove it while another process opens it would give two of them the
// lock. On systems without such locks it does nothing.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeoutCause(ctx, lockPatience, errHeld)
	defer stop()
	again := time.NewTicker(lockEach)
	defer again.Stop()
	for {
		free, err := tryLock(f)
		if free {
			return func() { _ = f.Close() }, nil // nothing was written to it
		}
		if err != nil {
			return nil, errors.Join(&os.PathError{Op: "flock", Path: path, Err: err}, f.Close())
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%s: %w", path, context.Cause(ctx)), f.Close())
		}
	}
}
