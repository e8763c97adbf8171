package tunnel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
)

// Down ends the tunnel: PreDown commands, everything that Up did undone in
// reverse, PostDown commands. It goes on where something fails; the error joins
// what did. ctx ends commands of the file early, and nothing else. Further calls
// return the same.
func (t *Tunnel) Down(ctx context.Context) error {
	t.downOnce.Do(func() {
		t.downErr = t.undo(ctx)
		t.watch.Wait()
		if t.downErr != nil {
			t.downErr = fmt.Errorf("tunnel %s: %w", t.config.Name, t.downErr)
		}
		t.logger.Info("tunnel is down")
	})
	return t.downErr
}

// undo is Down, also for a tunnel that came up in part.
func (t *Tunnel) undo(ctx context.Context) error {
	return t.journal.undo(ctx, t.hooks, t.logger, func() error {
		var err error
		if t.server != nil {
			err = t.server.close()
		}
		if t.device != nil {
			t.device.Close()
		}
		return err
	})
}

// undo undoes what a journal lists, the last first, and closes what is of the
// process before PostDown. What can't be undone stays in the journal, for
// another try.
func (j *journal) undo(ctx context.Context, h hooks, logger *slog.Logger, closeOwn func() error) error {
	errs := []error{j.runDown(ctx, h, "PreDown", &j.PreDown)}
	var left []step
	for _, s := range slices.Backward(j.Steps) {
		if err := s.undo(context.WithoutCancel(ctx), logger); err != nil {
			errs = append(errs, err)
			left = append(left, s)
		}
	}
	slices.Reverse(left)
	j.Steps = left
	errs = append(errs, closeOwn(), j.runDown(ctx, h, "PostDown", &j.PostDown))
	if len(left) > 0 {
		errs = append(errs, j.save())
	} else {
		errs = append(errs, j.remove())
	}
	return errors.Join(errs...)
}

// runDown runs PreDown or PostDown commands. Each leaves the journal before it
// runs: none is run twice.
func (j *journal) runDown(ctx context.Context, h hooks, key string, commands *[]string) error {
	var errs []error
	for n := 1; len(*commands) > 0; n++ {
		next := (*commands)[0]
		*commands = (*commands)[1:]
		errs = append(errs, j.save(), h.run(ctx, key, n, next))
	}
	return errors.Join(errs...)
}

// undo undoes one change. That it was never made, or was undone by somebody
// else, is fine.
func (s step) undo(ctx context.Context, logger *slog.Logger) error {
	switch s.Kind {
	case stepSocket:
		return removeSocket(s.Path)
	case stepResolvConf:
		undone, err := s.undoResolvConf()
		if err == nil && !undone {
			logger.Warn("another program changed resolv.conf meanwhile, it stays as it is", "path", s.Path)
		}
		return err
	case stepResolvconf:
		return runDNS(ctx, "", "resolvconf", "-d", s.Record, "-f")
	case stepResolvectl:
		// What systemd-resolved knows of an interface ends with it.
		if found, err := exists(s.Record); err != nil || !found {
			return err
		}
		return runDNS(ctx, "", "resolvectl", "revert", s.Record)
	case stepSysctl:
		return s.undoSysctl()
	case stepRule:
		if s.Rule == nil {
			return nil
		}
		return removeRule(*s.Rule)
	case stepFirewall:
		return removeFirewall(s.Table)
	}
	return fmt.Errorf("the journal has a change of an unknown kind, %s; undo it by hand", s.Kind)
}

// undoSysctl puts the old value back unless somebody else still needs ours:
// another rule on the mark of packets, of natprobe or of wg-quick.
func (s step) undoSysctl() error {
	rules, err := netlink.RuleList(family(false))
	if err != nil {
		return fmt.Errorf("the routing rules can't be listed: %w", err)
	}
	if slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Invert && r.Mark != 0 }) {
		return nil
	}
	now, err := readSetting(s.Path)
	if err != nil || now != s.Wrote {
		return err
	}
	return writeSetting(s.Path, s.Old)
}

// removeSocket removes a socket that nobody listens on.
func removeSocket(path string) error {
	c, err := net.Dial("unix", path)
	if err == nil {
		// Ours, and closed after this; or that of a program that came later.
		return c.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the socket %s can't be removed: %w", path, err)
	}
	return nil
}
