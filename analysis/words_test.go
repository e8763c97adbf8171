package analysis

import "testing"

// TestReason has the sentences that people read.
func TestReason(t *testing.T) {
	one, two := 1, 2
	for _, tt := range []struct {
		in   Input
		want string
	}{
		{
			with(timers(30, 30, 120), func(in *Input) { in.NATLevels = &one }),
			"Your NAT keeps a tunnel that just shook hands open for about 30 s, and one that has carried traffic for about 120 s: " +
				"PersistentKeepalive = 25 renews it in time, even when 3 keepalives in a row are lost.",
		},
		{
			with(timers(60, 60, 60.5), func(in *Input) { in.Attested = false }),
			"The path to the reflector keeps an idle tunnel open for about 60 s: " +
				"PersistentKeepalive = 26 renews it in time, even when a keepalive is lost.",
		},
		{
			with(timers(60, 60, 60.5), func(in *Input) { in.NATLevels = &two }),
			"The shortest of your 2 NATs keeps an idle tunnel open for about 60 s: " +
				"PersistentKeepalive = 26 renews it in time, even when a keepalive is lost.",
		},
		{
			with(timers(0, 0, 0), func(in *Input) {
				in.Exchange, in.Stream = proven(358.79), proven(359)
				in.Mapping = "none"
			}),
			"The firewall on your path keeps an idle tunnel open for at least 358 s: " +
				"PersistentKeepalive = 119 renews it in time, even when a keepalive is lost, and a longer interval would save nothing.",
		},
		{
			with(timers(60, 29.57, 0), func(in *Input) {
				upper := 142.2
				in.Stream = Bounds{119.01, &upper}
				in.Mapping = ""
			}),
			"Your path keeps a tunnel that just shook hands open for about 29.5 s, and one that has carried traffic for 119 to 143 s: " +
				"PersistentKeepalive = 25 renews it in time, even when 3 keepalives in a row are lost.",
		},
		{
			Input{},
			"No interval is proven to hold: how long a tunnel just after its handshake stays open was not measured, and " +
				"how long a tunnel that has carried traffic stays open was not measured, and the loss of the path was not measured. " +
				"Until one is proven, use the usual 25 s.",
		},
		{
			with(timers(30, 30, 10), func(in *Input) { in.Exchange = Bounds{} }),
			"No interval is proven to hold: how long a tunnel just after its handshake stays open was not measured. " +
				"Until one is proven, use 3 s, the longest interval that this measurement leaves possible.",
		},
		{
			timers(2, 2, 2),
			"No interval is proven to hold: a keepalive each second would need 2.2 s, and only 2 s are proven for a tunnel " +
				"just after its handshake. Until one is proven, use 1 s, the shortest interval there is.",
		},
	} {
		if got := Recommend(tt.in).Reason; got != tt.want {
			t.Errorf("Reason:\n got %s\nwant %s", got, tt.want)
		}
	}
}

func TestBasis(t *testing.T) {
	for _, tt := range []struct {
		in   Input
		want string
	}{
		{timers(30, 30, 120), "exchange: 1.13 × 25 s + 1.04 s ≤ 30 s"},
		{timers(30, 30, 30), "stream: 2 × 1.13 × 12 s + 1.04 s ≤ 30 s"},
		{timers(300, 300, 300), "rekey: from 120 s each keepalive brings a handshake, and more packets"},
		{with(timers(30, 30, 60), func(in *Input) { in.Tolerance.Losses, in.Tolerance.Unreachable = 1, 1e-5 }),
			"reachability: unreachable for at most 0.001 % of the time"},
	} {
		if got := Recommend(tt.in).Basis; got != tt.want {
			t.Errorf("Basis %q, want %q", got, tt.want)
		}
	}
}
