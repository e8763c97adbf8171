package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
)

// maxSockets is more than the processors of any machine that this is for.
const maxSockets = 256

// maxSecret is more bytes than any secret has. What is larger is something else.
const maxSecret = 64 << 10

// reflectorFlags are the flags of reflector.
type reflectorFlags struct {
	listen     []string
	alternate  []string
	advertise  []string
	secretFile string
	admin      string
	limitPPS   int
	egressGap  time.Duration
	orders     int
	sockets    int
	logFormat  string
}

func (a *app) reflectorCommand() *cobra.Command {
	var f reflectorFlags
	cmd := &cobra.Command{
		Use:   "reflector",
		Short: "Help others to measure, on a machine with a public address",
		Long: `Answer probers that measure the NATs between them and this machine. It needs a
public address, one UDP port and little else, and can't be used against others: see
the guide in the folder reflector. Plain STUN clients are answered too.

The machine's own firewall must let the port in and out without state, or its
timers are measured instead of the prober's NAT: "natprobe reflector check", run
elsewhere, tells whether it does. Ctrl-C or SIGTERM ends it.

Status: 0 ended by a signal, 1 failed, 2 usage or bad input.`,
		Example: `  natprobe reflector
  natprobe reflector --listen 192.0.2.1:3478 --listen '[2001:db8::1]:3478'
  natprobe reflector --listen 192.0.2.1:3478 --alternate 192.0.2.2:3479
  natprobe reflector --secret-file /etc/natprobe/secret --log-format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// In the configuration file it is the default, as its example writes it.
			if flag := cmd.Flags().Lookup("secret-file"); flag.Changed && f.secretFile == "" && a.config.sources[flag].line == 0 {
				return usagef("--secret-file '' names no file; leave the flag out for a random secret")
			}
			return a.reflector(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.listen, "listen", []string{":" + strconv.Itoa(defaultPort)}, "`IP:PORT` to listen on; repeatable. Without an IP: all, IPv4 and IPv6")
	flags.StringArrayVar(&f.alternate, "alternate", nil, "second `IP:PORT`, both unlike those of --listen, for STUN clients that test NATs (RFC 5780); both addresses then have both ports; one for each family")
	flags.StringArrayVar(&f.advertise, "advertise", nil, "public `IP` where this machine is behind a 1:1 NAT; with --alternate twice, in the order of the two")
	flags.StringVar(&f.secretFile, "secret-file", "", fmt.Sprintf("`FILE` with the secret that tokens are made with, at least %d bytes (default: a random one)", wire.MinSecret))
	flags.StringVar(&f.admin, "admin", "", "`IP:PORT` (TCP) for metrics, /metrics, and health, /healthz; not for the public (default: none)")
	flags.IntVar(&f.limitPPS, "limit-pps", reflector.DefaultPPS, "`PACKETS` a second from one address; 0 lifts the limit, for benches and labs only")
	flags.DurationVar(&f.egressGap, "egress-gap", 0, "advertise this `TIME` as the longest silence after which packets leave this machine's own network unaided; \"natprobe reflector check\", run elsewhere, proves it (default: nothing is proven)")
	flags.IntVar(&f.orders, "limit-orders", reflector.DefaultOrders, "`ORDERS` held in memory, pending and remembered; a million takes 160 MB")
	flags.IntVar(&f.sockets, "sockets", 0, "`NUMBER` of sockets that share the load of each --listen, on Linux; 0: one for two processors")
	flags.StringVar(&f.logFormat, "log-format", "text", "`FORMAT`: text or json")
	complete(cmd, "log-format", []string{"text", "json"})
	cmd.AddCommand(a.reflectorCheckCommand())
	return cmd
}

// config returns what the flags ask for.
func (f reflectorFlags) config(stderr io.Writer) (reflector.Config, error) {
	var cfg reflector.Config
	switch f.logFormat {
	case "text":
		cfg.Logger = slog.New(slog.NewTextHandler(stderr, nil))
	case "json":
		cfg.Logger = slog.New(slog.NewJSONHandler(stderr, nil))
	default:
		return cfg, usagef("--log-format %q is not text or json", f.logFormat)
	}
	const most = 1 << 30
	switch {
	case f.limitPPS < 0 || f.limitPPS > reflector.MaxPPS:
		return cfg, usagef("--limit-pps %d is not between 0 and %d", f.limitPPS, reflector.MaxPPS)
	case f.limitPPS == 0:
		cfg.Limits.PPS = reflector.Unlimited
	default:
		cfg.Limits.PPS = f.limitPPS
	}
	if f.orders < 1 || f.orders > most {
		return cfg, usagef("--limit-orders %d is not between 1 and %d", f.orders, most)
	}
	cfg.Limits.Orders = f.orders
	if longest := reflector.DefaultMaxDelay; f.egressGap < 0 || f.egressGap > longest || f.egressGap%time.Second != 0 {
		return cfg, usagef("--egress-gap %v is not whole seconds from 0s to %v, the longest delay that a reflector grants", f.egressGap, longest)
	}
	cfg.EgressGap = f.egressGap
	if f.sockets < 0 || f.sockets > maxSockets {
		return cfg, usagef("--sockets %d is not between 0 and %d", f.sockets, maxSockets)
	}
	if f.secretFile != "" {
		secret, err := readSecret(f.secretFile)
		if err != nil {
			return cfg, inputError{err}
		}
		cfg.Secret = secret
	}
	return cfg, nil
}

// shared returns how many sockets share an address. A socket is served by one
// processor at a time, and the system needs others to bring packets.
func (f reflectorFlags) shared() int {
	if f.sockets > 0 {
		return f.sockets
	}
	return max(1, runtime.GOMAXPROCS(0)/2)
}

// readSecret reads a secret. The end of line that editors leave is no part of
// it.
func readSecret(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("--secret-file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecret { // a pipe would be waited for, a device read for ever
		return nil, fmt.Errorf("--secret-file: %s is not a regular file of at most %d bytes; put the secret into one", name, maxSecret)
	}
	secret, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("--secret-file: %w", err)
	}
	secret = bytes.TrimRight(secret, "\r\n")
	if len(secret) < wire.MinSecret {
		return nil, fmt.Errorf("--secret-file: the secret in %s has %d bytes, at least %d are needed; make one with: openssl rand -hex 32",
			name, len(secret), wire.MinSecret)
	}
	return secret, nil
}

// exposed reports whether everyone on this machine can read a file. A group is
// chosen; and where systemd hands over a credential by an access list, that
// shows as the group's right.
func exposed(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode()&0o007 != 0 && runtime.GOOS != "windows" // which has no such modes
}

func (a *app) reflector(ctx context.Context, f reflectorFlags) error {
	cfg, err := f.config(a.stderr)
	if err != nil {
		return err
	}
	plan, err := f.listening()
	if err != nil {
		return err
	}
	cfg.Advertise = plan.advertisedAlone()
	r, err := reflector.New(cfg)
	if err != nil {
		return err
	}
	var admin *admin
	if f.admin != "" {
		if admin, err = openAdmin(ctx, f.admin, r, cfg.Logger); err != nil {
			return err
		}
		defer admin.close()
	}
	servers, err := plan.open(ctx, f.shared())
	defer a.tuneRuntime()()
	if err != nil {
		return err
	}
	// Nothing is said before all is open: an error stands alone.
	for _, s := range servers {
		defer s.close()
		a.announce(ctx, f, cfg.Logger, plan, s.conns)
	}
	if admin != nil {
		a.announceAdmin(f, cfg.Logger, admin.listener.Addr())
	}
	if len(plan.alone) > 0 {
		missing := "With one address, STUN clients' tests of how a NAT maps and filters (RFC 5780) are refused."
		if len(plan.pairs) > 0 {
			missing = "What --alternate isn't for has one address: there " + strings.TrimPrefix(missing, "With one address, ")
		}
		if f.logFormat == "json" {
			cfg.Logger.Info("no alternate address", "missing", missing)
		} else {
			a.say("%s A second address serves them: --alternate IP:PORT\n", missing)
		}
	}
	if f.secretFile != "" && exposed(f.secretFile) {
		cfg.Logger.Warn("everyone on this machine can read the secret; chmod o= takes that away", "secret_file", f.secretFile)
	}
	if admin == nil {
		return serveAll(ctx, r, servers)
	}
	serving, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() {
		if err := admin.serve(serving); err != nil { // no reason to stop reflecting
			cfg.Logger.Error("no metrics any more", "error", err)
		}
	})
	err = serveAll(ctx, r, servers)
	stop()
	beside.Wait()
	return err
}

// announce says where the sockets of a server listen, and how to use them.
func (a *app) announce(ctx context.Context, f reflectorFlags, logger *slog.Logger, plan listening, conns []net.PacketConn) {
	command := probeCommand(ctx, plan, conns[0].LocalAddr())
	var addresses []string
	for _, conn := range conns {
		addresses = append(addresses, conn.LocalAddr().String())
	}
	if f.logFormat == "json" {
		logger.Info("listening", "address", addresses[0], "also", addresses[1:], "probe_command", command)
		return
	}
	a.say("Listening on %s (UDP). To measure against it, run elsewhere:\n\n  %s\n", strings.Join(addresses, ", "), command)
}

// announceAdmin says where metrics and health are.
func (a *app) announceAdmin(f reflectorFlags, logger *slog.Logger, listener net.Addr) {
	if f.logFormat == "json" {
		logger.Info("admin listening", "address", listener.String())
	} else {
		a.say("Metrics and health: http://%s/metrics and /healthz\n", listener)
	}
	if at, err := netip.ParseAddrPort(listener.String()); err == nil && (at.Addr().IsUnspecified() || isPublic(at.Addr())) {
		logger.Warn("the admin address is not for the public; keep others out by a firewall", "address", listener.String())
	}
}

// listenError says what to do where a socket can't be had.
func listenError(what string, err error) error {
	var system *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: another program uses that port; end it, or choose another port", what)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: this machine doesn't have that address; its own are told by: ip address", what)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%s: not allowed; ports below 1024 need root on most systems", what)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fmt.Errorf("%s: no file descriptors are left; allow more (ulimit -n, or LimitNOFILE= in a unit of systemd), or open fewer sockets", what)
	case errors.As(err, &system):
		return fmt.Errorf("%s: %w", what, err)
	default:
		return usageError{fmt.Errorf("%s: %w", what, err)}
	}
}

// probeCommand returns the command that measures against a listener.
func probeCommand(ctx context.Context, plan listening, listener net.Addr) string {
	host, port := "THIS-HOST", ""
	if at, err := netip.ParseAddrPort(listener.String()); err == nil {
		if addr, ok := plan.public(at.Addr()); ok {
			host = addr.String()
		} else if addr := at.Addr().Unmap(); !addr.IsUnspecified() {
			host = addr.String()
		} else if addr, ok := publicAddr(ctx); ok {
			host = addr.String()
		}
		if at.Port() != defaultPort {
			port = strconv.Itoa(int(at.Port()))
		}
	}
	if port != "" {
		host = net.JoinHostPort(host, port)
	}
	return "natprobe measure --reflector " + host
}

// publicAddr returns the address that this machine uses towards the Internet,
// where that is one that others can reach.
func publicAddr(ctx context.Context) (netip.Addr, bool) {
	// Addresses for documentation (RFC 5737, RFC 3849): nothing is sent there,
	// but they have the default route.
	for _, elsewhere := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		addr, err := localAddr(ctx, netip.MustParseAddrPort(elsewhere))
		if err == nil && isPublic(addr) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}

// isPublic reports whether an address is one of the Internet.
func isPublic(addr netip.Addr) bool {
	shared := netip.MustParsePrefix("100.64.0.0/10") // behind a carrier's NAT, RFC 6598
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !shared.Contains(addr)
}
