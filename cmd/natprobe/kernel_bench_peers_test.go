//go:build linux

package main_test

import (
	"flag"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/probe"
	"github.com/natprobe/natprobe/probe/natlab"
	"github.com/natprobe/natprobe/results"
)

var benchPeers = flag.Bool("bench-peers", false, "run TestBenchPeers: coturn's client by bisection, for about a quarter of an hour")

// Where coturn listens, beside the lab's reflector.
const (
	coturnPort          = 4478
	coturnAlternatePort = 4479
)

// bisectFrom is the longest lifetime that the bisection expects: natprobe's own.
const bisectFrom = probe.DefaultLongest

// TestBenchPeers finds the lifetime in labs with coturn's turnutils_natdiscovery,
// against coturn, by bisection to 1 s, and with natprobe. It prints a table in
// Markdown.
func TestBenchPeers(t *testing.T) {
	if !*benchPeers {
		t.Skip("SKIPPED: it takes a quarter of an hour; make bench-peers runs it")
	}
	client, server := coturnTool(t, "turnutils_natdiscovery"), coturnTool(t, "turnserver")
	var specs []natlab.Spec
	for _, name := range []string{"fast", "linux-default", "openwrt"} {
		for _, loss := range []float64{0, 0.1} {
			spec, err := natlab.Find(name)
			if err != nil {
				t.Fatal(err)
			}
			spec.Loss = loss
			specs = append(specs, spec)
		}
	}
	type row struct {
		record      *results.Record
		lives, gone int // s, by coturn's client
		runs        int
		took        time.Duration
	}
	rows := make([]row, len(specs))
	t.Run("labs", func(t *testing.T) {
		for i, spec := range specs {
			t.Run(fmt.Sprintf("%s, %.0f %% loss", spec.Name, 100*spec.Loss), func(t *testing.T) {
				t.Parallel()
				n := startKernelNet(t, spec)
				startCoturn(n, server)
				begun := time.Now()
				rows[i].lives, rows[i].gone, rows[i].runs = n.bisect(client)
				rows[i].took = time.Since(begun)
				rows[i].record = n.measure(probe.Config{}, nil)
			})
		}
	})
	if t.Failed() {
		return
	}
	var table strings.Builder
	table.WriteString("| lab | loss | timers, s | coturn's client says, s | runs | took, s | natprobe says: exchange, s | stream, s | took, s |\n")
	table.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for i, spec := range specs {
		row, truth := rows[i], truthsOf(spec)
		fmt.Fprintf(&table, "| %s | %.0f %% | %.0f / %.0f | %d–%d | %d | %.0f ", spec.Name, 100*spec.Loss,
			truth[results.Exchange].Seconds(), truth[results.Stream].Seconds(), row.lives, row.gone, row.runs, row.took.Seconds())
		for _, l := range row.record.Lifetimes {
			if l.Regime == results.Exchange || l.Regime == results.Stream {
				fmt.Fprintf(&table, "| %s ", bracketText(l))
			}
		}
		fmt.Fprintf(&table, "| %.0f |\n", row.record.Effort.ElapsedS)
		if err := truth.wrong(row.record); err != nil {
			t.Errorf("%s, %.0f %% loss: %v\n%s", spec.Name, 100*spec.Loss, err, story(row.record))
		}
	}
	fmt.Printf("\n%s\n", table.String())
}

// startCoturn runs coturn on the lab's server, with a second address as RFC 5780
// wants it.
func startCoturn(n *kernelNet, server string) {
	alternate := n.ServerAddr().Next().Next()
	addServerAddr(n.t, n, alternate)
	p := startProgram(n.t, n.StartServer, server, "-n", "-S", "--no-cli", "--no-tls", "--no-dtls", "--log-file", "stdout", "--pidfile", "",
		"-L", n.ServerAddr().String(), "-L", alternate.String(),
		"--listening-port", strconv.Itoa(coturnPort), "--alt-listening-port", strconv.Itoa(coturnAlternatePort))
	poll(n.t, "coturn serves", func() bool {
		select {
		case <-p.done:
			n.t.Fatalf("coturn ended:\n%s", p.output())
		default:
		}
		return strings.Contains(p.output(), "Total General servers")
	})
}

// bisect asks coturn's client whether a mapping lives for some seconds, again and
// again, until it is known to a second: it lived, and was gone, after so many. They
// are further apart where loss kept the bisection from ending.
//
// For each silence the client sends one request from a new socket, gets one answer,
// and after the silence has the server send a second answer there by a request from
// another socket (RESPONSE-PORT). That is the exchange regime but for its last
// packet out, and nothing like a stream.
func (n *kernelNet) bisect(client string) (lives, gone, runs int) {
	n.t.Helper()
	gone = int(bisectFrom.Seconds())
	for gone-lives > 1 {
		wait := (lives + gone) / 2
		cmd := exec.Command(client, "-t", "-T", strconv.Itoa(wait), "-p", strconv.Itoa(coturnPort), n.ServerAddr().String())
		said, _ := n.outputOf(cmd, time.Duration(wait)*time.Second+stunPatience)
		runs++
		// The second answer is the one that came through the first mapping.
		switch answers := strings.Count(said, "RFC 5780 response"); answers {
		case 2:
			lives = wait
		case 1:
			gone = wait
		default: // not even the first: loss took it, and nobody would count that
			if n.Spec().Loss == 0 {
				n.t.Fatalf("%v says:\n%s", cmd, said)
			}
		}
		if runs == maxBisections {
			break
		}
	}
	return lives, gone, runs
}

// maxBisections ends a bisection that loss keeps from ending.
const maxBisections = 30
