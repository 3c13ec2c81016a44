package keyfile

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise/ticket"
)

// parts returns the name of key i and its two secrets in the order of the file,
// always the same ones.
func parts(i, secret int) (name, first, second []byte) {
	part := func(label string, n int) []byte {
		sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", label, i))
		return sum[:n]
	}
	return part("name", 16), part("first", secret), part("second", secret)
}

// raw puts the parts of key i together, as a file does.
func raw(i, secret int) []byte {
	name, first, second := parts(i, secret)
	return slices.Concat(name, first, second)
}

func lines(keys ...[]byte) []byte {
	var file []byte
	for _, k := range keys {
		file = append(base64.StdEncoding.AppendEncode(file, k), '\n')
	}
	return file
}

// secretOf is the length of the secrets of a form, by its name.
func secretOf(f Format) int {
	if strings.HasSuffix(f.String(), "80") {
		return 32
	}
	return 16
}

// files returns files of form f with keys 0 to n-1.
func files(f Format, n int) []File {
	var keys [][]byte
	for i := range n {
		keys = append(keys, raw(i, secretOf(f)))
	}
	if strings.HasPrefix(f.String(), "haproxy") {
		return []File{{"keys", lines(keys...)}}
	}
	var list []File
	for i, k := range keys {
		list = append(list, File{fmt.Sprintf("keys%d", i), k})
	}
	return list
}

func mustParse(tb testing.TB, f Format, files ...File) *Set {
	tb.Helper()
	s, err := Parse(f, files...)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// TestLayouts holds each form to the order of its servers, written out by hand.
func TestLayouts(t *testing.T) {
	for f, hmacFirst := range map[Format]bool{
		FormatNginx48:   false, // name, AES, HMAC
		FormatNginx80:   true,  // name, HMAC, AES
		FormatHAProxy48: false,
		FormatHAProxy80: false,
		FormatApache48:  true,
	} {
		for i, k := range mustParse(t, f, files(f, 4)...).Keys() {
			name, first, second := parts(i, secretOf(f))
			aes, hmac := first, second
			if hmacFirst {
				aes, hmac = second, first
			}
			if k.Name() != [16]byte(name) || !bytes.Equal(k.aes, aes) || !bytes.Equal(k.hmac, hmac) {
				t.Errorf("%v: key %d is in another order", f, i)
			}
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for _, f := range Formats() {
		in := files(f, 5)
		out := mustParse(t, f, in...).Files()
		if len(out) != len(in) {
			t.Fatalf("%v: %d files became %d", f, len(in), len(out))
		}
		for i := range in {
			if !bytes.Equal(in[i].Data, out[i]) {
				t.Errorf("%v: file %d changed", f, i)
			}
		}
	}
}

// TestHAProxyLines: line ends of other systems and a last line without one are
// taken, as HAProxy does.
func TestHAProxyLines(t *testing.T) {
	want := files(FormatHAProxy80, 3)[0].Data
	for _, data := range [][]byte{
		bytes.ReplaceAll(want, []byte("\n"), []byte("\r\n")),
		bytes.TrimSuffix(want, []byte("\n")),
	} {
		if got := mustParse(t, FormatHAProxy80, File{"keys", data}).Files()[0]; !bytes.Equal(got, want) {
			t.Errorf("%q became %q", data, got)
		}
	}
}

// numbers says which of the keys of files a list holds.
func numbers(t *testing.T, keys []*Key) (list []int) {
	t.Helper()
	for _, k := range keys {
		n := -1
		for i := range 10 {
			if name, _, _ := parts(i, 16); k.Name() == [16]byte(name) {
				n = i
			}
		}
		list = append(list, n)
	}
	return list
}

func TestInUse(t *testing.T) {
	for _, c := range []struct {
		f    Format
		n    int
		want []int
	}{
		{FormatNginx48, 1, []int{0}},
		{FormatNginx80, 3, []int{0, 1, 2}},
		{FormatApache48, 2, []int{0, 1}},
		{FormatHAProxy48, 3, []int{1, 2, 0}},
		{FormatHAProxy80, 5, []int{3, 4, 2}},
	} {
		if got := numbers(t, mustParse(t, c.f, files(c.f, c.n)...).InUse()); !slices.Equal(got, c.want) {
			t.Errorf("%v with %d keys uses %v, want %v", c.f, c.n, got, c.want)
		}
	}
}

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		from, to Format
		n        int
		want     []int // nil: refused
		say      string
	}{
		{FormatNginx48, FormatApache48, 1, []int{0}, ""},
		{FormatApache48, FormatNginx48, 2, []int{0, 1}, ""},
		{FormatNginx80, FormatHAProxy80, 3, []int{2, 0, 1}, ""},
		{FormatNginx80, FormatHAProxy80, 4, []int{3, 2, 0, 1}, ""},
		{FormatHAProxy80, FormatNginx80, 3, []int{1, 2, 0}, ""},
		{FormatHAProxy80, FormatNginx80, 5, []int{3, 4, 2}, ""},
		{FormatHAProxy48, FormatHAProxy48, 5, []int{0, 1, 2, 3, 4}, ""},
		{FormatNginx48, FormatNginx80, 1, nil, "128 bits"},
		{FormatHAProxy80, FormatApache48, 3, nil, "256 bits"},
		{FormatNginx48, FormatHAProxy48, 2, nil, "at least 3"},
	} {
		from := mustParse(t, c.from, files(c.from, c.n)...)
		to, err := from.Convert(c.to)
		if c.want == nil {
			if err == nil || !strings.Contains(err.Error(), c.say) {
				t.Errorf("%v to %v: %v, want %q", c.from, c.to, err, c.say)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v to %v: %v", c.from, c.to, err)
			continue
		}
		if got := numbers(t, to.Keys()); to.Form() != c.to || !slices.Equal(got, c.want) {
			t.Errorf("%v to %v: %v, want %v", c.from, c.to, got, c.want)
		}
		for i, k := range to.InUse() {
			if before := from.InUse()[i]; !bytes.Equal(k.aes, before.aes) || !bytes.Equal(k.hmac, before.hmac) || k == before {
				t.Errorf("%v to %v: key %d in use is another", c.from, c.to, i)
			}
		}
	}
}

func TestConvertBack(t *testing.T) {
	for _, to := range []Format{FormatNginx80, FormatHAProxy80} {
		before := mustParse(t, FormatHAProxy80, files(FormatHAProxy80, 3)...)
		there, err := before.Convert(to)
		if err != nil {
			t.Fatal(err)
		}
		back, err := there.Convert(FormatHAProxy80)
		if err != nil || !bytes.Equal(back.Files()[0], before.Files()[0]) {
			t.Errorf("by way of %v: %v, %v", to, numbers(t, back.Keys()), err)
		}
	}
}

func TestRotate(t *testing.T) {
	for _, c := range []struct {
		f       Format
		n, keep int
		want    []int // -1 is the new key
	}{
		{FormatNginx80, 1, 3, []int{-1, 0}},
		{FormatNginx80, 3, 3, []int{-1, 0, 1}},
		{FormatNginx48, 3, 1, []int{-1}},
		{FormatApache48, 1, 2, []int{-1, 0}},
		{FormatHAProxy80, 3, 3, []int{1, 2, -1}},
		{FormatHAProxy80, 3, 5, []int{0, 1, 2, -1}},
		{FormatHAProxy48, 6, 3, []int{4, 5, -1}},
	} {
		before := mustParse(t, c.f, files(c.f, c.n)...)
		after, err := before.Rotate(c.keep)
		if err != nil {
			t.Fatal(err)
		}
		before.Wipe()
		if got := numbers(t, after.Keys()); !slices.Equal(got, c.want) {
			t.Errorf("%v with %d keys, keep %d: %v, want %v", c.f, c.n, c.keep, got, c.want)
		}
		var again []File
		for _, data := range after.Files() {
			again = append(again, File{fmt.Sprint(len(again)), data})
		}
		if _, err := Parse(c.f, again...); err != nil {
			t.Errorf("%v: what was rotated is refused: %v", c.f, err)
		}
	}
	for f, keep := range map[Format]int{FormatNginx80: 0, FormatHAProxy48: 2, FormatApache48: -1} {
		if _, err := mustNew(t, f).Rotate(keep); !errors.Is(err, ErrKeep) {
			t.Errorf("%v, keep %d: %v", f, keep, err)
		}
	}
}

// TestHAProxyRotationReachesAll: the key that a rotation puts into use was in
// the file before, so that servers that still have the file of before open its
// tickets.
func TestHAProxyRotationReachesAll(t *testing.T) {
	s := mustNew(t, FormatHAProxy80)
	for range 10 {
		next, err := s.Rotate(3)
		if err != nil {
			t.Fatal(err)
		}
		if name := next.InUse()[0].Name(); !slices.ContainsFunc(s.InUse(), func(k *Key) bool { return k.Name() == name }) {
			t.Fatal("a key encrypts that the file of before did not have")
		}
		s = next
	}
}

func TestRefuses(t *testing.T) {
	good48, good80 := raw(0, 16), raw(0, 32)
	with := func(key, part []byte, at int) []byte {
		key = bytes.Clone(key)
		copy(key[at:], part)
		return key
	}
	zeros, counting := make([]byte, 32), make([]byte, 32)
	for i := range counting {
		counting[i] = byte(i)
	}
	three := files(FormatHAProxy80, 3)[0].Data
	line := func(n int, text string) []byte {
		list := bytes.SplitAfter(bytes.Clone(three), []byte("\n"))
		list[n-1] = []byte(text)
		return bytes.Join(list, nil)
	}
	const width = 108
	for _, c := range []struct {
		name string
		f    Format
		data [][]byte
		is   error
		say  []string
	}{
		{"empty", FormatNginx48, [][]byte{{}}, nil, []string{"f0: empty"}},
		{"empty", FormatHAProxy48, [][]byte{{}}, nil, []string{"f0: empty"}},
		{"short", FormatNginx48, [][]byte{good48[:47]}, nil, []string{"f0: 47 bytes", "nginx48 has 48"}},
		{"of nginx's other form", FormatApache48, [][]byte{good80}, nil, []string{"f0: 80 bytes", "apache48 has 48"}},
		{"of no form", FormatNginx80, [][]byte{good80[:64]}, nil, []string{"f0: 64 bytes", "nginx80 has 80"}},
		{"with a newline", FormatApache48, [][]byte{append(bytes.Clone(good48), '\n')}, nil, []string{"49 bytes"}},
		{"second short", FormatNginx80, [][]byte{good80, good80[:79]}, nil, []string{"f1: 79 bytes"}},
		{"no file", FormatNginx80, nil, nil, []string{"no file"}},
		{"two of HAProxy", FormatHAProxy80, [][]byte{three, three}, nil, []string{"2 files", "all keys in one"}},
		{"too large", FormatHAProxy80, [][]byte{bytes.Repeat([]byte("x"), maxFile+1)}, nil, []string{"larger"}},

		{"two lines", FormatHAProxy80, [][]byte{lines(raw(0, 32), raw(1, 32))}, nil, []string{"f0: 2 lines", "at least 3"}},
		{"shorter keys", FormatHAProxy80, [][]byte{files(FormatHAProxy48, 3)[0].Data}, nil, []string{"line 1: 64 characters", "has 108"}},
		{"binary", FormatHAProxy48, [][]byte{good48}, nil, []string{"line 1"}},
		{"cut off", FormatHAProxy80, [][]byte{three[:len(three)-10]}, nil, []string{"line 3: 99 characters"}},
		{"blank line", FormatHAProxy80, [][]byte{line(2, "\n")}, nil, []string{"line 2: 0 characters"}},
		{"blank line at the end", FormatHAProxy80, [][]byte{append(bytes.Clone(three), '\n')}, nil, []string{"line 4: 0 characters"}},
		{"no base64", FormatHAProxy80, [][]byte{line(2, strings.Repeat("!", width)+"\n")}, nil, []string{"line 2: not 80 bytes in base64"}},
		{"too much base64", FormatHAProxy80, [][]byte{line(2, strings.Repeat("Ab3x", width/4)+"\n")}, nil, []string{"line 2: not 80 bytes"}},
		{"too little base64", FormatHAProxy80, [][]byte{line(2, strings.Repeat("A", width-2)+"==\n")}, nil, []string{"line 2: not 80 bytes"}},
		{"return in a line", FormatHAProxy80, [][]byte{line(2, "\r\r\r\r"+strings.Repeat("A", width-4)+"\n")}, nil, []string{"line 2: not 80 bytes"}},

		{"zero file", FormatNginx80, [][]byte{make([]byte, 80)}, ticket.ErrWeakKey, []string{"f0: "}},
		{"zero AES key", FormatNginx48, [][]byte{with(good48, zeros[:16], 16)}, ticket.ErrWeakKey, []string{"f0: "}},
		{"zero HMAC key", FormatNginx48, [][]byte{with(good48, zeros[:16], 32)}, ticket.ErrWeakKey, []string{"f0: "}},
		{"zero HMAC key", FormatApache48, [][]byte{with(good48, zeros[:16], 16)}, ticket.ErrWeakKey, []string{"f0: "}},
		{"zero name", FormatNginx80, [][]byte{with(good80, zeros[:16], 0)}, ticket.ErrWeakKey, []string{"f0: "}},
		{"counting", FormatHAProxy80, [][]byte{lines(raw(0, 32), raw(1, 32), with(raw(2, 32), counting, 48))}, ticket.ErrWeakKey, []string{"f0: line 3: "}},

		{"same file twice", FormatNginx80, [][]byte{good80, good80}, ticket.ErrDuplicateKey, []string{"f1: ", "of f0"}},
		{"same name", FormatNginx80, [][]byte{good80, with(raw(1, 32), good80[:16], 0)}, ticket.ErrDuplicateKey, []string{"f1: the name of f0"}},
		{"same HMAC key", FormatNginx80, [][]byte{good80, raw(1, 32), with(raw(2, 32), good80[16:48], 16)}, ticket.ErrDuplicateKey, []string{"f2: the key of f0"}},
		{"same line twice", FormatHAProxy80, [][]byte{lines(raw(0, 32), raw(1, 32), raw(2, 32), raw(1, 32))}, ticket.ErrDuplicateKey, []string{"line 4", "line 2"}},
	} {
		var list []File
		for i, data := range c.data {
			list = append(list, File{fmt.Sprintf("f%d", i), data})
		}
		s, err := Parse(c.f, list...)
		if err == nil || s != nil {
			t.Errorf("%s of form %v was taken", c.name, c.f)
			continue
		}
		for _, say := range append(c.say, "keyfile: ") {
			if !strings.Contains(err.Error(), say) {
				t.Errorf("%s of form %v: %v, want %q", c.name, c.f, err, say)
			}
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s of form %v: %v, want %v", c.name, c.f, err, c.is)
		}
	}
}

func TestErrorsHoldNoKey(t *testing.T) {
	for _, f := range Formats() {
		whole := mustParse(t, f, files(f, 4)...)
		for _, file := range files(f, 4) {
			for cut := range file.Data {
				_, err := Parse(f, File{"keys", file.Data[:cut]})
				if err != nil && leaks(whole, err.Error()) != "" {
					t.Errorf("%v, cut off after %d bytes: %v", f, cut, err)
				}
			}
		}
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for _, file := range files(FormatNginx80, 3) {
		names = append(names, filepath.Join(dir, file.Name))
		if err := os.WriteFile(names[len(names)-1], file.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Read(FormatNginx80, names...)
	if err != nil || !slices.Equal(numbers(t, s.Keys()), []int{0, 1, 2}) {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := Read(FormatApache48, names...); err == nil || !strings.Contains(err.Error(), names[0]) {
		t.Errorf("another form: %v", err)
	}
	missing := filepath.Join(dir, "missing")
	if _, err := Read(FormatNginx80, names[0], missing); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := Read(FormatNginx80, dir); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Read(FormatNginx80, "/dev/zero"); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a file without end: %v", err)
	}
}

// TestReadMode: what all can read or write, or the group can write, is refused, with
// the mode to set; what the group can read is not. A link's target counts.
func TestReadMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes are made up there")
	}
	set, err := New(FormatNginx48)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, set.Files()[0], 0o600); err != nil {
		t.Fatal(err)
	}
	link := name + ".link"
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	for mode, good := range map[os.FileMode]bool{
		0o400: true, 0o600: true, 0o440: true, 0o640: true, 0o750: true, 0o711: true,
		0o604: false, 0o602: false, 0o620: false, 0o660: false, 0o644: false, 0o666: false, 0o777: false,
	} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{name, link} {
			_, err := Read(FormatNginx48, name)
			if good && err != nil || !good && !errors.Is(err, ErrMode) {
				t.Errorf("mode %o: %v", mode, err)
			}
			if !good && (!strings.Contains(err.Error(), "chmod o=,g-w") || !strings.Contains(err.Error(), "defaultMode: 0440")) {
				t.Errorf("mode %o: %v says not what to do", mode, err)
			}
		}
	}
}

// torn is a file whose bytes are written between two reads.
type torn struct {
	*bytes.Reader
	then []byte
}

func (f *torn) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.Reader.ReadAt(b, off)
	if err != nil { // read to the end
		f.Reader = bytes.NewReader(f.then)
	}
	return n, err
}

// TestReadTorn: a file that changes in size or bytes while it is read is noticed.
func TestReadTorn(t *testing.T) {
	old, half := []byte("old old old old!"), []byte("new new old old!")
	for _, c := range []struct {
		first, second []byte
		size          int64
		err           error
	}{
		{old, old, 16, nil},
		{half, old, 16, ErrChanging},
		{old[:8], old[:8], 16, ErrChanging},
		{old[:8], old, 16, ErrChanging},
		{old, old, 8, ErrChanging},
		{nil, nil, 0, nil},
	} {
		data, err := readStable(&torn{bytes.NewReader(c.first), c.second}, c.size)
		if !errors.Is(err, c.err) || err == nil && !bytes.Equal(data, c.first) {
			t.Errorf("%q, then %q, of %d bytes: %q, %v", c.first, c.second, c.size, data, err)
		}
	}
}

// TestNginxMixed: files of 48 and 80 bytes stand side by side, as in a server that
// goes from the one to the other, and come back to the byte.
func TestNginxMixed(t *testing.T) {
	short, err := New(FormatNginx48)
	if err != nil {
		t.Fatal(err)
	}
	long, err := New(FormatNginx80)
	if err != nil {
		t.Fatal(err)
	}
	files := []File{{"new", long.Files()[0]}, {"old", short.Files()[0]}}
	for _, f := range []Format{FormatNginx48, FormatNginx80} {
		set, err := Parse(f, files...)
		if err != nil {
			t.Fatalf("%v: %v", f, err)
		}
		for i, k := range set.InUse() {
			ours, err := k.TicketKey()
			if err != nil {
				t.Fatal(err)
			}
			if want := []ticket.Form{ticket.FormOpenSSL256, ticket.FormOpenSSL128}[i]; ours.Form() != want {
				t.Errorf("%v: key %d is %v, want %v", f, i, ours.Form(), want)
			}
		}
		for i, data := range set.Files() {
			if !bytes.Equal(data, files[i].Data) {
				t.Errorf("%v: file %d came back as another", f, i)
			}
		}
		rotated, err := set.Rotate(3)
		if err != nil || len(rotated.Files()[0]) != layouts[f].size() || !bytes.Equal(rotated.Files()[2], files[1].Data) {
			t.Errorf("%v: rotated %v, %v", f, rotated, err)
		}
		for _, to := range []Format{FormatHAProxy48, FormatHAProxy80, FormatApache48} {
			if c, err := set.Convert(to); err == nil {
				t.Errorf("%v became %v", set, c)
			}
		}
		if c, err := set.Convert(f); err != nil || !bytes.Equal(c.Files()[0], files[0].Data) {
			t.Errorf("%v as it is: %v, %v", f, c, err)
		}
	}
	if _, err := Parse(FormatApache48, files...); err == nil {
		t.Error("Apache took a file of 80 bytes")
	}
}
