package network

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From the kernel's include/uapi/linux/wireless.h: the request for the name of
// the wireless network, and the longest name.
const (
	siocgiwessid = 0x8B1B
	maxSSID      = 32
)

// iwreq is the kernel's struct iwreq with its union as struct iw_point. The
// kernel wants at least 16 bytes of union on all systems.
type iwreq struct {
	name   [unix.IFNAMSIZ]byte
	data   unsafe.Pointer
	length uint16
	flags  uint16
	_      [8]byte
}

// wirelessName says whether an interface is wireless, and the name of the
// network that it is in, empty where there is none or the driver has no
// wireless extensions.
func wirelessName(name string) (wireless bool, ssid string) {
	ssid, err := ssidOf(name)
	if err == nil {
		return true, ssid
	}
	_, err = os.Stat(filepath.Join("/sys/class/net", filepath.Base(name), "phy80211"))
	return err == nil, ""
}

// ssidOf asks the driver by ioctl SIOCGIWESSID.
func ssidOf(name string) (string, error) {
	if len(name) >= unix.IFNAMSIZ {
		return "", unix.EINVAL
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	var buffer [maxSSID + 1]byte          // some drivers end it with a zero
	//nolint:gosec // G103: the kernel writes to it
	request := iwreq{data: unsafe.Pointer(&buffer[0]), length: uint16(len(buffer))}
	copy(request.name[:], name)
	// The buffer must stay where it is while the kernel writes to it.
	var pinner runtime.Pinner
	pinner.Pin(&buffer[0])
	defer pinner.Unpin()
	//nolint:gosec // G103: x/sys has no call for this ioctl
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), siocgiwessid, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return "", errno
	}
	if request.flags == 0 {
		return "", nil // not in a network
	}
	return string(bytes.TrimRight(buffer[:min(int(request.length), maxSSID)], "\x00")), nil
}
