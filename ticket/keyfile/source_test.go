package keyfile

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise/ticket"
)

var session = []byte("a session from earlier")

// write writes files into dir, in place, and returns their names.
func write(tb testing.TB, dir string, files ...File) (names []string) {
	tb.Helper()
	for _, file := range files {
		name := filepath.Join(dir, file.Name)
		if err := os.WriteFile(name, file.Data, 0o600); err != nil {
			tb.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

// replace writes a file beside name and renames it over name.
func replace(tb testing.TB, name string, data []byte) {
	tb.Helper()
	next := name + ".next"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(next, name); err != nil {
		tb.Fatal(err)
	}
}

func mustSource(tb testing.TB, f Format, names ...string) *Source {
	tb.Helper()
	s, err := NewSource(Config{Format: f, Files: names})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func newRing(tb testing.TB) *ticket.KeyRing {
	tb.Helper()
	r, err := ticket.NewKeyRing()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { r.Close() })
	return r
}

func load(tb testing.TB, r *ticket.KeyRing, s ticket.Source) {
	tb.Helper()
	if err := r.Load(tb.Context(), s); err != nil {
		tb.Fatal(err)
	}
}

func seal(tb testing.TB, s ticket.Sealer) []byte {
	tb.Helper()
	tkt, err := s.Seal(session)
	if err != nil {
		tb.Fatal(err)
	}
	return tkt
}

// sealsWith reports whether r seals with key i.
func sealsWith(tb testing.TB, r *ticket.KeyRing, i int) bool {
	tb.Helper()
	name, _, _ := parts(i, 32)
	return bytes.HasPrefix(seal(tb, r), name)
}

// openBy opens a ticket of OpenSSL's form with keys taken from elsewhere.
func openBy(tkt, aesKey, hmacKey []byte) ([]byte, error) {
	signed, tag := tkt[:len(tkt)-32], tkt[len(tkt)-32:]
	mac := hmac.New(sha256.New, hmacKey)
	mac.Write(signed)
	if !hmac.Equal(mac.Sum(nil), tag) {
		return nil, errors.New("wrong MAC")
	}
	block, err := aes.NewCipher(aesKey)
	if err != nil {
		return nil, err
	}
	text := bytes.Clone(signed[32:])
	cipher.NewCBCDecrypter(block, signed[16:32]).CryptBlocks(text, text)
	return text[:len(text)-int(text[len(text)-1])], nil
}

// TestSourceSeals: a ticket is sealed with the bytes of the file that the
// servers of its form use, cut out of the file here once more.
func TestSourceSeals(t *testing.T) {
	for _, c := range []struct {
		f         Format
		key       int // which of the file's encrypts
		aes, hmac [2]int
	}{
		{FormatNginx48, 0, [2]int{16, 32}, [2]int{32, 48}},
		{FormatNginx80, 0, [2]int{48, 80}, [2]int{16, 48}},
		{FormatHAProxy48, 2, [2]int{16, 32}, [2]int{32, 48}},
		{FormatHAProxy80, 2, [2]int{16, 48}, [2]int{48, 80}},
		{FormatApache48, 0, [2]int{32, 48}, [2]int{16, 32}},
	} {
		r := newRing(t)
		load(t, r, mustSource(t, c.f, write(t, t.TempDir(), files(c.f, 4)...)...))
		key := raw(c.key, secretOf(c.f))
		tkt := seal(t, r)
		if !bytes.Equal(tkt[:16], key[:16]) {
			t.Errorf("%v: sealed with a key of another name", c.f)
		}
		aesKey, hmacKey := key[c.aes[0]:c.aes[1]], key[c.hmac[0]:c.hmac[1]]
		if got, err := openBy(tkt, aesKey, hmacKey); err != nil || !bytes.Equal(got, session) {
			t.Errorf("%v: %q, %v", c.f, got, err)
		}
		if _, err := openBy(tkt, hmacKey, aesKey); err == nil {
			t.Errorf("%v: the order of the keys makes no difference", c.f)
		}
	}
}

// TestSourceOpens: which keys open, and what is renewed.
func TestSourceOpens(t *testing.T) {
	const unknown, renewed, stays = "unknown", "renewed", "stays"
	for f, want := range map[Format][]string{
		FormatNginx48:   {stays, renewed, renewed, renewed},
		FormatNginx80:   {stays, renewed, renewed, renewed},
		FormatApache48:  {stays, renewed, renewed, renewed},
		FormatHAProxy48: {unknown, renewed, stays, stays}, // the last line is newer than what encrypts
		FormatHAProxy80: {unknown, renewed, stays, stays},
	} {
		r := newRing(t)
		load(t, r, mustSource(t, f, write(t, t.TempDir(), files(f, 4)...)...))
		for i, k := range mustParse(t, f, files(f, 4)...).Keys() {
			key, err := k.TicketKey()
			if err != nil {
				t.Fatal(err)
			}
			one, err := ticket.NewKeyRing(key)
			if err != nil {
				t.Fatal(err)
			}
			got := stays
			switch _, renew, err := r.Open(seal(t, one)); {
			case errors.Is(err, ticket.ErrUnknownKey):
				got = unknown
			case err != nil:
				got = err.Error()
			case renew:
				got = renewed
			}
			if got != want[i] {
				t.Errorf("%v: a ticket under key %d: %s, want %s", f, i, got, want[i])
			}
		}
	}
}

func TestNewSourceRefuses(t *testing.T) {
	for _, c := range []Config{
		{}, {Format: FormatNginx48}, {Files: []string{"keys"}}, {Format: FormatHAProxy80, Files: []string{"a", "b"}},
	} {
		if s, err := NewSource(c); err == nil {
			s.Close()
			t.Errorf("%+v was taken", c)
		}
	}
}

// TestSourceAbsolute: a file of a relative name is found from elsewhere too.
func TestSourceAbsolute(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, ".", files(FormatNginx80, 1)...)
	s := mustSource(t, FormatNginx80, "keys0")
	t.Chdir(t.TempDir())
	load(t, newRing(t), s)
}

func TestReload(t *testing.T) {
	s, err := newSource(Config{Format: FormatNginx80, Files: []string{"keys"}})
	if err != nil {
		t.Fatal(err)
	}
	one, other := s.Changed(), s.Changed()
	s.Reload()
	<-one
	<-other
	select {
	case <-s.Changed():
		t.Error("one reload is told twice")
	default:
	}
}

// outages are what can happen to the first of two files of nginx80.
var outages = map[string]func(t *testing.T, name string){
	"gone":       func(t *testing.T, name string) { remove(t, name) },
	"empty":      func(t *testing.T, name string) { write(t, "", File{name, nil}) },
	"cut off":    func(t *testing.T, name string) { write(t, "", File{name, raw(7, 32)[:79]}) },
	"too long":   func(t *testing.T, name string) { write(t, "", File{name, append(raw(7, 32), '\n')}) },
	"wrong form": func(t *testing.T, name string) { write(t, "", File{name, raw(7, 32)[:64]}) },
	"zeros":      func(t *testing.T, name string) { write(t, "", File{name, make([]byte, 80)}) },
	"the other":  func(t *testing.T, name string) { write(t, "", File{name, raw(1, 32)}) },
	"a directory": func(t *testing.T, name string) {
		remove(t, name)
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	},
	"a link to itself": func(t *testing.T, name string) {
		remove(t, name)
		if err := os.Symlink(name, name); err != nil {
			t.Fatal(err)
		}
	},
	"a device": func(t *testing.T, name string) {
		remove(t, name)
		if err := os.Symlink("/dev/zero", name); err != nil {
			t.Fatal(err)
		}
	},
	"not readable": func(t *testing.T, name string) {
		if err := os.Chmod(name, 0); err != nil {
			t.Fatal(err)
		}
		if f, err := os.Open(name); err == nil { // by root: then what cannot be read at all
			f.Close()
			remove(t, name)
			if err := os.Symlink("/proc/self/mem", name); err != nil {
				t.Fatal(err)
			}
		}
	},
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
}

// TestOutage: whatever happens to a file, the last good keys serve on, the alarm
// is raised once, and what the file holds when it is back is used. Nothing
// watches here: the files are read from time to time.
func TestOutage(t *testing.T) {
	for name, happens := range outages {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testOutage(t, happens) }) })
	}
}

func testOutage(t *testing.T, happens func(*testing.T, string)) {
	names := write(t, t.TempDir(), files(FormatNginx80, 2)...)
	var log bytes.Buffer
	s, err := newSource(Config{Format: FormatNginx80, Files: names, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r := newRing(t)
	var alarms []error
	ctx, stop := context.WithCancel(t.Context())
	defer synctest.Wait()
	defer stop()
	go r.Follow(ctx, s, ticket.FollowConfig{Alarm: func(err error) { alarms = append(alarms, err) }})
	pass := func(d time.Duration) {
		time.Sleep(d)
		synctest.Wait()
	}
	pass(time.Second)
	before := seal(t, r)

	happens(t, names[0])
	for range 10 {
		pass(time.Minute)
		if _, renew, err := r.Open(before); err != nil || renew || !sealsWith(t, r, 0) {
			t.Fatalf("the last good keys do not serve on: %v", err)
		}
	}
	if len(alarms) != 1 || alarms[0] == nil || !strings.Contains(alarms[0].Error(), names[0]) {
		t.Errorf("alarms %v, want one that names the file", alarms)
	}
	if stats := r.Stats(); stats.SourceOutages != 1 || stats.SourceFailures < 10 || !stats.SourceDown {
		t.Errorf("%+v", stats)
	}

	remove(t, names[0])
	write(t, "", File{names[0], raw(5, 32)})
	pass(time.Minute)
	if !sealsWith(t, r, 5) {
		t.Error("the file is back, and its key is not used")
	}
	if len(alarms) != 2 || alarms[1] != nil || r.Stats().SourceDown {
		t.Errorf("alarms %v, want one and its end", alarms)
	}
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || strings.Count(got, "level=INFO") != 1 {
		t.Errorf("the log is not one line for the outage and one for its end:\n%s", got)
	}
	if form := leaks(mustParse(t, FormatNginx80, files(FormatNginx80, 8)...), fmt.Sprint(alarms, log.String())); form != "" {
		t.Errorf("a key was told: %q", form)
	}
}

// TestReplacedUnderLoad: the file is rotated a thousand times while tickets are
// sealed and opened. Sealing never fails, and a ticket opens unless its key has
// left the file.
func TestReplacedUnderLoad(t *testing.T) {
	set := mustNew(t, FormatHAProxy80)
	name := filepath.Join(t.TempDir(), "keys")
	replace(t, name, set.Files()[0])
	s := mustSource(t, FormatHAProxy80, name)
	r, follower := newRing(t), newRing(t)
	load(t, r, s)
	load(t, follower, s)

	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		follower.Follow(ctx, s, ticket.FollowConfig{Alarm: func(err error) { t.Error("alarm:", err) }})
	})
	var begun, done atomic.Int64 // rotations
	for range 2 {
		running.Go(func() {
			for ctx.Err() == nil {
				before := done.Load()
				tkt, err := r.Seal(session)
				if err != nil {
					t.Error(err)
					return
				}
				got, _, err := r.Open(tkt)
				// A key still opens after the rotation that ends its use.
				if n := begun.Load() - before; err != nil && n <= 1 || err == nil && !bytes.Equal(got, session) {
					t.Errorf("%d rotations: %q, %v", n, got, err)
					return
				}
				if tkt, err = follower.Seal(session); err != nil {
					t.Error(err)
					return
				}
				if _, _, err := follower.Open(tkt); err != nil && !errors.Is(err, ticket.ErrUnknownKey) {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 1000 {
		next, err := set.Rotate(3)
		if err != nil {
			t.Fatal(err)
		}
		begun.Add(1)
		replace(t, name, next.Files()[0])
		load(t, r, s)
		done.Add(1)
		set = next
	}
	// Whatever Follow saw of the thousand, it does not miss the last one.
	for last := set.InUse()[0].Name(); !bytes.HasPrefix(seal(t, follower), last[:]); {
		runtime.Gosched()
	}
	stop()
	running.Wait()
}
