package wgapply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// lockPatience is how long another process may hold the lock. It needs
	// milliseconds.
	lockPatience = 2 * time.Second
	lockEach     = 10 * time.Millisecond
)

var errLocked = errors.New("another natprobe holds applied.lock")

// lock keeps other processes off the file of a folder until the function that it
// returns is called; that may be called also where there is an error. A folder
// that doesn't exist is made.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	unlock = func() {}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unlock, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "applied.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return unlock, err
	}
	// Closing lets go of the lock. The file stays: to remove it while another
	// process opens it would give two of them the lock.
	unlock = func() { _ = f.Close() }
	ctx, stop := context.WithTimeoutCause(ctx, lockPatience, errLocked)
	defer stop()
	again := time.NewTicker(lockEach)
	defer again.Stop()
	for {
		switch err := tryLock(f); {
		case err == nil:
			return unlock, nil
		case !errors.Is(err, fs.ErrExist):
			return unlock, fmt.Errorf("applied.lock: %w", err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return unlock, context.Cause(ctx)
		}
	}
}
