package wire

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rows returns the cells of the table in PROTOCOL.md that begins with a header.
func rows(t *testing.T, header string) (table [][]string) {
	t.Helper()
	page, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "\n| "+header+" |")
	if !ok {
		t.Fatalf("PROTOCOL.md has no table that begins with %q", header)
	}
	for i, line := range strings.Split(rest, "\n") {
		switch {
		case i < 2: // the rest of the header, and the line below it
		case !strings.HasPrefix(line, "|"):
			return table
		default:
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			table = append(table, cells)
		}
	}
	return table
}

// columns returns some columns of a table as one line each.
func columns(table [][]string, which ...int) (lines []string) {
	for _, cells := range table {
		var picked []string
		for _, i := range which {
			picked = append(picked, cells[i])
		}
		lines = append(lines, strings.Join(picked, " "))
	}
	return lines
}

// TestProtocolAttributes reads the attributes from the source, so that a new one
// can't be left out of the page.
func TestProtocolAttributes(t *testing.T) {
	sizes := map[string]string{
		"NP-MESSAGE": "4", "NP-SESSION": "12", "NP-TOKEN": strconv.Itoa(TokenSize), "NP-ORDER": "8",
		"NP-QUERY": "12 n", "NP-RECEIPTS": strconv.Itoa(receiptSize) + " n", "NP-BOOT": strconv.Itoa(len(BootID{})),
		"NP-LIMITS": strconv.Itoa(limitsSize), "NP-BURST": "8", "NP-BEACON": "8", "NP-LIMIT": "8", "NP-COUNT": "8", "NP-PADDING": "any",
		"NP-MAC": strconv.Itoa(macSize),
	}
	file, err := parser.ParseFile(gotoken.NewFileSet(), "codec.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "attr") {
			return true
		}
		if number, ok := spec.Values[0].(*ast.BasicLit); ok && spec.Names[0].Name != "attributeHeader" {
			name := "NP-" + strings.ToUpper(strings.TrimPrefix(spec.Names[0].Name, "attr"))
			want = append(want, number.Value+" "+name+" "+sizes[name])
		}
		return true
	})
	if len(want) != len(sizes) {
		t.Errorf("%d attributes in codec.go, %d sizes in this test", len(want), len(sizes))
	}
	if diff := cmp.Diff(want, columns(rows(t, "number"), 0, 1, 2)); diff != "" {
		t.Errorf("attributes (-code +page):\n%s", diff)
	}
}

// TestProtocolMessages looks into each message for what the page says is there.
func TestProtocolMessages(t *testing.T) {
	names := map[uint16]string{
		0x0009: "ERROR-CODE", 0x0020: "XOR-MAPPED-ADDRESS",
		uint16(attrMessage): "NP-MESSAGE", uint16(attrSession): "NP-SESSION", uint16(attrToken): "NP-TOKEN", uint16(attrOrder): "NP-ORDER",
		uint16(attrQuery): "NP-QUERY", uint16(attrReceipts): "NP-RECEIPTS", uint16(attrBoot): "NP-BOOT", uint16(attrLimits): "NP-LIMITS",
		uint16(attrBurst): "NP-BURST", uint16(attrBeacon): "NP-BEACON", uint16(attrLimit): "NP-LIMIT", uint16(attrCount): "NP-COUNT",
		uint16(attrPadding): "NP-PADDING",
	}
	requests, replies := sampleRequests(), sampleReplies()
	messages := [][]byte{
		encodeRequest(requests["hello with a token"]), encodeReply(replies["hello"]),
		encodeRequest(requests["check with a token"]), encodeReply(replies["check"]),
		encodeRequest(requests["order"]),
		encodeRequest(requests["query for orders"]), encodeReply(replies["query with receipts"]),
		encodeReply(replies["refusal of an order"]), encodeReply(replies["burst"]), encodeReply(replies["beacon"]),
	}
	table := rows(t, "message")
	if len(table) != len(messages) {
		t.Fatalf("%d messages on the page, %d in this test", len(table), len(messages))
	}
	for i, b := range messages {
		m, err := decode(b)
		if err != nil {
			t.Fatal(err)
		}
		k := "–"
		if v, err := m.Get(attrMessage); err == nil {
			k = strconv.Itoa(int(v[1]))
		}
		if table[i][0] == "Refusal" {
			k = "of its request"
		}
		if got, want := table[i][1]+", kind "+table[i][2], m.Type.Class.String()+", kind "+k; got != want {
			t.Errorf("%s: the page says %s, it is %s", table[i][0], got, want)
		}
		for _, a := range m.Attributes {
			if name := names[uint16(a.Type)]; !strings.Contains(table[i][3]+",", name+",") && !strings.Contains(table[i][3], name+" (") {
				t.Errorf("%s: the page doesn't list %s", table[i][0], name)
			}
		}
		if want := strings.Count(table[i][3], "NP-") + strings.Count(table[i][3], "XOR-") + strings.Count(table[i][3], "ERROR-"); len(m.Attributes) != want {
			t.Errorf("%s has %d attributes, the page lists %d", table[i][0], len(m.Attributes), want)
		}
	}
}

func TestProtocolErrors(t *testing.T) {
	var codes, limits []string
	for _, c := range []Code{CodeBadRequest, CodeUnknownAttribute, CodeUnknownSession, CodeStaleToken, CodeQuota, CodeCapacity} {
		codes = append(codes, strconv.Itoa(int(c)))
	}
	if diff := cmp.Diff(codes, columns(rows(t, "code"), 0)); diff != "" {
		t.Errorf("codes (-code +page):\n%s", diff)
	}
	for k := LimitNone + 1; int(k) < len(limitNames); k++ {
		limits = append(limits, strconv.Itoa(int(k))+" "+k.String())
	}
	if diff := cmp.Diff(limits, columns(rows(t, "limit"), 0, 1)); diff != "" {
		t.Errorf("limits (-code +page):\n%s", diff)
	}
}

func TestProtocolSizes(t *testing.T) {
	line := func(name string, request []byte, over4, over6 Reply) string {
		fields := []string{name, strconv.Itoa(len(request))}
		for _, r := range []Reply{over4, over6} {
			if r == nil {
				fields = append(fields, "–")
				continue
			}
			fields = append(fields, strconv.Itoa(len(encodeReply(r))))
		}
		return strings.Join(fields, " ")
	}
	queries := func(n int) ([]byte, Reply, Reply) {
		receipts := make([]Receipt, n)
		return Query{Orders: make([]ID, n)}.Encode(), QueryReply{Mapped: from4, Receipts: receipts}, QueryReply{Mapped: from6, Receipts: receipts}
	}
	none, none4, none6 := queries(0)
	one, one4, one6 := queries(1)
	all, all4, all6 := queries(MaxQueryIDs)
	want := []string{
		line("Hello", Hello{}.Encode(), HelloReply{Mapped: from4}, HelloReply{Mapped: from6}),
		line("Check", Check{}.Encode(), CheckReply{Mapped: from4}, CheckReply{Mapped: from6}),
		line("Order", Order{Tokens: make([]Token, 1), Copies: 1}.Encode(), nil, nil),
		line("Query", none, none4, none6),
		line("Query for 1 order", one, one4, one6),
		line("Query for 16 orders", all, all4, all6),
	}
	if diff := cmp.Diff(want, columns(rows(t, "request"), 0, 1, 2, 3)); diff != "" {
		t.Errorf("sizes (-code +page):\n%s", diff)
	}
	page, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	refusals := "The largest refusal has " + strconv.Itoa(largestRefusal(KindOrder, true)) + " with a token and " +
		strconv.Itoa(largestRefusal(KindOrder, false)) + " without. Burst and Beacon have " + strconv.Itoa(CopySize) + "."
	if !strings.Contains(string(page), refusals) {
		t.Errorf("the page doesn't say: %s", refusals)
	}
}
