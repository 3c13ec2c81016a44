package ticket

import (
	"bytes"
	"crypto/fips140"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// testKey is a fixed key, so that what is printed can be searched for it.
var testKey = mustHex(
	"8f1c6be0d2437a95041de9b852c76fa3" +
		"d17e04a96c83f25b1fbe7730c4e8955a2b90d643ef081ca7725dfa1698b34ce1")

// knownTicket was sealed with testKey around "a session from earlier".
const knownTicket = "018f1c6be0d2437a95041de9b852c76fa3" +
	"f26463e4f451c240321325f7" +
	"7dfc227247e649a1e180643441675995cd0a81966d39c9f95cbdd4f01dfdbbd621dd35e9d08c"

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func testAEAD(tb testing.TB) *AEAD {
	tb.Helper()
	a, err := NewAEADKey(testKey)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func mustSeal(tb testing.TB, s Sealer, session []byte) []byte {
	tb.Helper()
	ticket, err := s.Seal(session)
	if err != nil {
		tb.Fatal(err)
	}
	return ticket
}

func TestAEADRoundTrip(t *testing.T) {
	a := NewAEAD()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Byte()).Draw(t, "session")
		given := bytes.Clone(want)
		ticket, err := a.Seal(given)
		if err != nil {
			t.Fatal(err)
		}
		sealed := bytes.Clone(ticket)
		clear(given)
		got, renew, err := a.Open(ticket)
		if err != nil || renew {
			t.Fatalf("Open: renew %v, %v", renew, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("opened %x, sealed %x", got, want)
		}
		if !bytes.Equal(ticket, sealed) {
			t.Fatal("Open changed the ticket")
		}
		clear(got)
		if again, _, err := a.Open(ticket); err != nil || !bytes.Equal(again, want) {
			t.Fatalf("the second Open: %x, %v", again, err)
		}
	})
}

// TestAEADLayout holds tickets to the layout in the comment of AEAD.
func TestAEADLayout(t *testing.T) {
	session := bytes.Repeat([]byte("session "), 20)
	ticket := mustSeal(t, testAEAD(t), session)
	if ticket[0] != 1 {
		t.Errorf("revision %d", ticket[0])
	}
	if !bytes.Equal(ticket[1:17], testKey[:16]) {
		t.Errorf("key name %x", ticket[1:17])
	}
	if len(ticket) != 45+len(session) {
		t.Errorf("%d bytes for a session of %d", len(ticket), len(session))
	}
	if bytes.Contains(ticket, []byte("session")) {
		t.Error("the session is legible")
	}
}

// TestAEADKnownTicket opens a ticket of an earlier build: a change of the
// layout without a change of the revision fails here.
func TestAEADKnownTicket(t *testing.T) {
	ticket := mustHex(knownTicket)
	session, _, err := testAEAD(t).Open(ticket)
	if err != nil || string(session) != "a session from earlier" {
		t.Fatalf("Open = %q, %v", session, err)
	}
}

func TestAEADFlippedBits(t *testing.T) {
	a := testAEAD(t)
	ticket := mustSeal(t, a, []byte("session"))
	for i := range ticket {
		for bit := range 8 {
			ticket[i] ^= 1 << bit
			want := ErrForged
			if i < aeadHeaderSize {
				want = ErrUnknownKey
			}
			if session, _, err := a.Open(ticket); !errors.Is(err, want) || session != nil {
				t.Errorf("byte %d, bit %d: Open = %q, %v, want %v", i, bit, session, err, want)
			}
			ticket[i] ^= 1 << bit
		}
	}
}

func TestAEADCut(t *testing.T) {
	a := testAEAD(t)
	ticket := mustSeal(t, a, []byte("session"))
	for n := range ticket {
		want := ErrForged
		if n < aeadHeaderSize {
			want = ErrUnknownKey
		}
		if session, _, err := a.Open(ticket[:n]); !errors.Is(err, want) || session != nil {
			t.Errorf("first %d bytes: Open = %q, %v, want %v", n, session, err, want)
		}
	}
	if _, _, err := a.Open(append(ticket, 0)); !errors.Is(err, ErrForged) {
		t.Errorf("with a byte more: %v, want ErrForged", err)
	}
	if _, _, err := a.Open(nil); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("nothing: %v, want ErrUnknownKey", err)
	}
}

func TestAEADOtherKey(t *testing.T) {
	ticket := mustSeal(t, NewAEAD(), []byte("session"))
	if _, _, err := NewAEAD().Open(ticket); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("another key: %v, want ErrUnknownKey", err)
	}

	// One name for two keys is a mistake that must not open anything.
	namesake := bytes.Clone(testKey)
	namesake[AEADKeySize-1] ^= 1
	b, err := NewAEADKey(namesake)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Open(mustSeal(t, testAEAD(t), []byte("session"))); !errors.Is(err, ErrForged) {
		t.Errorf("another key of the same name: %v, want ErrForged", err)
	}

	if _, _, err := testAEAD(t).Open(mustSeal(t, testAEAD(t), nil)); err != nil {
		t.Errorf("the same key in another process: %v", err)
	}
}

// TestAEADNoncesDiffer: one nonce used twice gives away the key that
// authenticates tickets.
func TestAEADNoncesDiffer(t *testing.T) {
	a := NewAEAD()
	const n = 100_000
	seen := make(map[[12]byte]struct{}, n)
	for range n {
		seen[[12]byte(mustSeal(t, a, nil)[aeadHeaderSize:])] = struct{}{}
	}
	if len(seen) != n {
		t.Errorf("%d nonces in %d tickets", len(seen), n)
	}
}

func TestAEADExhausted(t *testing.T) {
	if NewAEAD().sole.key.limit != 1<<32 || testAEAD(t).sole.key.limit != 1<<32 {
		t.Error("the limit is not 2^32 tickets")
	}
	a := NewAEAD()
	a.sole.key.limit = 100
	ticket := mustSeal(t, a, []byte("session"))
	var sealed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				switch _, err := a.Seal(nil); {
				case err == nil:
					sealed.Add(1)
				case !errors.Is(err, ErrExhausted):
					t.Errorf("Seal = %v, want ErrExhausted", err)
				}
			}
		})
	}
	wg.Wait()
	if sealed.Load() != 99 {
		t.Errorf("%d tickets after the first, want 99", sealed.Load())
	}
	if _, _, err := a.Open(ticket); err != nil {
		t.Errorf("an exhausted key does not open: %v", err)
	}
}

func TestAEADClose(t *testing.T) {
	a := testAEAD(t)
	ticket := mustSeal(t, a, []byte("session"))
	for range 2 {
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Seal(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Seal = %v, want ErrClosed", err)
	}
	if _, _, err := a.Open(ticket); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("Open = %v, want ErrUnknownKey", err)
	}
}

func TestAEADConcurrent(t *testing.T) {
	a := NewAEAD()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			session := []byte(fmt.Sprintf("session %d", i))
			for range 100 {
				ticket, err := a.Seal(session)
				if errors.Is(err, ErrClosed) {
					return
				}
				got, _, err := a.Open(ticket)
				if errors.Is(err, ErrUnknownKey) {
					return
				}
				if err != nil || !bytes.Equal(got, session) {
					t.Errorf("Open = %q, %v", got, err)
				}
			}
			a.Close()
		})
	}
	wg.Wait()
}

func TestNewAEADKeyRefuses(t *testing.T) {
	for _, size := range []int{0, 16, 32, 47, 49, 80} {
		if a, err := NewAEADKey(make([]byte, size)); err == nil || a != nil {
			t.Errorf("a key of %d bytes was accepted", size)
		}
	}
	for name, key := range map[string][]byte{
		"zeros":         make([]byte, 48),
		"one byte":      bytes.Repeat([]byte{0xa5}, 48),
		"counting":      counting(48),
		"zero secret":   append(bytes.Clone(testKey[:16]), make([]byte, 32)...),
		"half a secret": append(bytes.Clone(testKey[:32]), make([]byte, 16)...),
		"zero name":     append(make([]byte, 16), testKey[16:]...),
		"halves repeat": append(bytes.Clone(testKey[:32]), testKey[16:32]...),
	} {
		if a, err := NewAEADKey(key); !errors.Is(err, ErrWeakKey) || a != nil {
			t.Errorf("%s: NewAEADKey = %v, %v, want ErrWeakKey", name, a, err)
		}
	}
}

func TestNewAEADKeyCopies(t *testing.T) {
	key := bytes.Clone(testKey)
	a, err := NewAEADKey(key)
	if err != nil {
		t.Fatal(err)
	}
	clear(key)
	if _, _, err := testAEAD(t).Open(mustSeal(t, a, nil)); err != nil {
		t.Errorf("clearing the caller's key changed the sealer: %v", err)
	}
	if !bytes.Equal(key, make([]byte, len(key))) {
		t.Error("the caller's key was written to")
	}
}

func TestAEADFormatHidesKey(t *testing.T) {
	a := testAEAD(t)
	const want = "ticket.AEAD(4086f6111cf94d64)"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%08.3f", "%t"} {
		if got := fmt.Sprintf(verb, a); got != want {
			t.Errorf("%s prints %q, want %q", verb, got, want)
		}
	}
	if got := fmt.Sprint((*AEAD)(nil)); got != "ticket.AEAD(nil)" {
		t.Errorf("nil prints %q", got)
	}

	type holder struct {
		Public  Sealer
		private *AEAD
	}
	var out strings.Builder
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(handler)
		log.Info("sealer", "sealer", a, "any", []any{a}, "holder", holder{a, a}, "pointer", &holder{a, a})
		log.Info(fmt.Sprint(a), slog.Any("group", slog.GroupValue(slog.Any("sealer", a))))
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		fmt.Fprintf(&out, verb, holder{a, a})
		fmt.Fprintf(&out, verb, []*AEAD{a})
		fmt.Fprintf(&out, verb, map[string]Sealer{"sealer": a})
	}
	if !strings.Contains(out.String(), want) {
		t.Error("slog does not show the fingerprint")
	}
	for _, form := range keyForms(testKey[keyNameSize:]) {
		if strings.Contains(strings.ToLower(out.String()), strings.ToLower(form)) {
			t.Errorf("%q of the key is printed: %s", form, out.String())
		}
	}
}

// keyForms returns the ways in which a few bytes of key could be printed.
func keyForms(key []byte) []string {
	var forms []string
	for i := 0; i+4 <= len(key); i++ {
		b := key[i : i+4]
		decimal := strings.Trim(fmt.Sprint(b), "[]")
		forms = append(forms, string(b), hex.EncodeToString(b), fmt.Sprintf("% x", b), decimal,
			strings.ReplaceAll(decimal, " ", ","), strings.Trim(fmt.Sprintf("%#v", b), "[]byte{}"))
	}
	return append(forms, base64.StdEncoding.EncodeToString(key)[:12])
}

// TestAEADFIPSOnly runs this test binary again with nothing but FIPS 140
// algorithms.
func TestAEADFIPSOnly(t *testing.T) {
	const child = "TICKET_FIPS_CHILD"
	if os.Getenv(child) != "" {
		if !fips140.Enabled() {
			t.Fatal("FIPS 140 mode is off")
		}
		a := NewAEAD()
		if session, _, err := a.Open(mustSeal(t, a, []byte("session"))); err != nil || string(session) != "session" {
			t.Fatalf("Open = %q, %v", session, err)
		}
		if _, _, err := testAEAD(t).Open(mustHex(knownTicket)); err != nil {
			t.Fatalf("a ticket from outside FIPS mode: %v", err)
		}
		r, err := NewKeyRing(GenerateKey(FormAEAD), GenerateKey(FormOpenSSL128), GenerateKey(FormOpenSSL256))
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range r.keys {
			if session, _, err := r.Open(k.Key.box.seal([]byte("session"))); err != nil || string(session) != "session" {
				t.Errorf("%v in a ring: %q, %v", k.Key, session, err)
			}
		}
		if _, _, err := testOpenSSL(t).Open(mustSeal(t, testOpenSSL(t), nil)); err != nil {
			t.Errorf("OpenSSL's form: %v", err)
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestAEADFIPSOnly$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1", "GODEBUG=fips140=only")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestAEADFIPSOnly")) {
		t.Fatalf("%v\n%s", err, out)
	}
}
