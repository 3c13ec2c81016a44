package asn1sess

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

func TestFieldError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fieldID.wrap(ErrTooLong), "asn1sess: session_id: too long, want at most 32 bytes"},
		{fieldCompression.wrap(ErrLength), "asn1sess: compression: wrong length, want 1 byte"},
		{fieldSequence.wrap(ErrTag), "asn1sess: session: unknown, repeated or misplaced field"},
		{fieldPeerRPK.wrap(ErrShape), "asn1sess: peer_rpk: not a single DER sequence of definite length"},
		{fieldVersion.wrap(ErrProtocol), "asn1sess: ssl_version: unsupported protocol version, want 0x03xx, 0xfexx or 0x0100"},
	} {
		if c.err.Error() != c.want {
			t.Errorf("got  %s\nwant %s", c.err, c.want)
		}
	}
}

// TestErrorsKeepSecrets spoils a session at every place: no error may quote the key, whole or
// in part.
func TestErrorsKeepSecrets(t *testing.T) {
	key := bytes.Repeat([]byte("SecretKey"), 5)
	s := with(func(s *Session) { s.MasterKey = key })
	der, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range der {
		for _, b := range []byte{0, 0x7f, 0xff} {
			spoiled := bytes.Clone(der)
			spoiled[i] = b
			_, _, err := Parse(spoiled, 7)
			if err == nil {
				continue
			}
			if text := err.Error(); strings.Contains(text, "Secret") || strings.Contains(text, hex.EncodeToString(key[:4])) {
				t.Fatalf("the key is in an error: %s", text)
			}
		}
	}
}
