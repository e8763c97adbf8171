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
	"strconv"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/natprobe/natprobe/reflector"
	"github.com/natprobe/natprobe/reflector/wire"
)

// reflectorFlags are the flags of reflector.
type reflectorFlags struct {
	listen     []string
	secretFile string
	limitPPS   int
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
timers are measured instead of the prober's NAT. Ctrl-C or SIGTERM ends it.`,
		Example: `  natprobe reflector
  natprobe reflector --listen 192.0.2.1:3478 --listen '[2001:db8::1]:3478'
  natprobe reflector --secret-file /etc/natprobe/secret --log-format json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.reflector(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringArrayVar(&f.listen, "listen", []string{":" + strconv.Itoa(defaultPort)}, "`IP:PORT` to listen on; repeatable. Without an IP: all, IPv4 and IPv6")
	flags.StringVar(&f.secretFile, "secret-file", "", fmt.Sprintf("`FILE` with the secret that tokens are made with, at least %d bytes (default: a random one)", wire.MinSecret))
	flags.IntVar(&f.limitPPS, "limit-pps", reflector.DefaultPPS, "`PACKETS` a second from one address; 0 lifts the limit, for benches and labs only")
	flags.StringVar(&f.logFormat, "log-format", "text", "`FORMAT`: text or json")
	complete(cmd, "log-format", []string{"text", "json"})
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
	case f.limitPPS < 0 || f.limitPPS > most:
		return cfg, usagef("--limit-pps %d is not between 0 and %d", f.limitPPS, most)
	case f.limitPPS == 0:
		cfg.Limits.PPS = reflector.Unlimited
	default:
		cfg.Limits.PPS = f.limitPPS
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

// readSecret reads a secret. The end of line that editors leave is no part of
// it.
func readSecret(name string) ([]byte, error) {
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

func (a *app) reflector(ctx context.Context, f reflectorFlags) error {
	cfg, err := f.config(a.stderr)
	if err != nil {
		return err
	}
	r, err := reflector.New(cfg)
	if err != nil {
		return err
	}
	var conns []net.PacketConn
	defer func() {
		for _, conn := range conns {
			_ = conn.Close() // nothing is buffered in a UDP socket
		}
	}()
	for _, address := range f.listen {
		conn, err := reflector.Listen(ctx, address)
		if err != nil {
			return listenError(address, err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		command := probeCommand(ctx, conn.LocalAddr())
		if f.logFormat == "json" {
			cfg.Logger.Info("listening", "address", conn.LocalAddr().String(), "probe_command", command)
			continue
		}
		a.say("Listening on %s (UDP). To measure against it, run elsewhere:\n\n  %s\n", conn.LocalAddr(), command)
	}
	return serveAll(ctx, r, conns)
}

// serveAll serves every socket until ctx is done, or until one fails: then it
// ends the others too and returns why.
func serveAll(ctx context.Context, r *reflector.Reflector, conns []net.PacketConn) error {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var all sync.WaitGroup
	failures := make([]error, len(conns))
	for i, conn := range conns {
		all.Go(func() {
			defer stop()
			failures[i] = r.Serve(serving, conn)
		})
	}
	all.Wait()
	return errors.Join(failures...)
}

// listenError says what to do where a socket can't be had.
func listenError(address string, err error) error {
	var system *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("--listen %s: another program uses that port; end it, or choose another port", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("--listen %s: this machine doesn't have that address; leave it out to listen on all: --listen :%d", address, defaultPort)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("--listen %s: not allowed; ports below 1024 need root on most systems", address)
	case errors.As(err, &system):
		return err
	default:
		return usageError{fmt.Errorf("--listen: %w", err)}
	}
}

// probeCommand returns the command that measures against a listener.
func probeCommand(ctx context.Context, listener net.Addr) string {
	host, port := "THIS-HOST", ""
	if at, err := netip.ParseAddrPort(listener.String()); err == nil {
		if addr := at.Addr().Unmap(); !addr.IsUnspecified() {
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
		shared := netip.MustParsePrefix("100.64.0.0/10") // behind a carrier's NAT, RFC 6598
		if err == nil && addr.IsGlobalUnicast() && !addr.IsPrivate() && !shared.Contains(addr) {
			return addr, true
		}
	}
	return netip.Addr{}, false
}
