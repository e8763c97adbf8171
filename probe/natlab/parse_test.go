package natlab

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseSpec(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		text string
		want Spec // Name and Summary are those of the notation
		says string
	}{
		{"nat:30s/120s", Spec{NATs: []NATSpec{{Solitary: 30 * s, Stream: 120 * s}}, Name: "nat:30s/120s"}, "a NAT with timers of 30 s and 120 s"},
		{"nat", Spec{NATs: []NATSpec{{Solitary: 30 * s, Stream: 120 * s}}, Name: "nat:30s/120s"}, "a NAT"},
		{"firewall:1m", Spec{NATs: []NATSpec{{Solitary: 60 * s, Stream: 60 * s, None: true}}, Name: "firewall:60s/60s"}, "a firewall with timers of 60 s and 60 s"},
		{
			"nat:6s/12s,loss=5,ports=random,strict",
			Spec{NATs: []NATSpec{{Solitary: 6 * s, Stream: 12 * s, RandomPorts: true, Strict: true}}, Loss: 0.05, Name: "nat:6s/12s,ports=random,strict,loss=5"},
			"random ports, a closed outer side; 5 % of the packets are lost each way",
		},
		{
			"nat:6s/12s,strict,loss=0.1%+nat:4s/9s,ports=preserve,block=64,pool=4,dns=3s,port=53",
			Spec{
				NATs: []NATSpec{{Solitary: 6 * s, Stream: 12 * s, Strict: true}, {Solitary: 4 * s, Stream: 9 * s, Ports: 64, Addresses: 4, DNS: 3 * s}},
				Loss: 0.001, Port: 53, Name: "nat:6s/12s,strict+nat:4s/9s,block=64,pool=4,dns=3s,loss=0.1,port=53",
			},
			", behind a NAT with timers of 4 s and 9 s, 3 s for port 53, 64 external ports, 4 external addresses;",
		},
		{"firewall:6s/12s,family=ipv6", Spec{NATs: []NATSpec{{Solitary: 6 * s, Stream: 12 * s, None: true}}, Family: IPv6, Name: "firewall:6s/12s,family=ipv6"}, "a firewall"},
		{
			"firewall:6s/12s,filtering=endpoint-independent+nat:4s/9s,filtering=address-dependent,strict",
			Spec{
				NATs: []NATSpec{
					{Solitary: 6 * s, Stream: 12 * s, None: true, Filtering: EndpointIndependent},
					{Solitary: 4 * s, Stream: 9 * s, Strict: true, Filtering: AddressDependent},
				},
				Name: "firewall:6s/12s,filtering=endpoint-independent+nat:4s/9s,strict,filtering=address-dependent",
			},
			"a firewall with timers of 6 s and 12 s, endpoint-independent filtering, behind a NAT with timers of 4 s and 9 s, a closed outer side, address-dependent filtering",
		},
		{"open", Spec{Name: "open"}, "no NAT and no firewall"},
		{"open,loss=100,emulated", Spec{Loss: 1, Emulated: true, Name: "open,loss=100,emulated"}, "100 %"},
		{"nat,emulated", Spec{NATs: []NATSpec{{Solitary: 30 * s, Stream: 120 * s}}, Emulated: true, Name: "nat:30s/120s,emulated"}, ""},
		{
			"nat:5s,endpoint-independent,outbound-only,sweep=4s,table=100",
			Spec{
				NATs:     []NATSpec{{Solitary: 5 * s, Stream: 5 * s, EndpointIndependent: true, OutboundOnly: true, Sweep: 4 * s, Table: 100}},
				Emulated: true, Name: "nat:5s/5s,endpoint-independent,outbound-only,sweep=4s,table=100,emulated",
			},
			"endpoint-independent mapping and filtering, refresh by outbound packets only, a look for expired mappings each 4 s, room for 100 mappings",
		},
	} {
		got, err := ParseSpec(test.text)
		if err != nil {
			t.Errorf("ParseSpec(%q): %v", test.text, err)
			continue
		}
		if !strings.Contains(got.Summary, test.says) {
			t.Errorf("ParseSpec(%q) has the summary %q, want %q in it", test.text, got.Summary, test.says)
		}
		got.Summary = ""
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("ParseSpec(%q) (-want +got):\n%s", test.text, diff)
		}
	}
}

func TestParseSpecErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", `box 1: "" is no kind of box; there are nat and firewall`},
		{"gnat:30s", `box 1: "gnat" is no kind of box`},
		{"nat:30s+", `box 2: "" is no kind of box`},
		{"nat:30", `solitary timer "30": must be whole seconds`},
		{"nat:30s/x", `stream timer "x": must be whole seconds`},
		{"nat:0s", `solitary timer "0s"`},
		{"nat:1500ms", `solitary timer "1500ms"`},
		{"nat:30s/25h", `stream timer "25h"`},
		{"nat:30s/60s/90s", `stream timer "60s/90s"`},
		{"nat:", `solitary timer ""`},
		{"nat,loss=5%%", `option "loss=5%%": must be per cent from 0 to 100`},
		{"nat,loss=101", `option "loss=101"`},
		{"nat,loss=nan", `option "loss=nan"`},
		{"nat,loss", `option "loss": must be per cent`},
		{"nat,loss=1+nat,loss=1", `box 2: option "loss" is given twice`},
		{"nat,strict,strict", `option "strict" is given twice`},
		{"nat,strict=yes", `option "strict=yes": takes no value`},
		{"nat,lose=5", `there is no option "lose"`},
		{"nat,", `there is no option ""`},
		{"nat,ports=some", `option "ports=some": must be random or preserve`},
		{"nat,ports", `option "ports": must be random or preserve`},
		{"nat,filtering", `option "filtering": must be address-dependent or endpoint-independent`},
		{"nat,filtering=none", `option "filtering=none": must be`},
		{"nat,family=ipv5", `option "family=ipv5": must be ipv4 or ipv6`},
		{"nat,family", `option "family"`},
		{"nat,block=0", `option "block=0": must be a number from 1 to 16384`},
		{"nat,pool=65", `option "pool=65"`},
		{"nat,table=-1", `option "table=-1"`},
		{"nat,port=70000", `option "port=70000"`},
		{"nat,dns=1", `option "dns=1"`},
		{"nat,sweep=0s", `option "sweep=0s"`},
		{"firewall,ports=random", "NAT 0: a firewall doesn't translate"},
		{"nat,endpoint-independent,dns=3s", "NAT 0: an endpoint-independent mapping has one timer"},
		{"open:30s", `"open:30s": nothing expires in an open lab`},
		{"open+nat", "box 1: open stands for no box at all"},
		{"nat+open", "box 2: open stands for no box at all"},
		{"open,strict", `option "strict" is a box's`},
		{"nat" + strings.Repeat("+nat", MaxNATs), "at most 16 in a row"},
	} {
		spec, err := ParseSpec(test.text)
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "lab ") {
			t.Errorf("ParseSpec(%q) = %+v, %v; want an error with %q", test.text, spec, err, test.want)
		}
	}
}

func TestLookup(t *testing.T) {
	for text, want := range map[string]string{
		"cgn": "cgn", "open": "open", "nat": "nat:30s/120s", "firewall:5s": "firewall:5s/5s", "open,loss=5": "open,loss=5",
	} {
		if got, err := Lookup(text); err != nil || got.Name != want {
			t.Errorf("Lookup(%q) = %q, %v, want %q", text, got.Name, err, want)
		}
	}
	for text, want := range map[string]string{
		"nowhere":     "as nat:30s/120s,loss=5",
		"":            "there are fast, ",
		"cng,loss=5":  `"cng" is no kind of box`,
		"nat,lose=30": `no option "lose"`,
	} {
		if got, err := Lookup(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Lookup(%q) = %q, %v, want an error with %q", text, got.Name, err, want)
		}
	}
}

// TestNotation checks that each lab of the catalogue is the one that its
// notation describes.
func TestNotation(t *testing.T) {
	for _, want := range Catalogue() {
		got, err := ParseSpec(want.Notation())
		if err != nil {
			t.Errorf("%s: %v", want.Name, err)
			continue
		}
		got.Name, got.Summary = want.Name, want.Summary
		want.NATs = defaulted(want.NATs)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s from its notation %s (-want +got):\n%s", want.Name, want.Notation(), diff)
		}
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, spec := range Catalogue() {
		f.Add(spec.Notation())
	}
	for _, text := range []string{
		"nat:30s/120s,loss=5", "nat:1m,strict,ports=random+firewall,family=ipv6", "open,loss=0.000001%",
		"nat,filtering=address-dependent+firewall,filtering=endpoint-independent",
		"nat,endpoint-independent,outbound-only,sweep=4s,table=9,block=3,pool=2", "nat,dns=3s,port=53,emulated", "nat:/,=,+",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec, err := ParseSpec(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "lab ") {
				t.Errorf("ParseSpec(%q): the error %q doesn't say what it is about", text, err)
			}
			return
		}
		if err := spec.Validate(); err != nil {
			t.Errorf("ParseSpec(%q) = %+v, which doesn't validate: %v", text, spec, err)
		}
		again, err := ParseSpec(spec.Notation())
		if diff := cmp.Diff(spec, again); err != nil || diff != "" {
			t.Errorf("ParseSpec(%q) has the notation %q, which is another lab (%v):\n%s", text, spec.Notation(), err, diff)
		}
	})
}
