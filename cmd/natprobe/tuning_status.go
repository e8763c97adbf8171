package main

import (
	"os"
	"time"

	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/tuner"
)

// schemaStatus names the form of a runningStatus.
const schemaStatus = "natprobe.status/1"

// runningStatus is what a process that keeps a tunnel, or tunes an interface,
// says of itself.
type runningStatus struct {
	Schema    string    `json:"schema"`
	Interface string    `json:"interface"`
	Does      string    `json:"does"` // tunnel or apply
	PID       int       `json:"pid"`
	Since     time.Time `json:"since"`
	Reflects  bool      `json:"reflects"` // answers its peers' measurements
	Peers     []peerRow `json:"peers"`
	// Tuner is missing where no interval is to be chosen.
	Tuner    *tuner.Status `json:"tuner,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
	Trouble  string        `json:"trouble,omitempty"` // why the peers aren't known
}

// peerRow is one peer.
type peerRow struct {
	PublicKey     vpn.PublicKey `json:"public_key"`
	Endpoint      string        `json:"endpoint,omitempty"`
	KeepaliveS    int           `json:"keepalive_s"`
	Tuned         bool          `json:"tuned"`
	LastHandshake *time.Time    `json:"last_handshake,omitempty"`
	Received      uint64        `json:"received_bytes"`
	Sent          uint64        `json:"sent_bytes"`
}

// statusOf describes a process. Peers that are tuned come from its tuner.
func statusOf(name, does string, since time.Time, of tuner.Applier, t *tuning) runningStatus {
	s := runningStatus{Schema: schemaStatus, Interface: name, Does: does, PID: os.Getpid(), Since: since, Peers: []peerRow{}}
	peers, err := of.Peers()
	if err != nil {
		s.Trouble = err.Error()
	}
	for _, p := range peers {
		row := peerRow{
			PublicKey: p.PublicKey, KeepaliveS: int(p.Keepalive / time.Second),
			Received: p.ReceivedBytes, Sent: p.SentBytes,
		}
		if p.Endpoint.IsValid() {
			row.Endpoint = p.Endpoint.String()
		}
		if !p.LastHandshake.IsZero() {
			row.LastHandshake = &p.LastHandshake
		}
		if t != nil {
			_, row.Tuned = t.peers[p.PublicKey]
		}
		s.Peers = append(s.Peers, row)
	}
	if t != nil {
		status := t.tuner.Status()
		s.Tuner, s.Warnings = &status, t.watch.warnings()
	}
	return s
}
