package results

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// ErrTorn marks a line that ends in the middle of its record, as a crash during
// a write leaves it. The other lines of the file are as good as ever.
var ErrTorn = errors.New("the line ends in the middle of its record, as after a crash")

// ErrLineTooLong marks a line of more than MaxLine bytes.
var ErrLineTooLong = fmt.Errorf("the line has more than %d bytes", MaxLine)

// RecordError says where a record can't be read. Unwrap leads to ErrTorn,
// ErrLineTooLong, a *FieldError, or an error of encoding/json.
type RecordError struct {
	Name string // of the file
	Line int    // from 1
	Err  error
}

func (e *RecordError) Error() string { return fmt.Sprintf("%s:%d: %v", e.Name, e.Line, e.Err) }

// Unwrap returns what is wrong on the line.
func (e *RecordError) Unwrap() error { return e.Err }

// Reader reads a JSONL file of records, one line at a time.
type Reader struct {
	name    string
	in      *bufio.Reader
	line    int
	maxLine int
}

// NewReader returns a reader of records. The name, usually that of the file,
// appears in errors.
func NewReader(r io.Reader, name string) *Reader {
	return &Reader{name: name, in: bufio.NewReaderSize(r, 64<<10), maxLine: MaxLine}
}

// Next returns the next record, or io.EOF after the last. A *RecordError is
// about one line only, and Next may be called again to go on behind it. After
// any other error the input is of no more use. Empty lines are skipped and
// unknown keys are ignored.
func (r *Reader) Next() (Record, error) {
	for {
		line, err := r.readLine()
		if errors.Is(err, ErrLineTooLong) {
			return Record{}, &RecordError{Name: r.name, Line: r.line, Err: err}
		}
		if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
			if !errors.Is(err, io.EOF) {
				err = fmt.Errorf("read %s after line %d: %w", r.name, r.line, err)
			}
			return Record{}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		rec, err := decode(line)
		if err != nil {
			return Record{}, &RecordError{Name: r.name, Line: r.line, Err: err}
		}
		return rec, nil
	}
}

// All ranges over the records and over the errors about lines that hold none:
// a caller that keeps ranging after a *RecordError gets the records behind it.
func (r *Reader) All() iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for {
			rec, err := r.Next()
			if errors.Is(err, io.EOF) || !yield(rec, err) {
				return
			}
			var lineErr *RecordError
			if err != nil && !errors.As(err, &lineErr) {
				return
			}
		}
	}
}

// readLine returns the next line. It returns io.EOF along with a last line that
// has no end. A line that is too long is skipped.
func (r *Reader) readLine() ([]byte, error) {
	var line []byte
	tooLong := false
	r.line++
	for {
		part, err := r.in.ReadSlice('\n')
		if !tooLong && len(line)+len(bytes.TrimSuffix(part, []byte("\n"))) > r.maxLine {
			tooLong, line = true, nil
		}
		if !tooLong {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, ErrLineTooLong
		default:
			return line, err
		}
	}
}

// decode reads one JSON document and validates it.
func decode(doc []byte) (Record, error) {
	doc = bytes.TrimSpace(doc) // an end of line inside a torn string would hide that it is torn
	var r Record
	decodeErr := json.Unmarshal(doc, &r)

	// The schema comes first: what is wrong by this one may be right by another.
	if r.Schema != "" && r.Schema != SchemaRecord {
		return Record{}, &FieldError{Field: "schema", Problem: fmt.Sprintf("is %q, not %q", r.Schema, SchemaRecord)}
	}
	if decodeErr != nil {
		return Record{}, explain(doc, decodeErr)
	}
	if err := checkKeys(doc); err != nil {
		return Record{}, err
	}
	if err := r.Validate(); err != nil {
		return Record{}, err
	}
	return r, nil
}

// ReadRecordFile reads a file that holds either one record as a JSON document
// of any layout, or records as JSONL. It returns the records that it could
// read, and joined errors about those that it could not. It keeps all records in
// memory; use a [Reader] for datasets.
func ReadRecordFile(path string) ([]Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read record: %w", err)
	}
	defer f.Close()
	return ReadRecords(f, path)
}

// ReadRecords is ReadRecordFile for input that is open already, such as
// standard input. The name appears in errors.
func ReadRecords(in io.Reader, name string) ([]Record, error) {
	// A document over several lines is told by its first line, which is a
	// piece of JSON. A record on one line is all there or torn.
	buffered := bufio.NewReaderSize(in, 64<<10)
	start, err := buffered.Peek(buffered.Size())
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if spansLines(start) {
		return readDocument(buffered, name)
	}

	var records []Record
	var problems []error
	for rec, err := range NewReader(buffered, name).All() {
		if err != nil {
			problems = append(problems, err)
			continue
		}
		records = append(records, rec)
	}
	if len(records) == 0 && len(problems) == 0 {
		return nil, fmt.Errorf("%s holds no record", name)
	}
	return records, errors.Join(problems...)
}

// spansLines says whether input that starts so is one document over several
// lines: after its opening brace alone on a line.
func spansLines(start []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(start, " \t\r\n"), []byte("{"))
	if !ok {
		return false
	}
	rest = bytes.TrimLeft(rest, " \t\r")
	return len(rest) > 0 && rest[0] == '\n'
}

func readDocument(in io.Reader, name string) ([]Record, error) {
	doc, err := io.ReadAll(io.LimitReader(in, MaxLine+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(doc) > MaxLine {
		return nil, fmt.Errorf("%s has more than %d bytes, too many for one record", name, MaxLine)
	}
	rec, err := decode(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return []Record{rec}, nil
}
