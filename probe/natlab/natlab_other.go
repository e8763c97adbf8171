//go:build !linux

package natlab

import (
	"context"
	"runtime"
)

func startKernel(context.Context, Spec) (backend, error) {
	return nil, unavailable("they are made of the Linux kernel, and this is %s; take an emulated lab, as "+
		"nat:6s/12s,emulated, or run natprobe on Linux, a virtual machine is enough", runtime.GOOS)
}

// EnterUserNamespace does nothing: only Linux has user namespaces.
func EnterUserNamespace(context.Context, []string) (ran bool, exitCode int, err error) {
	return false, 0, nil
}
