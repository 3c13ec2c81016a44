package ticket

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Fixed parts of keys of OpenSSL's form, so that what is printed can be
// searched for them.
var (
	testName = [16]byte(mustHex("3b9f04c7e1528dd6a0f37b1964ce85b2"))
	testAES  = mustHex("c41d7e90ab3f5826f90b64dd1337e2857b0ac96e52f81db4409e63cf2a75118e")
	testHMAC = mustHex("0e93d5b7284c6fa15dc21a80b64739f2e86b15c09d7af34e216fb85394ce0d7a")
)

func testOpenSSLKey(tb testing.TB, size int) *Key {
	tb.Helper()
	k, err := NewOpenSSLKey(testName, testAES[:size], testHMAC[:size])
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

var forms = []Form{FormAEAD, FormOpenSSL128, FormOpenSSL256}

func TestNewOpenSSLKey(t *testing.T) {
	for size, want := range map[int]Form{16: FormOpenSSL128, 32: FormOpenSSL256} {
		k := testOpenSSLKey(t, size)
		if k.Form() != want || k.Name() != testName {
			t.Errorf("%d bytes: form %v, name %x", size, k.Form(), k.Name())
		}
	}
	for _, sizes := range [][2]int{{0, 16}, {16, 0}, {24, 32}, {32, 24}, {15, 16}, {32, 31}} {
		if k, err := NewOpenSSLKey(testName, testAES[:sizes[0]], testHMAC[:sizes[1]]); err == nil || k != nil {
			t.Errorf("AES and HMAC keys of %v bytes were accepted", sizes)
		}
	}
}

func TestNewGCMKey(t *testing.T) {
	k, err := NewGCMKey(testKey)
	if err != nil || k.Form() != FormAEAD || k.Name() != [16]byte(testKey) {
		t.Fatalf("NewGCMKey = %v, %v", k, err)
	}
	if k.Fingerprint() != "4086f6111cf94d64" {
		t.Errorf("fingerprint %s", k.Fingerprint())
	}
	if k, err := NewGCMKey(testKey[:47]); err == nil || k != nil {
		t.Error("a key of 47 bytes was accepted")
	}
}

// TestAttackWeakKeys: keys that an attacker can guess are refused, whichever
// part of them is weak (Hebrok et al., USENIX Security 2023).
func TestAttackWeakKeys(t *testing.T) {
	zero := make([]byte, 32)
	phrase := bytes.Repeat([]byte("ticket key of example.com!"), 4)
	for name, c := range map[string]struct{ name, aes, hmac []byte }{
		"zeros":             {zero[:16], zero, zero},
		"zero name":         {zero[:16], testAES, testHMAC},
		"zero AES":          {testName[:], zero, testHMAC},
		"zero HMAC":         {testName[:], testAES, zero},
		"zero HMAC of 16":   {testName[:], testAES[:16], zero[:16]},
		"half an AES key":   {testName[:], append(testAES[:16:16], zero[:16]...), testHMAC},
		"half an HMAC key":  {testName[:], testAES, append(testHMAC[:16:16], zero[:16]...)},
		"repeated AES":      {testName[:], bytes.Repeat(testAES[:8], 4), testHMAC},
		"counting":          {counting(80)[:16], counting(80)[48:], counting(80)[16:48]},
		"one key for both":  {testName[:], testAES, testAES},
		"a repeated phrase": {phrase[:16], phrase[16:48], phrase[48:80]},
		"likewise, swapped": {phrase[:16], phrase[48:80], phrase[16:48]},
	} {
		if k, err := NewOpenSSLKey([16]byte(c.name), c.aes, c.hmac); !errors.Is(err, ErrWeakKey) || k != nil {
			t.Errorf("%s: NewOpenSSLKey = %v, %v, want ErrWeakKey", name, k, err)
		}
		block := bytes.Join([][]byte{c.name, c.hmac, c.aes}, nil)
		if len(block) != OpenSSLKeySize {
			continue
		}
		if o, err := NewOpenSSL(block); !errors.Is(err, ErrWeakKey) || o != nil {
			t.Errorf("%s: NewOpenSSL = %v, %v, want ErrWeakKey", name, o, err)
		}
	}
	for name, key := range map[string][]byte{
		"zeros":             make([]byte, 48),
		"zero secret":       append(testKey[:16:16], zero...),
		"zero name":         append(zero[:16:16], testKey[16:]...),
		"a repeated phrase": phrase[:48],
	} {
		if k, err := NewGCMKey(key); !errors.Is(err, ErrWeakKey) || k != nil {
			t.Errorf("%s: NewGCMKey = %v, %v, want ErrWeakKey", name, k, err)
		}
	}
}

func TestKeyCopies(t *testing.T) {
	aes, mac, both := bytes.Clone(testAES), bytes.Clone(testHMAC), bytes.Clone(testKey)
	o, err := NewOpenSSLKey(testName, aes, mac)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewGCMKey(both)
	if err != nil {
		t.Fatal(err)
	}
	clear(aes)
	clear(mac)
	clear(both)
	same, _ := NewGCMKey(testKey)
	for k, twin := range map[*Key]*Key{o: testOpenSSLKey(t, 32), a: same} {
		if session, err := twin.box.open(k.box.seal([]byte("session"))); err != nil || string(session) != "session" {
			t.Errorf("clearing the caller's bytes changed %v: %v", k, err)
		}
	}
}

func TestGenerateKey(t *testing.T) {
	for _, form := range forms {
		a, b := GenerateKey(form), GenerateKey(form)
		if a.Form() != form || a.conflicts(b) {
			t.Errorf("%v and %v of form %v", a, b, form)
		}
		if _, err := b.box.open(a.box.seal(nil)); !errors.Is(err, ErrForged) {
			t.Errorf("%v: another key's ticket: %v, want ErrForged", form, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a form that is none was accepted")
		}
	}()
	GenerateKey(0)
}

// secretsKept returns the bytes of key that k still holds.
func secretsKept(k *Key) []byte {
	kept := bytes.Clone(k.secret[:])
	if b, ok := k.box.(*cbcBox); ok {
		kept = append(kept, b.hmacKey...)
	}
	return bytes.Trim(kept, "\x00")
}

func wantWiped(t *testing.T, k *Key) {
	t.Helper()
	if k.hold() {
		t.Errorf("%v can still be used", k)
		k.release()
		return
	}
	if k.box != nil || len(secretsKept(k)) != 0 {
		t.Errorf("%v is not wiped", k)
	}
}

func TestKeyWipe(t *testing.T) {
	for _, form := range forms {
		k := GenerateKey(form)
		box := k.box
		if len(secretsKept(k)) == 0 {
			t.Fatal("there is nothing to be wiped: the test would prove nothing")
		}
		if !k.hold() {
			t.Fatal("a new key cannot be used")
		}
		k.Wipe()
		if _, err := k.seal(nil); err != nil {
			t.Errorf("%v was wiped while it was held: %v", k, err)
		}
		k.release()
		if !k.hold() {
			t.Errorf("%v was wiped without being taken over", k)
		}
		k.release()
		for range 2 {
			k.Wipe()
			wantWiped(t, k)
		}
		if b, ok := box.(*cbcBox); ok && len(bytes.Trim(b.hmacKey, "\x00")) != 0 {
			t.Errorf("%v: the HMAC key is not wiped", k)
		}
		if _, err := NewKeyRing(k); !errors.Is(err, ErrWiped) {
			t.Errorf("a ring of a wiped key: %v, want ErrWiped", err)
		}
	}
}

func TestKeyFormatHidesSecrets(t *testing.T) {
	gcm, err := NewGCMKey(testKey)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := NewOpenSSL(bytes.Join([][]byte{testName[:], testHMAC, testAES}, nil))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := NewKeyRing(testOpenSSLKey(t, 16), gcm)
	if err != nil {
		t.Fatal(err)
	}
	k := testOpenSSLKey(t, 32)
	type holder struct {
		Key     *Key
		private *Key
		Ring    *KeyRing
		Sealer  *OpenSSL
	}
	h := holder{k, k, ring, sealer}
	state := RingState{Keys: []RingKey{{Key: k}, {Key: gcm}}}

	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%08.3f", "%t"} {
		if got, want := fmt.Sprintf(verb, k), "ticket.Key(openssl-256 "+k.Fingerprint()+")"; got != want {
			t.Errorf("%s prints %q, want %q", verb, got, want)
		}
		for _, v := range []any{k, gcm, sealer, ring, h, &h, state, []any{k, ring}, ring.Stats()} {
			fmt.Fprintf(&out, verb, v)
		}
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("keys", "key", k, "ring", ring, "sealer", sealer, "holder", h, "state", state, "stats", ring.Stats())
	}
	printed := strings.ToLower(out.String())
	for _, secret := range [][]byte{testAES, testHMAC, testKey[16:]} {
		for _, form := range keyForms(secret) {
			if strings.Contains(printed, strings.ToLower(form)) {
				t.Errorf("%q of a key is printed", form)
			}
		}
	}
	for _, want := range []string{k.Fingerprint(), gcm.Fingerprint(), "ticket.KeyRing(2 keys, seals with "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not printed", want)
		}
	}
	for _, v := range []any{(*Key)(nil), (*OpenSSL)(nil), (*KeyRing)(nil)} {
		if got := fmt.Sprint(v); !strings.HasSuffix(got, "(nil)") {
			t.Errorf("nil %T prints %q", v, got)
		}
	}
}
