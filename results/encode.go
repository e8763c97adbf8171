package results

import (
	"bytes"
	"encoding/json"
)

// MarshalJSON writes the record in its schema: lists and settings that are nil
// are written empty, so that a reader finds one type per key.
func (r Record) MarshalJSON() ([]byte, error) {
	type plain Record // without this method
	if r.Config == nil {
		r.Config = map[string]any{}
	}
	if r.Supplied == nil {
		r.Supplied = map[string]any{}
	}
	if r.Lifetimes == nil {
		r.Lifetimes = []Lifetime{}
	}
	if r.Trials == nil {
		r.Trials = []Trial{}
	}
	return encode(plain(r))
}

// MarshalJSON writes the recommendation, with its alternatives as a list even
// where there are none.
func (r Recommendation) MarshalJSON() ([]byte, error) {
	type plain Recommendation
	if r.Alternatives == nil {
		r.Alternatives = []Alternative{}
	}
	return encode(plain(r))
}

// encode is json.Marshal without the escapes for HTML, which make reasons such
// as "1.13 × 25 s <= 30 s" hard to read.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
