package tunnel

import (
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"

	"golang.zx2c4.com/wireguard/device"
)

// deviceLogger makes wireguard-go write to a logger: its errors as warnings,
// since it goes on after them, everything else for those who debug.
func deviceLogger(l *slog.Logger) *device.Logger {
	return &device.Logger{
		Verbosef: func(format string, args ...any) {
			l.Debug("wireguard", "text", redact(fmt.Sprintf(format, args...)))
		},
		Errorf: func(format string, args ...any) {
			l.Warn("wireguard", "text", redact(fmt.Sprintf(format, args...)))
		},
	}
}

// addressLike finds what may be an IP address, keyLike what may be a key in
// base64 or in hexadecimal.
var (
	addressLike = regexp.MustCompile(`[0-9a-fA-F:.]*[.:][0-9a-fA-F:.]*(%[0-9A-Za-z_.-]+)?`)
	keyLike     = regexp.MustCompile(`[0-9A-Za-z+/]{40,}=*`)
)

// redact takes out of a text what is not for logs: keys, and all of an address
// but its network, /24 or /48.
func redact(text string) string {
	text = keyLike.ReplaceAllString(text, "(hidden)")
	return addressLike.ReplaceAllStringFunc(text, func(s string) string {
		// A sentence may put a colon or a full stop before or behind it.
		for _, cut := range []struct{ left, right string }{{"", ""}, {"", ":."}, {":.", ""}, {":.", ":."}} {
			left := strings.TrimLeft(s, cut.left)
			core := strings.TrimRight(left, cut.right)
			if shown, ok := shorten(core); ok {
				return s[:len(s)-len(left)] + shown + left[len(core):]
			}
		}
		return s
	})
}

// shorten cuts an address, with or without a port, to its network.
func shorten(text string) (string, bool) {
	if a, err := netip.ParseAddr(text); err == nil {
		return network(a), true
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return fmt.Sprintf("%s port %d", network(ap.Addr()), ap.Port()), true
	}
	return "", false
}

// network is what a log may tell of an address.
func network(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.IsUnspecified() || a.IsLoopback() {
		return a.String()
	}
	bits := 24
	if a.Is6() {
		bits = 48
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return "(address)"
	}
	return p.String()
}
