package tunnel

const (
	// overhead is what a packet grows by in the tunnel: 40 bytes of IPv6, 8 of
	// UDP, 32 of WireGuard's header and tag.
	overhead = 80
	// defaultMTU suits a path of 1500 bytes.
	defaultMTU = 1500 - overhead
	// minMTU is the least that IPv6 asks of a link (RFC 8200 section 5). Below
	// it the kernel takes IPv6 off the interface.
	minMTU = 1280
	// maxMTU is the largest of an IP packet.
	maxMTU = 65535
)

// chooseMTU returns the interface's MTU in bytes: what the file says, else what
// fits into the narrowest of the paths to the peers. paths are their MTUs, where
// known.
func chooseMTU(file int, paths []int) int {
	if file != 0 {
		return file
	}
	narrowest := 0
	for _, mtu := range paths {
		if mtu > 0 && (narrowest == 0 || mtu < narrowest) {
			narrowest = mtu
		}
	}
	if narrowest == 0 {
		return defaultMTU
	}
	return min(max(narrowest-overhead, minMTU), maxMTU)
}
