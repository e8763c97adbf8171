package probe

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/natprobe/natprobe/reflector/wire"
	"github.com/natprobe/natprobe/results"
)

// TestReadmeFacts compares the page on the method with the code.
func TestReadmeFacts(t *testing.T) {
	raw, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(raw)), " ") // however its lines are broken
	var known []string
	for _, timer := range knownTimers() {
		known = append(known, fmt.Sprintf("%.0f", timer.Seconds()))
	}
	last := len(known) - 1
	facts := []string{
		fmt.Sprintf("two packets out, %.1f s apart", openGap.Seconds()),
		fmt.Sprintf("within %.1f s", exchangeLimit.Seconds()),
		fmt.Sprintf("round trips over %.1f s or more, at least %d,", streamAge.Seconds(), streamReplies),
		fmt.Sprintf("spread over %.1f s", burstSpread.Seconds()),
		fmt.Sprintf("seen lately and %.2f s have passed", checkMargin.Seconds()),
		fmt.Sprintf("repeated up to %d times", checkTries),
		fmt.Sprintf("seen in the %.0f s around its order", rttWindow.Seconds()),
		fmt.Sprintf("from %d to %d with (%.1f *p*)^*n* ≤ 10⁻⁵", minCopies, maxCopies, lossMargin),
		fmt.Sprintf("silences of %.0f to %.0f s", sentinelMinGap.Seconds(), sentinelMaxGap.Seconds()),
		fmt.Sprintf("from %.0f s to %.0f min (`--min`, `--max`) in steps of %.2f s or %.1f %%",
			DefaultShortest.Seconds(), DefaultLongest.Minutes(), rungStep.Seconds(), 100*rungRatio),
		strings.Join(known[:last], ", ") + " and " + known[last] + " s",
		fmt.Sprintf("the last copy leaves %.2f s before; just over: the first %.1f s after",
			(justUnder - burstSpread).Seconds(), justOver.Seconds()),
		fmt.Sprintf("`oneway` has steps %.1f times as large", onewayCoarse),
		fmt.Sprintf("up to %d are held at a time (`--flows`), %d with `--gentle`", DefaultFlows, GentleFlows),
		fmt.Sprintf("leaves by about %.2f *g* + %.1f s", orderRatio, orderBy.Seconds()),
		fmt.Sprintf("at %d new flows a second", 10*(time.Second/pace/10)),
		fmt.Sprintf("narrow already: max(%.0f s, %.0f %%)", targetWidth.Seconds(), 100*targetRatio),
		fmt.Sprintf("silent for %.1f s and the largest RTT", outageAfter.Seconds()),
		fmt.Sprintf("timers more than %.0f s late", stallLimit.Seconds()),
		fmt.Sprintf("%d of %d new flows got nothing through", pressureLost, pressureWindow),
		fmt.Sprintf("its own round trips are %.2f s apart", streamHello.Seconds()),
		"22,741 of them (10,007 to 32,747)",
		fmt.Sprintf("(%d trials, and one in %d)", scarceReused, scarceShare),
		fmt.Sprintf("holds %d flows at most on a coarser ladder", GentleFlows),
	}
	if maxCopies != wire.MaxCopies || firstPort != 10_007 || portCount != 22_741 || confirmations != 2 ||
		decided != 2 || results.ConfirmingExpiries != 3 || sentinelCount != 6 || sentinelTenth != 10 || repeatRungs != 3 {
		t.Error("the page names these in words: change it and this test")
	}
	for _, r := range results.Regimes() {
		facts = append(facts, fmt.Sprintf("| `%s` | ", r))
	}
	for _, r := range []results.Reason{
		results.ReasonOrderLost, results.ReasonSetupLost, results.ReasonBurstUnconfirmed, results.ReasonLateCopy,
		results.ReasonCheckFailed, results.ReasonDuplicated, results.ReasonNATReboot, results.ReasonRestart,
		results.ReasonOutage, results.ReasonAddressChange, results.ReasonSuspend, results.ReasonRefused,
		results.ReasonLoss, results.ReasonDisputed, results.ReasonStray, results.ReasonReused,
		results.ReasonUnwitnessed, results.ReasonPressure, results.ReasonSocket, results.ReasonEarlier, results.ReasonReached,
	} {
		facts = append(facts, fmt.Sprintf("| `%s` |", r))
	}
	facts = append(facts, fmt.Sprintf("| `%s` (the outcome", results.ReasonPath))
	for _, fact := range facts {
		if !strings.Contains(page, fact) {
			t.Errorf("README.md doesn't say: %s", fact)
		}
	}
}
