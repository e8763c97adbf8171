package wgapply

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/natprobe/natprobe/vpn"
	"github.com/natprobe/natprobe/vpn/statefile"
)

const (
	// fileFormat is what the file says of itself. A file of a later format is
	// neither read nor replaced.
	fileFormat = 1
	// maxFileBytes bounds what is read; some 60,000 peers have room.
	maxFileBytes = 8 << 20
)

// file is applied.json.
type file struct {
	Format int        `json:"format"`
	Peers  []filePeer `json:"peers"`
}

type filePeer struct {
	Interface string `json:"interface"`
	PublicKey string `json:"public_key"`
	OriginalS uint16 `json:"original_s"`
	// SetS are the intervals that natprobe set last, one or two.
	SetS []uint16 `json:"set_s"`
}

// load reads a file, none where there is none. A damaged one is moved aside and
// a *StoreError says so.
func load(path string) (map[place]entry, error) {
	text, err := readBounded(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	all, err := decode(text)
	var newer newerFormatError
	switch {
	case err == nil:
		return all, nil
	case errors.As(err, &newer):
		return nil, err
	}
	aside := path + ".bad"
	if renameErr := os.Rename(path, aside); renameErr != nil {
		return nil, fmt.Errorf("it is damaged, %w, and can't be set aside: %w", err, renameErr)
	}
	return nil, &StoreError{Path: path, Aside: aside, Err: err}
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	return text, errors.Join(err, f.Close())
}

// newerFormatError is the format of a file that a later natprobe wrote.
type newerFormatError int

func (e newerFormatError) Error() string {
	return fmt.Sprintf("a later natprobe wrote it, in format %d", int(e))
}

// decode reads the text of a file. It is all or nothing: half a file would pass
// for a whole one.
func decode(text []byte) (map[place]entry, error) {
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFileBytes)
	}
	// The format first: the rest of a later one may look different.
	var head struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, err
	}
	if head.Format > fileFormat {
		return nil, newerFormatError(head.Format)
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	if f.Format != fileFormat {
		return nil, fmt.Errorf("format is %d, not %d", f.Format, fileFormat)
	}
	all := make(map[place]entry, len(f.Peers))
	for at, p := range f.Peers {
		key, err := vpn.ParsePublicKey(p.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("peers[%d].public_key: %w", at, err)
		}
		if p.Interface == "" || len(p.SetS) < 1 || len(p.SetS) > 2 {
			return nil, fmt.Errorf("peers[%d]: interface is empty, or set_s has not one or two values", at)
		}
		all[place{p.Interface, key}] = entry{original: p.OriginalS, ours: p.SetS}
	}
	return all, nil
}

// encode writes the text of a file, in an order of its own.
func encode(all map[place]entry) ([]byte, error) {
	f := file{Format: fileFormat, Peers: make([]filePeer, 0, len(all))}
	for at, e := range all {
		f.Peers = append(f.Peers, filePeer{Interface: at.name, PublicKey: at.peer.String(), OriginalS: e.original, SetS: e.ours})
	}
	slices.SortFunc(f.Peers, func(a, b filePeer) int {
		if d := strings.Compare(a.Interface, b.Interface); d != 0 {
			return d
		}
		return strings.Compare(a.PublicKey, b.PublicKey)
	})
	text, err := json.MarshalIndent(f, "", "  ")
	return append(text, '\n'), err
}

// save puts a new file in the place of the old one, so that a crash leaves one of
// them whole. A file that says the same already isn't written again.
func save(path string, all map[place]entry) error {
	text, err := encode(all)
	if err != nil {
		return err
	}
	if old, err := readBounded(path); err == nil && bytes.Equal(old, text) {
		return nil
	}
	return statefile.Replace(path, text)
}
