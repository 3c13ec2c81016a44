package asn1sess

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"
)

// textSession has something in every line of the text form.
var textSession = Session{
	Version: 0x0304, Cipher: 0x1302, ID: []byte{0x0a, 0xff}, MasterKey: []byte("very secret"), IDContext: []byte{1},
	Time: 1700000000, Timeout: 7200, VerifyResult: 18, PSKIdentity: []byte("me"), PSKIdentityHint: []byte("you"),
	TicketLifetimeHint: 300, Ticket: []byte("0123456789abcdef\x00~\x7f "), CompressID: 1, Flags: 1, MaxEarlyData: 16384,
}

const textWant = `SSL-Session:
    Protocol  : TLSv1.3
    Cipher    : TLS_AES_256_GCM_SHA384
    Session-ID: 0AFF
    Session-ID-ctx: 01
    Resumption PSK: (hidden)
    PSK identity: me
    PSK identity hint: you
    SRP username: None
    TLS session ticket lifetime hint: 300 (seconds)
    TLS session ticket:
    0000 - 30 31 32 33 34 35 36 37-38 39 61 62 63 64 65 66   0123456789abcdef
    0010 - 00 7e 7f 20                                       .~. 

    Compression: 1
    Start Time: 1700000000
    Timeout   : 7200 (sec)
    Verify return code: 18 (self-signed certificate)
    Extended master secret: yes
    Max Early Data: 16384
`

func TestWriteText(t *testing.T) {
	var b strings.Builder
	if err := WriteText(&b, &textSession, true); err != nil {
		t.Fatal(err)
	}
	if b.String() != textWant {
		t.Errorf("got\n%s\nwant\n%s", b.String(), textWant)
	}
	b.Reset()
	if err := WriteText(&b, &textSession, false); err != nil {
		t.Fatal(err)
	}
	key := strings.ToUpper(hex.EncodeToString(textSession.MasterKey))
	if want := strings.Replace(textWant, "(hidden)", key, 1); b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestWriteTextEmpty holds the one line of difference from libssl, which would stop at the
// identity.
func TestWriteTextEmpty(t *testing.T) {
	var b strings.Builder
	s := Session{Version: 0x0305, Cipher: 0xfefe, PSKIdentity: []byte{}, Ticket: []byte{}}
	if err := WriteText(&b, &s, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Protocol  : unknown\n", "Cipher    : FEFE\n", "PSK identity: \n", "TLS session ticket:\n\n", "secret: no\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

type brokenPipe struct{}

var errPipe = errors.New("broken pipe")

func (brokenPipe) Write([]byte) (int, error) { return 0, errPipe }

func TestWriteTextFails(t *testing.T) {
	if err := WriteText(brokenPipe{}, &textSession, false); !errors.Is(err, errPipe) {
		t.Errorf("got %v", err)
	}
}

func TestKeyLogLine(t *testing.T) {
	line, ok := KeyLogLine(&textSession)
	if want := "RSA Session-ID:0AFF Master-Key:7665727920736563726574\n"; !ok || line != want {
		t.Errorf("got %q, %t", line, ok)
	}
	for _, s := range []Session{{ID: []byte{1}}, {MasterKey: []byte{1}}} {
		if line, ok := KeyLogLine(&s); ok || line != "" {
			t.Errorf("got %q of a session without id or key", line)
		}
	}
}
