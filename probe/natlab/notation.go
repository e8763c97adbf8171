package natlab

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// lossParts is the resolution of a loss rate: one in a million.
const lossParts = 1_000_000

// Notation returns the lab in the notation that ParseSpec reads. It has no room
// for boxes elsewhere, a name and a summary.
func (s Spec) Notation() string {
	var boxes []string
	for _, nat := range s.NATs {
		boxes = append(boxes, nat.withDefaults().notation())
	}
	if len(boxes) == 0 {
		boxes = []string{kindOpen}
	}
	text := strings.Join(boxes, "+")
	if s.Loss > 0 {
		text += ",loss=" + percent(s.Loss)
	}
	if s.Family != "" {
		text += ",family=" + string(s.Family)
	}
	if s.Port != 0 {
		text += fmt.Sprintf(",port=%d", s.Port)
	}
	if s.Emulated {
		text += ",emulated"
	}
	return text
}

func (n NATSpec) notation() string {
	kind := kindNAT
	if n.None {
		kind = kindFirewall
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s:%s/%s", kind, seconds(n.Solitary), seconds(n.Stream))
	for _, option := range []struct {
		on   bool
		text string
	}{
		{n.RandomPorts, "ports=random"},
		{n.Strict, "strict"},
		{n.ServerSide, "server-side"},
		{n.Filtering != "", "filtering=" + string(n.Filtering)},
		{n.Ports > 0, fmt.Sprintf("block=%d", n.Ports)},
		{n.Addresses > 0, fmt.Sprintf("pool=%d", n.Addresses)},
		{n.DNS > 0, "dns=" + seconds(n.DNS)},
		{n.EndpointIndependent, "endpoint-independent"},
		{n.OutboundOnly, "outbound-only"},
		{n.Sweep > 0, "sweep=" + seconds(n.Sweep)},
		{n.Table > 0, fmt.Sprintf("table=%d", n.Table)},
	} {
		if option.on {
			text.WriteString("," + option.text)
		}
	}
	return text.String()
}

func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

// percent writes a share as per cent, without their sign.
func percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*lossParts)/(lossParts/100), 'f', -1, 64)
}

// describe returns a summary for a lab that has none.
func (s Spec) describe() string {
	var boxes []string
	for _, nat := range s.NATs {
		boxes = append(boxes, "a "+nat.Describe())
	}
	text := strings.Join(boxes, ", behind ")
	if len(boxes) == 0 {
		text = "no NAT and no firewall"
	}
	if s.Loss > 0 {
		text += fmt.Sprintf("; %s %% of the packets are lost each way", percent(s.Loss))
	}
	return text
}

// Describe says in words what a box is and does.
func (n NATSpec) Describe() string {
	n = n.withDefaults()
	kind := "NAT"
	if n.None {
		kind = "firewall"
	}
	parts := []string{kind + " with timers of " + words(n.Solitary) + " and " + words(n.Stream)}
	for _, trait := range []struct {
		on   bool
		text string
	}{
		{n.DNS > 0, words(n.DNS) + " for port 53"},
		{n.RandomPorts, "random ports"},
		{n.Ports > 0, fmt.Sprintf("%d external ports", n.Ports)},
		{n.Addresses > 1, fmt.Sprintf("%d external addresses", n.Addresses)},
		{n.Strict, "a closed outer side"},
		{n.ServerSide, "on the server's side"},
		{n.Filtering != "", string(n.Filtering) + " filtering"},
		{n.EndpointIndependent, "endpoint-independent mapping and filtering"},
		{n.OutboundOnly, "refresh by outbound packets only"},
		{n.Sweep > 0, "a look for expired mappings each " + words(n.Sweep)},
		{n.Table > 0, fmt.Sprintf("room for %d mappings", n.Table)},
	} {
		if trait.on {
			parts = append(parts, trait.text)
		}
	}
	return strings.Join(parts, ", ")
}

func words(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
}
