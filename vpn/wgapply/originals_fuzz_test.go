package wgapply

import (
	"maps"
	"testing"
)

// FuzzDecode checks that whatever is in the file is refused or understood, and
// that what is understood is written as it was read.
func FuzzDecode(f *testing.F) {
	whole, err := encode(map[place]entry{
		{"wg0", alice}: {original: 25, ours: []uint16{52, 79}},
		{"wg1", bob}:   {original: 0, ours: []uint16{65535}},
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(whole), `{"format":1,"peers":[]}`, `{"format":2}`, `{"format":1,"peers":[{}]}`, "{", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := decode(text)
		if err != nil {
			return
		}
		again, err := encode(all)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decode(again)
		if err != nil {
			t.Fatalf("what was written isn't understood: %v", err)
		}
		if !maps.EqualFunc(all, got, entry.equal) {
			t.Errorf("read %v, written and read again %v", all, got)
		}
	})
}
