package ticket

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

// A ticket of libssl 3.0 under the keys 00, 01, ... 4f, and what is in it: a
// session of TLS 1.2 without a client certificate.
var (
	opensslTicket = mustHex("000102030405060708090a0b0c0d0e0f902d519731a44ed3bd427d99626f2a15ceb1451212bd6cc98c028d3cd14abde3722b9365b2ae33c871bf9c5aec966d9636b53189b3bacfe7cbd59ed9aef2cc2404bb37d49e4e3c006dffca81dc539c332ee80be964fc82a64fe187e7501d68c59bbd089877045779e9954e4452c122bcf2a910c9a5d9423aaa3d9be5ad7985a6e95016a5f16ca7365051d53e745ad782")

	opensslSession12 = mustHex("305b020101020203030402c03004000430c9902d5faba9c7e67f003ec7482064da1b75d508c902b52a440c99cea72f128a16ae6d19c374f99c09f9ed21a7c15e46a10602046b01eddca20402021c20a4020400ad03020101b30302011d")

	// A session of TLS 1.3, of libssl 3.0 too.
	opensslSession13 = mustHex("307f020101020203040402130204205648b9cb63d097a180b0eee3d3a5027881af671bce1a94ebcda82302b3085f230430a2f5c46d15b030e14da6124023f72083495adf0f768bf0b9a56d6d54f2a5fdc8dc4df69714d259703f62fb7fcb3a2189a10602046b01eddca20402021c20a4020400ae07020500ef545dd6b30302011d")
)

// vectorOpenSSL has the keys of opensslTicket, which NewOpenSSL refuses.
func vectorOpenSSL() *OpenSSL {
	b := counting(OpenSSLKeySize)
	return &OpenSSL{newSole(newOpenSSLKey([keyNameSize]byte(b), b[48:], b[16:48]))}
}

func testOpenSSL(tb testing.TB) *OpenSSL {
	tb.Helper()
	o, err := NewOpenSSL(bytes.Join([][]byte{testName[:], testHMAC, testAES}, nil))
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

func TestOpenSSLVectors(t *testing.T) {
	o := vectorOpenSSL()
	session, renew, err := o.Open(opensslTicket)
	if err != nil || renew || !bytes.Equal(session, opensslSession12) {
		t.Fatalf("Open = %x, %v, %v", session, renew, err)
	}
	for _, want := range [][]byte{opensslSession12, opensslSession13} {
		ticket := mustSeal(t, o, want)
		if got, _, err := o.Open(ticket); err != nil || !bytes.Equal(got, want) {
			t.Errorf("Open = %x, %v, want %x", got, err, want)
		}
	}
}

// TestOpenSSLLayout takes a ticket apart as libssl does, without this package.
func TestOpenSSLLayout(t *testing.T) {
	for _, size := range []int{16, 32} {
		k := testOpenSSLKey(t, size)
		ticket := k.box.seal(opensslSession13)
		signed, tag := ticket[:len(ticket)-32], ticket[len(ticket)-32:]
		mac := hmac.New(sha256.New, testHMAC[:size])
		mac.Write(signed)
		if !bytes.Equal(mac.Sum(nil), tag) {
			t.Error("the last 32 bytes are not the HMAC of all before")
		}
		if !bytes.Equal(signed[:16], testName[:]) {
			t.Errorf("name %x", signed[:16])
		}
		block, err := aes.NewCipher(testAES[:size])
		if err != nil {
			t.Fatal(err)
		}
		body := bytes.Clone(signed[32:])
		cipher.NewCBCDecrypter(block, signed[16:32]).CryptBlocks(body, body)
		pad := 16 - len(opensslSession13)%16
		if want := append(bytes.Clone(opensslSession13), bytes.Repeat([]byte{byte(pad)}, pad)...); !bytes.Equal(body, want) {
			t.Errorf("decrypted %x, want %x", body, want)
		}
	}
}

func TestOpenSSLRoundTrip(t *testing.T) {
	boxes := []*Key{GenerateKey(FormOpenSSL128), GenerateKey(FormOpenSSL256)}
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(boxes).Draw(t, "key")
		want := rapid.SliceOf(rapid.Byte()).Draw(t, "session")
		given := bytes.Clone(want)
		ticket := k.box.seal(given)
		if !bytes.Equal(given, want) {
			t.Fatal("seal changed the session")
		}
		sealed := bytes.Clone(ticket)
		if over := len(ticket) - len(want); over < 65 || over > 80 {
			t.Fatalf("%d bytes longer than its session", over)
		}
		for range 2 {
			got, err := k.box.open(ticket)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("opened %x, %v, sealed %x", got, err, want)
			}
			clear(got)
		}
		if !bytes.Equal(ticket, sealed) {
			t.Fatal("open changed the ticket")
		}
	})
}

func TestOpenSSLIVsDiffer(t *testing.T) {
	o := testOpenSSL(t)
	const n = 10_000
	seen := make(map[[16]byte]struct{}, n)
	for range n {
		seen[[16]byte(mustSeal(t, o, nil)[16:])] = struct{}{}
	}
	if len(seen) != n {
		t.Errorf("%d IVs in %d tickets", len(seen), n)
	}
}

// wantRefused says what a changed ticket must give: nothing, and an error that
// depends on whether the name is still there.
func wantRefused(t *testing.T, s Sealer, what string, ticket []byte, named bool) {
	t.Helper()
	want := ErrUnknownKey
	if named {
		want = ErrForged
	}
	if session, renew, err := s.Open(ticket); !errors.Is(err, want) || session != nil || renew {
		t.Errorf("%s: Open = %q, %v, %v, want %v", what, session, renew, err, want)
	}
}

func TestOpenSSLFlippedBits(t *testing.T) {
	o := vectorOpenSSL()
	ticket := bytes.Clone(opensslTicket)
	for i := range ticket {
		for bit := range 8 {
			ticket[i] ^= 1 << bit
			wantRefused(t, o, "flipped", ticket, i >= keyNameSize)
			ticket[i] ^= 1 << bit
		}
	}
	if _, _, err := o.Open(ticket); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

func TestOpenSSLCut(t *testing.T) {
	o := vectorOpenSSL()
	for n := range opensslTicket {
		wantRefused(t, o, "its beginning", opensslTicket[:n], n >= keyNameSize)
		wantRefused(t, o, "its end", opensslTicket[n+1:], false)
	}
	wantRefused(t, o, "a byte more", append(bytes.Clone(opensslTicket), 0), true)
}

// TestOpenSSLAuthenticWreckage: what has a good MAC and makes no sense was made
// by a holder of the key that is broken, and does no harm.
func TestOpenSSLAuthenticWreckage(t *testing.T) {
	o := testOpenSSL(t)
	box := o.sole.key.box.(*cbcBox)
	sign := func(b []byte) []byte {
		m := hmac.New(sha256.New, testHMAC)
		m.Write(b)
		return m.Sum(bytes.Clone(b))
	}
	encrypted := func(plain []byte) []byte {
		b := append(testName[:], make([]byte, 16)...)
		body := bytes.Clone(plain)
		cipher.NewCBCEncrypter(box.block, b[16:32]).CryptBlocks(body, body)
		return sign(append(b, body...))
	}
	if session, _, err := o.Open(encrypted([]byte("a session\x07\x07\x07\x07\x07\x07\x07"))); err != nil || string(session) != "a session" {
		t.Fatalf("well padded: %q, %v", session, err)
	}
	for name, last := range map[string]string{
		"no padding": "a session\x00\x00\x00\x00\x00\x00\x00",
		"too long":   "a session\x11\x11\x11\x11\x11\x11\x11",
		"far longer": "a session\xff\xff\xff\xff\xff\xff\xff",
		"uneven":     "a session\x06\x07\x07\x07\x07\x07\x07",
	} {
		wantRefused(t, o, name, encrypted([]byte(last)), true)
	}
	if session, _, err := o.Open(encrypted(bytes.Repeat([]byte{16}, 16))); err != nil || len(session) != 0 {
		t.Errorf("nothing but padding: %q, %v", session, err)
	}
	for n := range 64 {
		if n%16 != 0 || n == 0 {
			wantRefused(t, o, "not whole blocks", sign(append(testName[:], make([]byte, 16+n)...)), true)
		}
	}
	wantRefused(t, o, "only a name", sign(testName[:]), true)
}

// countingBlock counts how often a cipher is used.
type countingBlock struct {
	cipher.Block
	used int
}

func (b *countingBlock) Decrypt(dst, src []byte) { b.used++; b.Block.Decrypt(dst, src) }

// TestAttackDecryptBeforeMAC: a ticket that is not authentic never reaches the
// cipher, so there is no oracle of its padding.
func TestAttackDecryptBeforeMAC(t *testing.T) {
	o := vectorOpenSSL()
	box := o.sole.key.box.(*cbcBox)
	block := &countingBlock{Block: box.block}
	box.block = block
	ticket := bytes.Clone(opensslTicket)
	for i := range ticket {
		ticket[i] ^= 1
		if _, _, err := o.Open(ticket); err == nil {
			t.Errorf("byte %d changed: opened", i)
		}
		ticket[i] ^= 1
		if _, _, err := o.Open(ticket[:i]); err == nil {
			t.Errorf("%d bytes: opened", i)
		}
	}
	if block.used != 0 {
		t.Errorf("the cipher was used %d times on what is not authentic", block.used)
	}
	if _, _, err := o.Open(ticket); err != nil || block.used == 0 {
		t.Errorf("an authentic ticket: %v, cipher used %d times", err, block.used)
	}
}

func TestOpenSSLOtherKey(t *testing.T) {
	ticket := testOpenSSLKey(t, 32).box.seal([]byte("session"))
	wantRefused(t, vectorOpenSSL(), "another name", ticket, false)
	wantRefused(t, NewAEAD(), "another form", ticket, false)
	wantRefused(t, testOpenSSL(t), "AEAD's form", mustSeal(t, NewAEAD(), nil), false)

	// One name, and one of the secrets another: a file read in another order.
	for what, k := range map[string]*Key{
		"HMAC": newOpenSSLKey(testName, testAES, testAES),
		"both": newOpenSSLKey(testName, testHMAC, testAES),
		"AES":  newOpenSSLKey(testName, testHMAC, testHMAC),
	} {
		session, err := k.box.open(ticket)
		if err == nil && bytes.Equal(session, []byte("session")) {
			t.Errorf("%s swapped: opened", what)
		}
		if what != "AES" && !errors.Is(err, ErrForged) {
			t.Errorf("%s swapped: %v, want ErrForged", what, err)
		}
	}
}

func TestOpenSSLClose(t *testing.T) {
	o := testOpenSSL(t)
	ticket := mustSeal(t, o, []byte("session"))
	for range 2 {
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := o.Seal(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Seal = %v, want ErrClosed", err)
	}
	wantRefused(t, o, "closed", ticket, false)
	wantWiped(t, o.sole.key)
}

func TestOpenSSLExhausted(t *testing.T) {
	o := testOpenSSL(t)
	if o.sole.key.limit != 1<<40 {
		t.Error("the limit is not 2^40 tickets")
	}
	o.sole.key.limit = 2
	mustSeal(t, o, nil)
	ticket := mustSeal(t, o, nil)
	if _, err := o.Seal(nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("Seal = %v, want ErrExhausted", err)
	}
	if _, _, err := o.Open(ticket); err != nil {
		t.Errorf("an exhausted key does not open: %v", err)
	}
}

func TestNewOpenSSLRefuses(t *testing.T) {
	for _, size := range []int{0, 48, 79, 81} {
		if o, err := NewOpenSSL(make([]byte, size)); err == nil || o != nil {
			t.Errorf("keys of %d bytes were accepted", size)
		}
	}
}
