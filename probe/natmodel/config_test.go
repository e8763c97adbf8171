package natmodel

import (
	"net/netip"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	good := func() Config {
		c := Linux(30*sec, 120*sec)
		c.External = []netip.Addr{wan1}
		return c
	}
	tests := []struct {
		name   string
		change func(*Config)
		want   []string // parts of the message; none: valid
	}{
		{"preset", func(*Config) {}, nil},
		{"firewall", func(c *Config) { *c = Firewall(sec) }, nil},
		{"no addresses", func(c *Config) { c.External = nil }, []string{"External is empty"}},
		{"mixed pool", func(c *Config) { c.External = append(c.External, netip.MustParseAddr("::1")) }, []string{"External[1] is ::1", "IP version"}},
		{"address twice", func(c *Config) { c.External = append(c.External, wan1) }, []string{"External[1]", "once"}},
		{"mapped address", func(c *Config) { c.External[0] = netip.MustParseAddr("::ffff:1.2.3.4") }, []string{"External[0]", "plain"}},
		{"no timers", func(c *Config) { c.Timers = Timers{} }, []string{"Timers.Solitary is 0s", "Timers.Oneway", "Timers.Exchange", "Timers.Stream"}},
		{"negative timer", func(c *Config) { c.Timers.Stream = -sec }, []string{"Timers.Stream is -1s, want more than 0"}},
		{"stream after", func(c *Config) { c.StreamAfter = -1 }, []string{"StreamAfter is -1ns"}},
		{"sweep", func(c *Config) { c.Sweep = -1 }, []string{"Sweep is -1ns"}},
		{"max mappings", func(c *Config) { c.MaxMappings = -1 }, []string{"MaxMappings is -1"}},
		{"port range", func(c *Config) { c.MinPort, c.MaxPort = 2000, 1999 }, []string{"MinPort is 2000", "MaxPort 1999"}},
		{"mapping", func(c *Config) { c.Mapping = 7 }, []string{"Mapping is 7", "endpoint-independent"}},
		{"filtering", func(c *Config) { c.Filtering = -1 }, []string{"Filtering is -1"}},
		{"ports", func(c *Config) { c.Ports = 9 }, []string{"Ports is 9"}},
		{"pooling", func(c *Config) { c.Pooling = 9 }, []string{"Pooling is 9"}},
		{"full", func(c *Config) { c.Full = 9 }, []string{"Full is 9"}},
		{"wan input", func(c *Config) { c.WANInput = 9 }, []string{"WANInput is 9"}},
		{"overlap needs dependent mapping", func(c *Config) { c.Mapping = EndpointIndependent }, []string{"PortOverlap", "Mapping"}},
		{"overlap needs strict filtering", func(c *Config) { c.Filtering = AddressDependent }, []string{"PortOverlap", "Filtering"}},
		{"firewall that accepts", func(c *Config) { c.NoTranslation = true }, []string{"WANInput is accept"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := good()
			tt.change(&c)
			err := c.Validate()
			if len(tt.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("Validate found nothing wrong")
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("message %q lacks %q", err, part)
				}
			}
			if _, err := New(c); err == nil {
				t.Error("New took a config that Validate refuses")
			}
		})
	}
}

func TestWordsOfRFC4787(t *testing.T) {
	for want, got := range map[string]interface{ String() string }{
		"endpoint-independent":       EndpointIndependent,
		"address-dependent":          AddressDependent,
		"address-and-port-dependent": AddressAndPortDependent,
		"paired":                     Paired,
		"arbitrary":                  Arbitrary,
		"preserve":                   Preserve,
		"random":                     Random,
		"sequential":                 Sequential,
		"accept":                     Accept,
		"drop":                       Drop,
		"refuse-new":                 RefuseNew,
		"evict-unreplied":            EvictUnreplied,
		"Dependence(9)":              Dependence(9),
	} {
		if got.String() != want {
			t.Errorf("%T is called %q, want %q", got, got, want)
		}
	}
}
