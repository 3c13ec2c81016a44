package keyfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/reprise-tls/reprise/ticket"
)

// maxFile bounds what is read of a file, in bytes: thousands of HAProxy's lines.
const maxFile = 1 << 20

// File is a key file that was read.
type File struct {
	Name string // for errors
	Data []byte
}

// Set is the keys of one file of HAProxy, or of the files that one server of
// nginx or Apache names. It has at least one key, and does not change, until
// Wipe.
type Set struct {
	format Format
	keys   []*Key // as in the files
}

// Read reads and parses key files of form f, in the order in which nginx's
// configuration names them. Links are followed. See [Parse] for the errors; one of
// the file system can be unwrapped. Others are [ErrMode] for a file that all can
// read or write, or that its group can write, and [ErrChanging] for one that was
// not the same when it was read a second time.
func Read(f Format, names ...string) (*Set, error) {
	files := make([]File, len(names))
	for i, name := range names {
		data, err := readFile(name)
		defer clear(data)
		if err != nil {
			return nil, fmt.Errorf("keyfile: %w", err)
		}
		files[i] = File{name, data}
	}
	return Parse(f, files...)
}

// ErrMode says that others than the owner and those who may read by group have
// access to a key file. The error around it names the mode to set.
var ErrMode = errors.New("others can read or change the key file")

// ErrChanging says that a key file was written while it was read.
var ErrChanging = errors.New("file changes while it is read")

// exposed are the bits of a mode that a key file must not have: reading and
// writing by all, writing by the group.
const exposed fs.FileMode = 0o026

func readFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return readOnce(file, maxFile)
	}
	if mode := info.Mode().Perm(); mode&exposed != 0 && runtime.GOOS != "windows" { // where modes are made up
		return nil, fmt.Errorf("%s: %w: mode %04o: run chmod o=,g-w, or in Kubernetes set defaultMode: 0440", name, ErrMode, mode)
	}
	data, err := readStable(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return data, nil
}

// readOnce reads all there is, with room for size bytes at once: what a buffer
// leaves behind when it grows cannot be wiped.
func readOnce(r io.Reader, size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), maxFile)) + bytes.MinRead)
	if _, err := b.ReadFrom(io.LimitReader(r, maxFile+1)); err != nil {
		clear(b.Bytes())
		return nil, err
	}
	return b.Bytes(), nil
}

// readStable reads a file of the given size twice. A file that is written in
// place may hold half a key, or halves of two: then the size or the bytes differ.
func readStable(r io.ReaderAt, size int64) ([]byte, error) {
	first, err := readOnce(io.NewSectionReader(r, 0, maxFile+1), size)
	if err != nil {
		return nil, err
	}
	second, err := readOnce(io.NewSectionReader(r, 0, maxFile+1), size)
	defer clear(second)
	if err == nil && (!bytes.Equal(first, second) || int64(len(first)) != min(size, maxFile+1)) {
		err = ErrChanging
	}
	if err != nil {
		clear(first)
		return nil, err
	}
	return first, nil
}

// Parse parses key files of form f: one for HAProxy, and one for each key for
// nginx and Apache, in the order in which the configuration names them. The data
// is copied. As in nginx, files of 48 bytes and of 80 may stand side by side, under
// either of nginx's forms.
//
// An error names the file, the line where there are lines, and what is wrong
// there. It wraps [ticket.ErrWeakKey] for a key that is visibly a pattern, and
// [ticket.ErrDuplicateKey] for a key or a name that was there before.
func Parse(f Format, files ...File) (*Set, error) {
	l, err := f.layout()
	if err != nil {
		return nil, err
	}
	if len(files) == 0 || l.lines && len(files) > 1 {
		return nil, errFiles(f, len(files))
	}
	s := &Set{format: f}
	var places []string // of each key, for errors
	for _, file := range files {
		if err := s.parse(l, file, &places); err != nil {
			s.Wipe()
			return nil, fmt.Errorf("keyfile: %w", err)
		}
	}
	if err := s.check(places); err != nil {
		s.Wipe()
		return nil, fmt.Errorf("keyfile: %w", err)
	}
	return s, nil
}

// parse adds the keys of a file.
func (s *Set) parse(l *layout, file File, places *[]string) error {
	switch {
	case len(file.Data) == 0:
		return fmt.Errorf("%s: empty", file.Name)
	case len(file.Data) > maxFile:
		return fmt.Errorf("%s: larger than %d bytes", file.Name, maxFile)
	case l.lines:
		return s.parseLines(l, file, places)
	}
	l = s.format.layoutOf(len(file.Data), l)
	if len(file.Data) != l.size() {
		return fmt.Errorf("%s: %d bytes, a file of form %s has %d", file.Name, len(file.Data), l.name, l.size())
	}
	s.keys = append(s.keys, l.decode(file.Data))
	*places = append(*places, file.Name)
	return nil
}

func (s *Set) parseLines(l *layout, file File, places *[]string) error {
	raw := make([]byte, l.size()+2) // Decode may write what padding stands for
	defer clear(raw)
	number := 0
	for line := range bytes.Lines(file.Data) {
		number++
		place := fmt.Sprintf("%s: line %d", file.Name, number)
		line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")) // as HAProxy does
		if want := base64.StdEncoding.EncodedLen(l.size()); len(line) != want {
			return fmt.Errorf("%s: %d characters, a key of form %s has %d", place, len(line), l.name, want)
		}
		n, err := base64.StdEncoding.Strict().Decode(raw, line)
		if err != nil || n != l.size() {
			return fmt.Errorf("%s: not %d bytes in base64", place, l.size())
		}
		s.keys = append(s.keys, l.decode(raw[:n]))
		*places = append(*places, place)
	}
	if number < haproxyKeys {
		return fmt.Errorf("%s: %d lines, form %s has at least %d", file.Name, number, l.name, haproxyKeys)
	}
	return nil
}

// check refuses weak and duplicate keys.
func (s *Set) check(places []string) error {
	seen := make(map[[sha256.Size]byte]string) // to the place of a name or a secret
	for i, k := range s.keys {
		if err := k.check(); err != nil {
			return fmt.Errorf("%s: %w", places[i], err)
		}
		for what, sum := range k.sums() {
			if before, ok := seen[sum]; ok {
				return fmt.Errorf("%s: %s of %s again: %w", places[i], what, before, ticket.ErrDuplicateKey)
			}
			seen[sum] = places[i]
		}
	}
	return nil
}

// Form returns the form of the files.
func (s *Set) Form() Format { return s.format }

// Keys returns the keys as they stand in the files. They stay the set's.
func (s *Set) Keys() []*Key { return slices.Clone(s.keys) }

// InUse returns the keys that a server uses: the first encrypts, all decrypt. Of
// a file of HAProxy these are the penultimate line, the last, and the one before
// both; of the other forms all in their order. They stay the set's.
func (s *Set) InUse() []*Key {
	if s.format.MultipleFiles() {
		return s.Keys()
	}
	last := s.keys[len(s.keys)-haproxyKeys:]
	return []*Key{last[1], last[2], last[0]}
}

// Files returns the contents of the files, which are the caller's to wipe: what
// was parsed, to the byte, except that each line of HAProxy ends in one newline.
func (s *Set) Files() [][]byte {
	l := &layouts[s.format]
	if !l.lines {
		files := make([][]byte, len(s.keys))
		for i, k := range s.keys {
			files[i] = s.format.layoutOf(nameSize+2*len(k.aes), l).append(nil, k)
		}
		return files
	}
	raw := make([]byte, 0, l.size())
	defer clear(raw[:cap(raw)])
	file := make([]byte, 0, len(s.keys)*(base64.StdEncoding.EncodedLen(l.size())+1))
	for _, k := range s.keys {
		file = base64.StdEncoding.AppendEncode(file, l.append(raw, k))
		file = append(file, '\n')
	}
	return [][]byte{file}
}

// New returns a set of form f with keys from crypto/rand, as few as it may have.
func New(f Format) (*Set, error) {
	s := &Set{format: f}
	for range f.MinKeys() {
		k, err := NewKey(f)
		if err != nil {
			return nil, err
		}
		s.keys = append(s.keys, k)
	}
	return s, nil
}

// Convert returns a copy of the keys in use, in another form: what encrypts goes
// on to encrypt. A key stays what it is, so both forms must have keys of one
// length. HAProxy's form wants three keys: the second becomes the last line,
// which is the key to come.
func (s *Set) Convert(to Format) (*Set, error) {
	l, err := to.layout()
	if err != nil {
		return nil, err
	}
	if s.format == to {
		return s.clone(s.keys), nil
	}
	keys := s.InUse()
	for _, k := range keys {
		if len(k.aes) != l.secret {
			return nil, fmt.Errorf("keyfile: a key of %d bits, those of form %s have %d", len(k.aes)*8, l.name, l.secret*8)
		}
	}
	if len(keys) < to.MinKeys() {
		return nil, fmt.Errorf("keyfile: %d keys, form %v has at least %d", len(keys), to, to.MinKeys())
	}
	if l.lines {
		// The inverse of InUse; more keys than three stand above, the oldest first.
		keys[0], keys[1] = keys[1], keys[0]
		slices.Reverse(keys)
	}
	converted := s.clone(keys)
	converted.format = to
	return converted, nil
}

// ErrKeep says that a set would have too few keys left.
var ErrKeep = errors.New("too few keys to keep")

// Rotate returns a copy of the set with a new key and without the oldest, so
// that it has at most keep keys. For nginx and Apache the new key is the first
// file: it encrypts at once. For HAProxy it is the last line, and what was the
// last line encrypts. The error is [ErrKeep] if the form has more keys than keep.
func (s *Set) Rotate(keep int) (*Set, error) {
	if keep < s.format.MinKeys() {
		return nil, fmt.Errorf("keyfile: %w: form %v has at least %d", ErrKeep, s.format, s.format.MinKeys())
	}
	k, err := NewKey(s.format)
	if err != nil {
		return nil, err
	}
	old := s.keys
	if s.format.MultipleFiles() {
		rotated := s.clone(old[:min(len(old), keep-1)])
		rotated.keys = slices.Insert(rotated.keys, 0, k)
		return rotated, nil
	}
	rotated := s.clone(old[max(0, len(old)-(keep-1)):])
	rotated.keys = append(rotated.keys, k)
	return rotated, nil
}

func (s *Set) clone(keys []*Key) *Set {
	c := &Set{format: s.format}
	for _, k := range keys {
		c.keys = append(c.keys, k.clone())
	}
	return c
}

// Wipe clears the bytes of all keys. The set is not to be used any more.
func (s *Set) Wipe() {
	for _, k := range s.keys {
		k.Wipe()
	}
}

// String names the form and the keys, by fingerprint.
func (s Set) String() string {
	names := make([]string, len(s.keys))
	for i, k := range s.keys {
		names[i] = k.String()
	}
	return fmt.Sprintf("keyfile.Set(%v: %s)", s.format, strings.Join(names, ", "))
}

// Format prints [Set.String] under every verb.
func (s Set) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer] with [Set.String].
func (s Set) LogValue() slog.Value { return slog.StringValue(s.String()) }

// String names the file.
func (f File) String() string { return fmt.Sprintf("keyfile.File(%q, %d bytes)", f.Name, len(f.Data)) }

// Format prints String under every verb, so that none shows a secret.
func (f File) Format(to fmt.State, _ rune) { io.WriteString(to, f.String()) }

// LogValue gives slog what String returns.
func (f File) LogValue() slog.Value { return slog.StringValue(f.String()) }

// MarshalText gives JSON what String returns.
func (f File) MarshalText() ([]byte, error) { return []byte(f.String()), nil }
