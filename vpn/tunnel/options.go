package tunnel

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.zx2c4.com/wireguard/conn"

	"github.com/natprobe/natprobe/vpn"
)

// DefaultRunDir is where journals are unless Options say otherwise.
const DefaultRunDir = "/run/natprobe"

// ErrRunning is wrapped where a tunnel of that name is up already, in another
// process or in this one.
var ErrRunning = errors.New("the tunnel is up already")

// Options say what Up is to make.
type Options struct {
	// Config is the tunnel. Its Name must not be empty. It is not changed, and
	// must not be until Down.
	Config *vpn.Config
	// Bind holds the UDP sockets; nil: wireguard-go's own. The device opens and
	// closes it.
	Bind conn.Bind
	// Logger gets what happens; nil: nobody does.
	Logger *slog.Logger
	// RunDir is where the journal is kept, NAME.json, and is made when missing;
	// empty: DefaultRunDir.
	RunDir string
	// Output is where commands of the file write to; nil: standard error.
	Output io.Writer
}

// withDefaults fills in what was left empty.
func (o Options) withDefaults() (Options, error) {
	if o.Config == nil {
		return o, errors.New("no configuration was given for the tunnel")
	}
	if o.Config.Name == "" {
		return o, errors.New("the configuration has no interface name; name the file NAME.conf, " +
			"NAME of 1 to 15 letters, digits and characters of _=+.-")
	}
	if o.Bind == nil {
		o.Bind = conn.NewDefaultBind()
	}
	o.Logger = orDiscard(o.Logger)
	o.RunDir = runDirOr(o.RunDir)
	if o.Output == nil {
		o.Output = os.Stderr
	}
	return o, nil
}

func orDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

func runDirOr(dir string) string {
	if dir == "" {
		return DefaultRunDir
	}
	return filepath.Clean(dir)
}
