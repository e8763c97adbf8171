package tunnel

import (
	"context"
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
			// Strangers' junk is worth a line each to wireguard-go: it must not
			// cost anything where nobody reads it.
			if !l.Enabled(context.Background(), slog.LevelDebug) {
				return
			}
			l.Debug("wireguard", "text", redact(fmt.Sprintf(format, args...)))
		},
		Errorf: func(format string, args ...any) {
			l.Warn("wireguard", "text", redact(fmt.Sprintf(format, args...)))
		},
	}
}

// What is not for logs looks like these: a key in base64 or in hexadecimal, an
// IPv4 address, and an IPv6 address.
var (
	keyLike  = regexp.MustCompile(`[0-9A-Za-z+/]{40,}=*`)
	ipv4Like = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+`)
	ipv6Like = regexp.MustCompile(`[0-9a-fA-F]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*(%[0-9A-Za-z_.-]+)?`)
)

// redact takes out of a text what is not for logs: keys, and all of an address
// but its network, /24 or /48.
func redact(text string) string {
	text = keyLike.ReplaceAllString(text, "(hidden)")
	// IPv6 first: an IPv4 address may be a part of one.
	text = ipv6Like.ReplaceAllStringFunc(text, func(s string) string {
		core := strings.TrimRight(s, ":.")
		if strings.HasSuffix(s, "::") {
			core = s
		}
		if a, err := netip.ParseAddr(core); err == nil {
			return network(a) + s[len(core):]
		}
		return s
	})
	return ipv4Like.ReplaceAllStringFunc(text, func(s string) string {
		if a, err := netip.ParseAddr(s); err == nil {
			return network(a)
		}
		return s
	})
}

// network is what a log may tell of an address: 203.0.113.x, 2001:db8:1::/48.
func network(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.IsUnspecified() || a.IsLoopback() {
		return a.String()
	}
	if a.Is4() {
		b := a.As4()
		return fmt.Sprintf("%d.%d.%d.x", b[0], b[1], b[2])
	}
	return netip.PrefixFrom(a, 48).Masked().String()
}
