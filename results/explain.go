package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
)

// explain turns an error of encoding/json about a record into one that names
// the field.
func explain(doc []byte, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		var whole json.RawMessage
		if errors.Is(json.NewDecoder(bytes.NewReader(doc)).Decode(&whole), io.ErrUnexpectedEOF) {
			return ErrTorn
		}
		return fmt.Errorf("not JSON at byte %d: %w", syntax.Offset, err)
	}
	return locate(doc, "", func(d []byte) []byte { return d }, err)
}

// locate finds the smallest part of doc that on its own can't be decoded. Wrap
// puts a part back into the objects and lists around it; their other members
// are left out. An object or list that does not fit even when empty is wrong
// itself. (The errors of encoding/json name no element of a list, and those of
// time.Time name nothing.)
func locate(doc []byte, at string, wrap func([]byte) []byte, err error) error {
	fails := func(part []byte) error { return json.Unmarshal(wrap(part), new(Record)) }

	var object map[string]json.RawMessage
	var list []json.RawMessage
	switch {
	case fails([]byte("{}")) == nil && json.Unmarshal(doc, &object) == nil:
		for _, key := range slices.Sorted(maps.Keys(object)) {
			quoted, _ := json.Marshal(key) // a string always marshals
			around := func(part []byte) []byte { return slices.Concat([]byte{'{'}, quoted, []byte{':'}, part, []byte{'}'}) }
			if inner := fails(around(object[key])); inner != nil {
				return locate(object[key], join(at, key), func(p []byte) []byte { return wrap(around(p)) }, inner)
			}
		}
	case fails([]byte("[]")) == nil && json.Unmarshal(doc, &list) == nil:
		around := func(part []byte) []byte { return slices.Concat([]byte{'['}, part, []byte{']'}) }
		for i, element := range list {
			if inner := fails(around(element)); inner != nil {
				return locate(element, at+"["+strconv.Itoa(i)+"]", func(p []byte) []byte { return wrap(around(p)) }, inner)
			}
		}
	}

	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) {
		return &FieldError{Field: at, Problem: fmt.Sprintf("is a JSON %s, which does not fit %s", kind.Value, kind.Type)}
	}
	return &FieldError{Field: at, Problem: fmt.Sprintf("can't be read: %v", err)}
}
