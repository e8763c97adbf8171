package main_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/natprobe/natprobe/reflector/wire"
)

// The bench of pending orders: make bench-reflector.
const (
	// ordersEach is how many orders an address has pending: below what one may
	// have, so that a million takes a thousand addresses.
	ordersEach = 1000
	// ordersWatched is for how long lateness is measured once the first is due.
	ordersWatched = 30 * time.Second
	ordersSpread  = 500 * time.Millisecond
	// ordersRate is how many orders a second can be placed without haste.
	ordersRate = 8000
)

// BenchmarkReflectorOrders fills the reflector with orders while plain requests
// come in at half of what it can answer, and prints how much memory it takes and
// how late the bursts leave, as a table in Markdown.
func BenchmarkReflectorOrders(b *testing.B) {
	dir := b.TempDir()
	buildBench(b, dir, "load", "sleep")
	natprobe := filepath.Join(dir, "natprobe")
	if output, err := goBuild("-o", natprobe, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, output)
	}
	var table strings.Builder
	table.WriteString("| orders | resident, MiB | plain requests/s | who | times | late by, median, µs | 99 %, µs | 99.9 %, µs | at most, µs |\n")
	table.WriteString("|--:|--:|--:|---|--:|--:|--:|--:|--:|\n")
	for b.Loop() {
		for _, orders := range ordersPending {
			table.WriteString(benchOrders(b, dir, orders))
		}
	}
	fmt.Printf("\n%s\n", table.String())
}

// ordersPending are the rows of the table.
var ordersPending = []int{10_000, 100_000, 1_000_000}

// benchOrders returns the rows of the table: the reflector's, and beside it that
// of a C program which only sleeps until a moment has come.
func benchOrders(b *testing.B, dir string, orders int) string {
	port := freePorts(b, 1)[0]
	load := filepath.Join(dir, "load")
	s := startBench(b, "natprobe", port, exec.Command(filepath.Join(dir, "natprobe"), "reflector",
		"--listen", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), "--limit-pps", "1000000", "--limit-orders", strconv.Itoa(orders*4/3+60*ordersEach))) // IPv4 may have three quarters, and the last network finds room, too
	s.measure(b, load, "0")
	half := int(s.rate["0"][0] / 2)

	c := newOrderClient(b, port)
	defer c.close()
	// All orders are there before the first is due, and nearly all of a million
	// still are when the watch ends.
	c.soonest = 5*time.Second + time.Duration(orders)*time.Second/ordersRate
	// In less time an address's departures would be more than one may have.
	c.latest = min(c.soonest+max(300*time.Second, ordersWatched*time.Duration(orders/50_000)), 10*time.Minute)
	for i := 0; i*ordersEach < orders; i++ {
		c.place(b, netip.AddrFrom4([4]byte{127, byte(i), byte(1 + i>>8), 1}), ordersEach) // all over loopback's regions
	}
	c.await(b, orders)
	seconds := strconv.Itoa(int((time.Until(c.first) + ordersWatched).Seconds()))
	sleeper := make(chan []byte, 1)
	go func() {
		output, _ := exec.Command(filepath.Join(dir, "sleep"), seconds).Output() // an empty one is told below
		sleeper <- output
	}()
	output, err := exec.Command(load, strconv.Itoa(port), seconds, strconv.Itoa(half)).Output()
	if err != nil {
		b.Fatal(err)
	}
	var sent, answered, elapsed float64
	if _, err := fmt.Sscan(string(output), &sent, &answered, &elapsed); err != nil {
		b.Fatalf("the load generator says %q: %v", output, err)
	}
	var slept [4]int
	if output := <-sleeper; true {
		if _, err := fmt.Sscan(string(output), &slept[0], &slept[1], &slept[2], &slept[3]); err != nil {
			b.Fatalf("the sleeper says %q: %v", output, err)
		}
	}
	late := c.lateness()
	if len(late) == 0 {
		b.Fatal("no burst came")
	}
	at := func(share float64) int64 { return late[int(share*float64(len(late)-1))].Microseconds() }
	if orders == 1_000_000 {
		b.ReportMetric(resident(b, s.pid), "MiB")
		b.ReportMetric(float64(at(0.99)), "µs-late-p99")
	}
	return fmt.Sprintf("| %d | %.0f | %.0f | natprobe | %d | %d | %d | %d | %d |\n| | | | C sleep | %s,000 | %d | %d | %d | %d |\n",
		orders, resident(b, s.pid), answered/elapsed, len(late), at(0.5), at(0.99), at(0.999), at(1),
		seconds, slept[0], slept[1], slept[2], slept[3])
}

// resident returns the most memory that a process has had, in MiB.
func resident(b testing.TB, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}

// orderClient is many addresses' worth of probers on one socket.
type orderClient struct {
	conn            *ipv4.PacketConn
	to              net.Addr
	random          *rand.Rand
	soonest, latest time.Duration // the range of delays
	first           time.Time     // when the first burst is due
	stop            context.CancelFunc
	done            sync.WaitGroup

	mu      sync.Mutex
	delays  map[wire.ID]time.Duration
	late    []time.Duration
	replies chan wire.Reply
}

func newOrderClient(b *testing.B, port int) *orderClient {
	b.Helper()
	conn, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		b.Fatal(err)
	}
	_ = conn.(*net.UDPConn).SetReadBuffer(8 << 20) // what the system grants
	ctx, stop := context.WithCancel(context.Background())
	c := &orderClient{
		conn: ipv4.NewPacketConn(conn), to: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}, random: rand.New(rand.NewPCG(1, 1)),
		stop: stop, delays: make(map[wire.ID]time.Duration), replies: make(chan wire.Reply, 100),
	}
	c.done.Go(func() { c.read(ctx) })
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return c
}

func (c *orderClient) close() {
	c.stop()
	c.done.Wait()
}

// read takes what comes until the socket is closed.
func (c *orderClient) read(ctx context.Context) {
	buffer := make([]byte, 2048)
	for {
		n, _, _, err := c.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		reply, err := wire.ParseReply(buffer[:n])
		if err != nil {
			continue
		}
		switch r := reply.(type) {
		case wire.Burst:
			c.mu.Lock()
			if delay, ok := c.delays[r.ID]; ok {
				c.late = append(c.late, r.Gap-delay-ordersSpread*time.Duration(r.Index)/time.Duration(r.Of-1))
			}
			c.mu.Unlock()
		case wire.Beacon:
		default:
			select {
			case c.replies <- reply:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (c *orderClient) send(b *testing.B, from netip.Addr, payload []byte) {
	b.Helper()
	if _, err := c.conn.WriteTo(payload, &ipv4.ControlMessage{Src: from.AsSlice()}, c.to); err != nil {
		b.Fatal(err)
	}
}

// ask sends a request until it is answered.
func (c *orderClient) ask(b *testing.B, from netip.Addr, payload []byte) wire.Reply {
	b.Helper()
	for range 20 {
		c.send(b, from, payload)
		select {
		case reply := <-c.replies:
			return reply
		case <-time.After(time.Second):
		}
	}
	b.Fatal("no answer")
	return nil
}

// place places an address's orders, and sees that all arrive.
func (c *orderClient) place(b *testing.B, from netip.Addr, count int) {
	b.Helper()
	hello, ok := c.ask(b, from, wire.Hello{ID: wire.NewID()}.Encode()).(wire.HelloReply)
	if !ok {
		b.Fatal("no hello")
	}
	session, seq := wire.NewSessionID(), uint32(0)
	query := func(ids []wire.ID) []wire.Receipt {
		seq++
		got := c.ask(b, from, wire.Query{ID: wire.NewID(), Session: session, Token: hello.Token, Seq: seq, Orders: ids}.Encode())
		reply, ok := got.(wire.QueryReply)
		if !ok {
			b.Fatalf("instead of receipts: %+v", got)
		}
		return reply.Receipts
	}
	query(nil)
	const chunk = 100 // few enough for the socket's buffer
	for done := 0; done < count; done += chunk {
		requests := make(map[wire.ID][]byte, chunk)
		for range chunk {
			delay := c.soonest + time.Duration(c.random.Int64N(int64(c.latest-c.soonest))).Truncate(time.Millisecond)
			o := wire.Order{ID: wire.NewID(), Session: session, Tokens: []wire.Token{hello.Token}, Delay: delay, Spread: ordersSpread, Copies: 3}
			o.Size = wire.OrderSize(o.Copies, true, false)
			requests[o.ID] = o.Encode()
			c.mu.Lock()
			c.delays[o.ID] = delay
			c.mu.Unlock()
			if c.first.IsZero() {
				c.first = time.Now().Add(c.soonest)
			}
			c.send(b, from, requests[o.ID])
		}
		for len(requests) > 0 { // what was lost is sent again
			ids := make([]wire.ID, 0, wire.MaxQueryIDs)
			for id := range requests {
				if ids = append(ids, id); len(ids) == wire.MaxQueryIDs {
					break
				}
			}
			for _, receipt := range query(ids) {
				if receipt.State == wire.StateUnknown {
					c.send(b, from, requests[receipt.ID])
					continue
				}
				delete(requests, receipt.ID)
			}
		}
	}
}

// await sees that all orders were placed in time.
func (c *orderClient) await(b *testing.B, orders int) {
	b.Helper()
	if wait := time.Until(c.first); wait < 0 {
		b.Logf("placing %d orders took %v longer than the shortest delay", orders, -wait)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = nil
}

// lateness returns how late each burst left, sorted.
func (c *orderClient) lateness() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.late))
}
