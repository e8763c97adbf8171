package main_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// machineTimes are what all processors have done since the machine started, in
// ticks (proc_stat(5)).
type machineTimes struct {
	at          time.Time
	busy, total int
	ours        float64 // CPU seconds of this process and of those that it waited for
}

// machineLoad is what they did in a while.
type machineLoad struct {
	elapsed    time.Duration
	busy       float64 // share of all processors, 0 to 1, whoever used it
	ours       float64 // the part of it that this process and its children used
	processors int
}

func readMachine(t *testing.T) machineTimes {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		t.Fatal(err)
	}
	m := machineTimes{at: time.Now(), ours: cpuSeconds(t, true)}
	first, _, _ := strings.Cut(string(stat), "\n")
	const user, idle, iowait, steal = 1, 4, 5, 8 // the first field is the line's name; after steal come parts of user
	for i, field := range strings.Fields(first) {
		if i < user || i > steal {
			continue
		}
		ticks, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		m.total += ticks
		if i != idle && i != iowait {
			m.busy += ticks
		}
	}
	return m
}

func (m machineTimes) since(before machineTimes) machineLoad {
	return machineLoad{
		elapsed:    m.at.Sub(before.at),
		busy:       float64(m.busy-before.busy) / float64(max(m.total-before.total, 1)),
		ours:       (m.ours - before.ours) / m.at.Sub(before.at).Seconds() / float64(runtime.NumCPU()),
		processors: runtime.NumCPU(),
	}
}
