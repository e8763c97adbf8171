package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func sampleLine(t testing.TB) string {
	t.Helper()
	b, err := json.Marshal(sampleRecord())
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func appendRecord(t *testing.T, path string, r Record) {
	t.Helper()
	w, err := OpenWriter(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Append(r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWriteAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	first, second := sampleRecord(), sampleRecord()
	second.ID = NewID()
	appendRecord(t, path, first)
	appendRecord(t, path, second)

	got, err := ReadRecordFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Record{first, second}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

// TestTornWrites tears a record at every length, as a crash would, appends
// another, and expects all but the torn one back.
func TestTornWrites(t *testing.T) {
	dir := t.TempDir()
	line := sampleLine(t)
	for n := 1; n <= len(line); n += 97 {
		path := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(path, []byte(line+"\n"+line[:n]), 0o600); err != nil {
			t.Fatal(err)
		}
		records, err := ReadRecordFile(path)
		if len(records) != 1 || !errors.Is(err, ErrTorn) {
			t.Fatalf("torn after %d bytes: %d records and error %v, want 1 and ErrTorn", n, len(records), err)
		}
		appendRecord(t, path, sampleRecord())
		records, err = ReadRecordFile(path)
		if len(records) != 2 || !errors.Is(err, ErrTorn) {
			t.Fatalf("torn after %d bytes and appended to: %d records and error %v, want 2 and ErrTorn", n, len(records), err)
		}
		var at *RecordError
		if !errors.As(err, &at) || at.Line != 2 || at.Name != path {
			t.Fatalf("error %v, want one about %s:2", err, path)
		}
	}
}

// TestLastLineWithoutEnd: a record that only lacks its end of line is whole.
func TestLastLineWithoutEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	if err := os.WriteFile(path, []byte(sampleLine(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	appendRecord(t, path, sampleRecord())
	if records, err := ReadRecordFile(path); err != nil || len(records) != 2 {
		t.Errorf("%d records and error %v, want 2 and none", len(records), err)
	}
}

func TestAppendRefusesBadRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.jsonl")
	w, err := OpenWriter(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, spoil := range []func(*Record){
		func(r *Record) { r.Lifetimes[0].LowerS = math.NaN() },
		func(r *Record) { r.Config["f"] = math.Inf(1) },
	} {
		r := sampleRecord()
		spoil(&r)
		if err := w.Append(r); err == nil {
			t.Error("Append accepted a record that has no JSON")
		}
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("after refusals the file has %v, error %v; want it empty", info, err)
	}
}

func TestOpenWriterError(t *testing.T) {
	if _, err := OpenWriter(filepath.Join(t.TempDir(), "no", "folder")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want os.ErrNotExist", err)
	}
}

func TestReaderNamesTheField(t *testing.T) {
	good := sampleLine(t)
	swap := func(was, is string) string {
		if !strings.Contains(good, was) {
			t.Fatalf("%s is not in the sample", was)
		}
		return strings.Replace(good, was, is, 1)
	}
	for _, tt := range []struct{ name, line, want string }{
		{"other schema", swap(`"natprobe.record/1"`, `"natprobe.record/2"`), `schema is "natprobe.record/2", not "natprobe.record/1"`},
		{"word for number", swap(`"gap_s":31`, `"gap_s":"long"`), "trials[1].gap_s is a JSON string, which does not fit float64"},
		{"fraction for count", swap(`"dst_port":3478`, `"dst_port":0.5`), "lifetimes[0].dst_port is a JSON number 0.5, which does not fit int"},
		{"number too large", swap(`"rtt_ms":12.5`, `"rtt_ms":1e999`), "reflector.rtt_ms is a JSON number 1e999, which does not fit float64"},
		{"list for object", swap(`"reflector":{`, `"reflector":[],"x":{`), "reflector is a JSON array, which does not fit results.Reflector"},
		{"broken time", swap(`"ended_at":"2026`, `"ended_at":"20x6`), "ended_at can't be read"},
		{"broken time in a trial", swap(`"remapped":true,"started_at":"2026`, `"remapped":true,"started_at":"20x6`), "trials[1].started_at can't be read"},
		{"null for list", swap(`"trials":[`, `"trials":null,"x":[`), "trials is not a list"},
		{"null for object", swap(`"loss":{`, `"loss":null,"x":{`), "loss is null, not an object"},
		{"null in a list", swap(`"trials":[`, `"trials":[null,`), "trials[0] is null, not an object"},
		{"out of range", swap(`"lower_s":29.5`, `"lower_s":-1`), "lifetimes[0].lower_s is -1, not between 0 and 604800"},
		{"NaN", swap(`"lower_s":29.5`, `"lower_s":NaN`), "not JSON at byte"},
		{"not JSON", "hello", "not JSON at byte 1"},
		{"JSON of no record", "[1]", "the record is a JSON array"},
		{"null", "null", "the record is null, not an object"},
		{"torn", good[:len(good)-5], "the line ends in the middle of its record"},
		{"too much", good + "}", "not JSON at byte"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := good + "\n\n" + tt.line + "\n" + good
			var records int
			var got []error
			for _, err := range NewReader(strings.NewReader(in), "f.jsonl").All() {
				if err != nil {
					got = append(got, err)
				} else {
					records++
				}
			}
			if records != 2 || len(got) != 1 {
				t.Fatalf("%d records and errors %v, want 2 and one error", records, got)
			}
			if want := "f.jsonl:3: " + tt.want; !strings.HasPrefix(got[0].Error(), want) {
				t.Errorf("error %q, want one that begins with %q", got[0], want)
			}
		})
	}
}

func TestReaderIgnoresUnknownKeys(t *testing.T) {
	line := strings.Replace(sampleLine(t), `{"schema"`, `{"future":{"a":[1]},"schema"`, 1)
	line = strings.Replace(line, `{"regime"`, `{"later":null,"regime"`, 1)
	got, err := NewReader(strings.NewReader(line), "f").Next()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleRecord(), got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
}

func TestReaderLineTooLong(t *testing.T) {
	good := sampleLine(t)
	for _, tail := range []string{"\n" + good + "\n", "\n", ""} {
		r := NewReader(strings.NewReader(good+"\n"+strings.Repeat("x", len(good)+1)+tail), "f")
		r.maxLine = len(good)
		var got []string
		for _, err := range r.All() {
			switch {
			case err == nil:
				got = append(got, "record")
			case errors.Is(err, ErrLineTooLong) && strings.HasPrefix(err.Error(), "f:2: "):
				got = append(got, "too long")
			default:
				t.Fatalf("unexpected error %v", err)
			}
		}
		want := []string{"record", "too long"}
		if len(tail) > 1 {
			want = append(want, "record")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	}
}

// brokenReader fails after its data.
type brokenReader struct{ data io.Reader }

var errDisk = errors.New("disk failed")

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.data.Read(p)
	if errors.Is(err, io.EOF) {
		err = errDisk
	}
	return n, err
}

// TestReaderInputFails: an input that fails ends the iteration; it is no
// fault of a line.
func TestReaderInputFails(t *testing.T) {
	in := brokenReader{strings.NewReader(sampleLine(t) + "\n{")}
	var got []error
	for _, err := range NewReader(in, "f").All() {
		got = append(got, err)
	}
	if len(got) != 2 || got[0] != nil || !errors.Is(got[1], errDisk) {
		t.Errorf("errors %v, want nil and the disk's", got)
	}
}

func TestReaderStopsWhenAsked(t *testing.T) {
	n := 0
	for _, err := range NewReader(strings.NewReader("x\ny\n"), "f").All() {
		if err == nil {
			t.Error("x was read as a record")
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d turns, want 1", n)
	}
}

func TestReadRecords(t *testing.T) {
	line := sampleLine(t)
	pretty, err := json.MarshalIndent(sampleRecord(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, in string
		records  int
		errText  string
	}{
		{"one line", line, 1, ""},
		{"lines", line + "\n" + line + "\n", 2, ""},
		{"pretty", string(pretty), 1, ""},
		{"pretty after blanks", "\n \r\n" + string(pretty) + "\n\n", 1, ""},
		{"pretty, bad field", strings.Replace(string(pretty), `"alive": 1`, `"alive": true`, 1), 0, "f: lifetimes[0].alive is a JSON bool"},
		{"pretty, cut off", string(pretty[:len(pretty)-9]), 0, "f: the line ends"},
		{"one bad of two", line + "\nx\n", 1, "f:2: "},
		{"empty", "\n", 0, "f holds no record"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadRecords(strings.NewReader(tt.in), "f")
			if len(got) != tt.records {
				t.Errorf("%d records, want %d", len(got), tt.records)
			}
			if (err == nil) != (tt.errText == "") || (err != nil && !strings.HasPrefix(err.Error(), tt.errText)) {
				t.Errorf("error %v, want %q", err, tt.errText)
			}
		})
	}
	if _, err := ReadRecordFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want os.ErrNotExist", err)
	}
}

func TestNewID(t *testing.T) {
	a, b := NewID(), NewID()
	if a == b || !validID(a) || !validID(b) {
		t.Errorf("NewID gave %q and %q", a, b)
	}
}

// FuzzReader: whatever a file holds, the reader ends, accepts valid records
// only, reads back what it accepted, and finds the good record behind the rest.
func FuzzReader(f *testing.F) {
	// A short record: the fuzzer shortens what it finds byte by byte.
	want := sampleRecord()
	want.Trials, want.Events, want.Recommendation = want.Trials[:1], nil, nil
	b, err := json.Marshal(want)
	if err != nil {
		f.Fatal(err)
	}
	line := string(b)
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte("{\n}\n\n[null]\n{\"trials\":[{\"gap_s\":\"x\"}]}"))
	f.Add([]byte(`{"schema":"natprobe.record/1","loss":{"rate":1e400},"started_at":"x"}`))
	f.Add(bytes.Replace(b, []byte("29.5"), []byte("1e400"), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := slices.Concat(data, []byte("\n"), []byte(line), []byte("\n"))
		var last Record
		for rec, err := range NewReader(bytes.NewReader(in), "fuzz").All() {
			if err != nil {
				if err.Error() == "" {
					t.Error("an error without words")
				}
				continue
			}
			b, err := json.Marshal(rec)
			if err != nil {
				t.Fatalf("what was read has no JSON: %v", err)
			}
			again, err := decode(b)
			if err != nil {
				t.Fatalf("what was read can't be read again: %v", err)
			}
			if diff := cmp.Diff(rec, again); diff != "" {
				t.Fatalf("changed by writing and reading (-before +after):\n%s", diff)
			}
			last = rec
		}
		if diff := cmp.Diff(want, last); diff != "" {
			t.Fatalf("the record behind the rest (-want +got):\n%s", diff)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	r := sampleRecord()
	for len(r.Trials) < 400 {
		r.Trials = append(r.Trials, r.Trials[0])
	}
	line, err := json.Marshal(r)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if _, err := decode(line); err != nil {
			b.Fatal(err)
		}
	}
}
