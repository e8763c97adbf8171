//go:build !freebsd || cgo

package wgapply

import (
	"fmt"

	"golang.zx2c4.com/wireguard/wgctrl"
)

func connect() (control, error) {
	c, err := wgctrl.New()
	if err != nil {
		return nil, fmt.Errorf("this system's WireGuard can't be reached: %w", err)
	}
	return c, nil
}
