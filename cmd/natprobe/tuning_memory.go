package main

import (
	"github.com/natprobe/natprobe/results"
	"github.com/natprobe/natprobe/vpn/memory"
	"github.com/natprobe/natprobe/vpn/network"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// networkMemory is the tuner's memory in a file.
type networkMemory struct {
	store *memory.Store
	late  float64 // how late this interface's keepalives fire, as a factor
}

// Recall returns what is known of a network. What was measured for a WireGuard
// whose keepalives fire on time is too long for one where they are late.
func (m networkMemory) Recall(id string, family results.Family) (tuner.Known, bool) {
	e, ok := m.store.Get(network.ID(id), family)
	if then := max(e.Lateness, 1); m.late > then && e.IntervalS > 0 {
		e.IntervalS = max(int(float64(e.IntervalS)*then/m.late), 1)
	}
	return tuner.Known{
		Network: id, Label: e.Label, Family: family, IntervalS: e.IntervalS, Lifetimes: e.Lifetimes,
		Recommendation: e.Recommendation, MeasuredAt: e.MeasuredAt, VerifiedAt: e.VerifiedAt,
	}, ok
}

// Remember replaces what was known.
func (m networkMemory) Remember(k tuner.Known) error {
	return m.store.Put(memory.Entry{
		Network: network.ID(k.Network), Label: k.Label, Family: k.Family, IntervalS: k.IntervalS, Lateness: m.late, Lifetimes: k.Lifetimes,
		Recommendation: k.Recommendation, MeasuredAt: k.MeasuredAt, VerifiedAt: k.VerifiedAt,
	})
}

// Forget makes a network unknown.
func (m networkMemory) Forget(id string, family results.Family) error {
	return m.store.Forget(network.ID(id), family)
}
