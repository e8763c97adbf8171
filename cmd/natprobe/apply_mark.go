package main

import (
	"sync"
	"time"

	"github.com/natprobe/natprobe/vpn/wgapply"
)

// markAge is for how long a mark is taken to be what it was. A measurement opens
// some hundred sockets, and the program behind the interface has other things to
// do than to tell each of them.
const markAge = 2 * time.Second

// knownMark is the firewall mark on the packets of an interface that somebody
// else made, and may change. Its get may be called from several goroutines.
type knownMark struct {
	info func() (wgapply.Info, error)

	mu    sync.Mutex
	mark  uint32
	asked time.Time
}

// get returns the mark, the last one known where the interface doesn't answer.
func (m *knownMark) get() uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.asked) < markAge {
		return m.mark
	}
	if now, err := m.info(); err == nil {
		m.mark = now.FwMark
	}
	m.asked = time.Now()
	return m.mark
}
