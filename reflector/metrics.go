package reflector

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/natprobe/natprobe/reflector/wire"
)

// namespace begins the name of every metric.
const namespace = "natprobe_reflector"

// Collector tells a Reflector's statistics to Prometheus. The sets of labels are
// closed: no client can add to them.
type Collector struct {
	reflector *Reflector

	requests, limits, received, receivedBytes, dropped, sent, sentBytes *prometheus.Desc
	copies, beacons, lateness, writeErrors                              *prometheus.Desc
	pending, remembered, sessions, maxOrders, maxSessions               *prometheus.Desc
}

// NewCollector returns a collector to register.
func NewCollector(r *Reflector) *Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
	}
	return &Collector{
		reflector:     r,
		requests:      desc("requests_total", "Datagrams that came in, by what they were and what became of them.", "kind", "result"),
		limits:        desc("limit_refusals_total", "Requests that met a limit, by limit.", "limit"),
		received:      desc("received_packets_total", "Datagrams that came in."),
		receivedBytes: desc("received_bytes_total", "Bytes that came in, IP and UDP headers counted."),
		dropped:       desc("receive_drops_total", "Datagrams that the system dropped as a socket's buffer was full (Linux)."),
		sent:          desc("sent_packets_total", "Datagrams that left."),
		sentBytes:     desc("sent_bytes_total", "Bytes that left, IP and UDP headers counted."),
		copies:        desc("burst_copies_total", "Copies of bursts that were due, by whether they left.", "result"),
		beacons:       desc("beacons_total", "Beacons that were due, by whether credit and slots let them leave.", "result"),
		lateness:      desc("burst_lateness_seconds", "How much later than due copies left."),
		writeErrors:   desc("write_errors_total", "Answers and beacons that a socket refused."),
		pending:       desc("orders_pending", "Orders whose burst is due."),
		remembered:    desc("orders_remembered", "Orders whose burst has left and whose receipt is kept."),
		sessions:      desc("sessions", "Running measurements."),
		maxOrders:     desc("orders_limit", "Orders, pending and remembered, that there is room for."),
		maxSessions:   desc("sessions_limit", "Sessions that there is room for."),
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.reflector.Stats()
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	for _, row := range s.requests() {
		counter(c.requests, row.count, row.kind, row.result)
	}
	for l := wire.LimitNone + 1; l <= wire.LimitPayment; l++ {
		counter(c.limits, s.RefusedLimit[l], l.String())
	}
	counter(c.limits, s.PlainLimited, "plain rate")
	counter(c.received, s.Received)
	counter(c.receivedBytes, s.BytesIn)
	counter(c.dropped, s.Dropped)
	counter(c.sent, s.PacketsOut)
	counter(c.sentBytes, s.BytesOut)
	counter(c.copies, s.Copies, "sent")
	counter(c.copies, s.CopiesFailed, "failed")
	counter(c.beacons, s.Beacons, "sent")
	counter(c.beacons, s.BeaconsUnpaid, "unpaid")
	counter(c.writeErrors, s.WriteErrors)
	buckets, below := make(map[float64]uint64, len(s.Lateness.Upper)), uint64(0)
	for i, upper := range s.Lateness.Upper {
		below += s.Lateness.Count[i]
		buckets[upper.Seconds()] = below
	}
	ch <- prometheus.MustNewConstHistogram(c.lateness, s.Lateness.Total, s.Lateness.Sum.Seconds(), buckets)
	gauge(c.pending, s.Pending)
	gauge(c.remembered, s.Remembered)
	gauge(c.sessions, s.Sessions)
	gauge(c.maxOrders, c.reflector.core.limits.Orders)
	gauge(c.maxSessions, c.reflector.core.limits.Sessions)
}

// requestCount is how many datagrams of a kind had a result.
type requestCount struct {
	kind, result string
	count        uint64
}

// requests sorts the datagrams by kind and result. They add up to Received, and
// each only grows.
func (s Stats) requests() []requestCount {
	rows := []requestCount{
		{"foreign", "dropped", s.Foreign},
		{"malformed", "refused", s.Malformed},
		{"unknown", "refused", s.Unknown},
		{"plain", "answered", s.PlainAnswered},
		{"plain", "refused", s.PlainRefused},
		{"plain", "dropped", s.PlainSilent},
		{"order", "accepted", s.Accepted},
		{"order", "duplicate", s.Duplicates},
		{"order", "refused", s.RefusedKind[wire.KindOrder]},
	}
	for _, kind := range []struct {
		kind  wire.Kind
		name  string
		count uint64
	}{{wire.KindHello, "hello", s.Hellos}, {wire.KindCheck, "check", s.Checks}, {wire.KindQuery, "query", s.Queries}} {
		refused := s.RefusedKind[kind.kind]
		rows = append(rows, requestCount{kind.name, "answered", kind.count - refused}, requestCount{kind.name, "refused", refused})
	}
	return rows
}
