package wgapply

import "golang.zx2c4.com/wireguard/wgctrl/wgtypes"

// Kind tells who runs an interface.
type Kind string

// The kinds.
const (
	// Kernel: the operating system's own WireGuard.
	Kernel Kind = "kernel"
	// Userspace: a program, most often wireguard-go.
	Userspace Kind = "userspace"
)

// How late a keepalive can leave, as a factor of its interval.
const (
	// kernelLateness is what Linux's timer wheel adds at most: a timer of n
	// jiffies is put in a bucket up to an eighth of n wide and fires at its end,
	// never earlier (kernel/time/timer.c).
	kernelLateness = 1.13
	// userspaceLateness: wireguard-go's timers are exact.
	userspaceLateness = 1.0
)

// Lateness returns how late a keepalive of such an interface can leave, as a
// factor of the interval. Where the kind isn't known, and for kernels other than
// Linux, whose timers were not looked at, it is the cautious one.
func (k Kind) Lateness() float64 {
	if k == Userspace {
		return userspaceLateness
	}
	return kernelLateness
}

func kindOf(t wgtypes.DeviceType) Kind {
	if t == wgtypes.Userspace {
		return Userspace
	}
	return Kernel
}
