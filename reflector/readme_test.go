package reflector

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// thousands writes a number as the guide does.
func thousands(n int) string {
	s := strconv.Itoa(n)
	if n >= 1000 {
		return s[:len(s)-3] + "," + s[len(s)-3:]
	}
	return s
}

// TestGuideTellsTheLimits compares the operator's guide with the code.
func TestGuideTellsTheLimits(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []string{
		fmt.Sprintf("| longest delay | %d min |", DefaultMaxDelay/time.Minute),
		fmt.Sprintf("| copies in a burst | %d |", DefaultMaxCopies),
		fmt.Sprintf("| orders pending | %s an address, %s a network |", thousands(DefaultPending), thousands(DefaultPending*prefixShare)),
		fmt.Sprintf("| packets received | %d/s an address; plain STUN %s/s a network |", DefaultPPS, thousands(DefaultPPS*networkRate)),
		fmt.Sprintf("| packets received without a token | besides, %d/s an address and %s/s a network |", DefaultPPS, thousands(DefaultPPS*networkRate)),
		fmt.Sprintf("for %d s makes room", sessionQuiet/time.Second),
		fmt.Sprintf("| packets due in any second | %d to an address, %d to a network |", DefaultSlotAddress, DefaultSlotPrefix),
		fmt.Sprintf("| orders in memory | %s,", thousands(DefaultOrders)),
		fmt.Sprintf("| sessions (running probers) | %s; %d an address, %d a network |",
			thousands(DefaultSessions), sessionsPerAddress, sessionsPerAddress*prefixShare),
		fmt.Sprintf("(default %d)", DefaultPPS),
		fmt.Sprintf("(%d minutes after they fall silent)", sessionIdle/time.Minute),
		fmt.Sprintf("(%d minute after the burst)", receiptLifetime/time.Minute),
	} {
		if !strings.Contains(string(page), row) {
			t.Errorf("README.md doesn't say: %s", row)
		}
	}
}

// TestSecurityPageNamesTests: each test that SECURITY.md relies on is there.
func TestSecurityPageNamesTests(t *testing.T) {
	page, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, pattern := range []string{"*_test.go", "wire/*_test.go", "../cmd/natprobe/*_test.go", "../probe/*_test.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			code.Write(text)
		}
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z]+)`").FindAllStringSubmatch(string(page), -1)
	if len(names) < 20 {
		t.Errorf("SECURITY.md names %d tests", len(names))
	}
	for _, name := range names {
		if !strings.Contains(code.String(), "\nfunc "+name[1]+"(") {
			t.Errorf("there is no %s", name[1])
		}
	}
}
