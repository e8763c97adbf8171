package tunnel

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/natprobe/natprobe/vpn"
)

// CleanUp undoes what a process left that died without Down, from the journal
// that it kept in runDir (empty: DefaultRunDir), PreDown and PostDown commands
// included; they write to standard error. It reports false where there was
// nothing to do. The error wraps ErrRunning where the process lives.
func CleanUp(ctx context.Context, runDir, name string) (cleaned bool, err error) {
	if err := checkName(name); err != nil {
		return false, err
	}
	logger := orDiscard(nil)
	return cleanUp(ctx, runDirOr(runDir), hooks{name: name, output: os.Stderr, logger: logger}, logger)
}

// Owner returns the process that has a tunnel up, and false where none has. Only
// who may read the journal, root as a rule, learns it.
func Owner(runDir, name string) (pid int, running bool, err error) {
	if err := checkName(name); err != nil {
		return 0, false, err
	}
	j, err := readJournal(runDirOr(runDir), name)
	if err != nil || j == nil || !j.Process.alive() {
		return 0, false, err
	}
	return j.Process.PID, true, nil
}

// checkName keeps anything but a name from becoming a part of a path.
func checkName(name string) error {
	if got, err := vpn.InterfaceName(name + ".conf"); err != nil || got != name {
		return fmt.Errorf("%q is not the name of an interface", name)
	}
	return nil
}

func cleanUp(ctx context.Context, dir string, h hooks, logger *slog.Logger) (bool, error) {
	j, err := claim(dir, h.name)
	if err != nil || j == nil {
		return false, err
	}
	if err := j.undo(ctx, h, logger, func() error { return nil }); err != nil {
		return true, fmt.Errorf("what an earlier natprobe left can't be undone completely: %w; undo it by hand "+
			"and remove %s", err, j.path)
	}
	return true, nil
}

// claim takes over the journal of a dead process, so that nobody else does; nil
// where there is none.
func claim(dir, name string) (*journal, error) {
	j, err := readJournal(dir, name)
	if err != nil || j == nil {
		return nil, err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if j, err = readJournal(dir, name); err != nil || j == nil {
		return nil, err
	}
	if j.Process.alive() {
		return nil, fmt.Errorf("%w, as process %d; `natprobe down %s` ends it", ErrRunning, j.Process.PID, name)
	}
	if !j.Process.thisBoot() {
		// The system was started anew: of all changes only files are left, and
		// rules that look like ours are not.
		j.PreDown, j.PostDown = nil, nil
		j.Steps = slices.DeleteFunc(j.Steps, func(s step) bool { return s.Kind != stepResolvConf })
	}
	if j.Process, err = thisProcess(); err != nil {
		return nil, err
	}
	return j, j.save()
}
