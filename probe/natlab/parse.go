package natlab

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of boxes in the notation of labs.
const (
	kindNAT      = "nat"
	kindFirewall = "firewall"
	kindOpen     = "open" // no box
)

// Lookup returns the lab of the catalogue with that name, or the one that a
// notation describes (ParseSpec).
func Lookup(text string) (Spec, error) {
	spec, err := Find(text)
	if err == nil {
		return spec, nil
	}
	kind := text[:indexAny(text, ":,+")]
	if kind != text || slices.Contains([]string{kindNAT, kindFirewall}, kind) {
		return ParseSpec(text)
	}
	return Spec{}, fmt.Errorf("%w; or describe one, as nat:30s/120s,loss=5", err)
}

func indexAny(text, chars string) int {
	if i := strings.IndexAny(text, chars); i >= 0 {
		return i
	}
	return len(text)
}

// ParseSpec reads a lab from its notation:
//
//	lab     box{+box}, innermost first, or open{,option} for none
//	box     kind[:timers]{,option}
//	kind    nat, or firewall, which doesn't translate
//	timers  solitary/stream, or one for both, in whole seconds (30s, 2m);
//	        without them, Linux's: 30s/120s
//
// Options of a box:
//
//	ports=random            each mapping has a random port (ports=preserve: the
//	                        client's, where it is free; that is the default)
//	strict                  drops what is sent to its own outer address
//	server-side             a firewall in front of the server; stands last
//	filtering=WORD          address-dependent or endpoint-independent: lets in
//	                        more than the packets of flows
//	block=N                 has N external ports for the client
//	pool=N                  has N external addresses
//	dns=TIME                the timer of flows to port 53
//	endpoint-independent    \
//	outbound-only            \ see NATSpec; the kernel has none
//	sweep=TIME               / of them, so the lab is emulated
//	table=N                 /
//
// Options of the whole lab, which may stand after any box:
//
//	loss=PERCENT            of the packets, in each direction
//	family=ipv4|ipv6
//	port=N                  Spec.Port
//	emulated                models instead of the kernel's boxes
//
// So nat:6s/12s,strict+nat:4s/9s,ports=random,loss=5 is a home router behind a
// carrier's on a line with loss. The spec's name is what Notation returns. Errors
// name the part that is wrong.
func ParseSpec(text string) (Spec, error) {
	spec, err := parseSpec(text)
	if err != nil {
		return Spec{}, fmt.Errorf("lab %q: %w", text, err)
	}
	return spec, nil
}

func parseSpec(text string) (Spec, error) {
	var spec Spec
	given := map[string]bool{} // options of the whole lab
	boxes := strings.Split(text, "+")
	for i, boxText := range boxes {
		parts := strings.Split(boxText, ",")
		kind, timers, timed := strings.Cut(parts[0], ":")
		var box *NATSpec
		switch {
		case kind == kindNAT, kind == kindFirewall:
			spec.NATs = append(spec.NATs, NATSpec{None: kind == kindFirewall})
			box = &spec.NATs[len(spec.NATs)-1]
		case kind == kindOpen && len(boxes) == 1 && !timed:
		case kind == kindOpen && timed:
			return Spec{}, fmt.Errorf("%q: nothing expires in an open lab, so it has no timers", parts[0])
		case kind == kindOpen:
			return Spec{}, fmt.Errorf("box %d: open stands for no box at all, and so alone", i+1)
		default:
			return Spec{}, fmt.Errorf("box %d: %q is no kind of box; there are %s and %s, and %s for none",
				i+1, kind, kindNAT, kindFirewall, kindOpen)
		}
		if timed {
			if err := box.parseTimers(timers); err != nil {
				return Spec{}, fmt.Errorf("box %d: %w", i+1, err)
			}
		}
		if err := spec.parseOptions(box, parts[1:], given); err != nil {
			return Spec{}, fmt.Errorf("box %d: %w", i+1, err)
		}
	}
	for _, nat := range spec.NATs {
		spec.Emulated = spec.Emulated || nat.emulatedOnly() != ""
	}
	spec.NATs = defaulted(spec.NATs)
	if err := spec.Validate(); err != nil {
		return Spec{}, err
	}
	spec.Name, spec.Summary = spec.Notation(), spec.describe()
	return spec, nil
}

// parseOptions reads the options after a box, which is nil in an open lab.
func (s *Spec) parseOptions(box *NATSpec, options []string, given map[string]bool) error {
	here := map[string]bool{}
	for _, option := range options {
		name, value, valued := strings.Cut(option, "=")
		seen := here
		parse, ofLab := labOption(s, name)
		if ofLab {
			seen = given
		} else if box != nil {
			parse = boxOption(box, name)
		}
		switch {
		case parse == nil && box == nil && boxOption(new(NATSpec), name) != nil:
			return fmt.Errorf("option %q is a box's, and an open lab has none", option)
		case parse == nil:
			return fmt.Errorf("there is no option %q", name)
		case seen[name]:
			return fmt.Errorf("option %q is given twice", name)
		}
		seen[name] = true
		if !valued {
			value = bare
		}
		if err := parse(value); err != nil {
			return fmt.Errorf("option %q: %w", option, err)
		}
	}
	return nil
}

// bare stands for an option's value where none was given: no text has it, for
// it would end there.
const bare = "="

// labOption returns the parser of an option of the whole lab, and whether there
// is one.
func labOption(s *Spec, name string) (parse func(string) error, known bool) {
	switch name {
	case "loss":
		return func(v string) (err error) { s.Loss, err = parseLoss(v); return err }, true
	case "family":
		return func(v string) error {
			s.Family = Family(v)
			return choice(v, string(IPv4), string(IPv6))
		}, true
	case "port":
		return func(v string) error {
			n, err := parseCount(v, math.MaxUint16)
			s.Port = uint16(n) //nolint:gosec // within its limit
			return err
		}, true
	case "emulated":
		return flagOption(&s.Emulated), true
	}
	return nil, false
}

// boxOption returns the parser of an option of a box, or nil where there is
// none.
func boxOption(n *NATSpec, name string) func(string) error {
	count := func(to *int, limit int) func(string) error {
		return func(v string) (err error) { *to, err = parseCount(v, limit); return err }
	}
	period := func(to *time.Duration) func(string) error {
		return func(v string) (err error) { *to, err = parseTime(v); return err }
	}
	switch name {
	case "ports":
		return func(v string) error {
			n.RandomPorts = v == "random"
			return choice(v, "random", "preserve")
		}
	case "strict":
		return flagOption(&n.Strict)
	case "server-side":
		return flagOption(&n.ServerSide)
	case "filtering":
		return func(v string) error {
			n.Filtering = Filtering(v)
			return choice(v, string(AddressDependent), string(EndpointIndependent))
		}
	case "block":
		return count(&n.Ports, maxPorts)
	case "pool":
		return count(&n.Addresses, maxAddresses)
	case "dns":
		return period(&n.DNS)
	case "endpoint-independent":
		return flagOption(&n.EndpointIndependent)
	case "outbound-only":
		return flagOption(&n.OutboundOnly)
	case "sweep":
		return period(&n.Sweep)
	case "table":
		return count(&n.Table, maxTable)
	}
	return nil
}

func flagOption(to *bool) func(string) error {
	return func(v string) error {
		if v != bare {
			return errors.New("takes no value")
		}
		*to = true
		return nil
	}
}

func choice(value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("must be %s", strings.Join(allowed, " or "))
	}
	return nil
}

// parseTimers reads both timers of a box.
func (n *NATSpec) parseTimers(text string) (err error) {
	solitary, stream, two := strings.Cut(text, "/")
	if n.Solitary, err = parseTime(solitary); err != nil {
		return fmt.Errorf("solitary timer %q: %w", solitary, err)
	}
	if n.Stream = n.Solitary; two {
		if n.Stream, err = parseTime(stream); err != nil {
			return fmt.Errorf("stream timer %q: %w", stream, err)
		}
	}
	return nil
}

func parseTime(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > maxTimer || d%time.Second != 0 {
		return 0, fmt.Errorf("must be whole seconds from 1s to %v, with their unit, as 30s or 2m", maxTimer)
	}
	return d, nil
}

func parseCount(text string, limit int) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > limit {
		return 0, fmt.Errorf("must be a number from 1 to %d", limit)
	}
	return n, nil
}

// parseLoss reads per cent, with or without their sign.
func parseLoss(text string) (float64, error) {
	percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || !(percent >= 0 && percent <= 100) { // written so that NaN fails too
		return 0, errors.New("must be per cent from 0 to 100")
	}
	return math.Round(percent/100*lossParts) / lossParts, nil
}
