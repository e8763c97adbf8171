package tunnel

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"
)

// pipeGrace is how long a command that was told to end may keep its output open
// by programs that it left behind.
const pipeGrace = 2 * time.Second

// hooks runs commands of a configuration file.
type hooks struct {
	name   string // of the interface
	output io.Writer
	logger *slog.Logger
}

// run runs one command in a shell, with this process's environment and input, as
// wg-quick does. key and number say which one it is; the command itself is not
// for logs, it may hold a secret.
func (h hooks) run(ctx context.Context, key string, number int, command string) error {
	h.logger.Info("run command", "interface", h.name, "key", key, "number", number)
	cmd := exec.CommandContext(ctx, shell(), "-c", expand(command, h.name)) //nolint:gosec // the file's owner asks for it
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, h.output, h.output
	cmd.WaitDelay = pipeGrace
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%s: command %d of %s failed: %w", key, number, h.name, err)
	}
	return nil
}

// expand puts the interface's name in.
func expand(command, name string) string { return strings.ReplaceAll(command, "%i", name) }

// shell is bash, which wg-quick's files are written for, or what there is.
func shell() string {
	if path, err := exec.LookPath("bash"); err == nil {
		return path
	}
	return "sh"
}
