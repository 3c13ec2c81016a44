package reprise

import (
	"crypto/hmac"
	"crypto/sha256"
	"io"
)

// A handle is what a client holds of a session that the server keeps: the
// session's id, in place of a ticket. It authenticates itself, so that a made
// up one never costs more than a MAC.
//
//	struct {
//	    uint8 key_index = 0;
//	    opaque random[15];
//	    opaque mac[16];      /* HMAC-SHA256 of the 16 bytes before it, cut */
//	} Handle;
const (
	handleLen    = MaxSessionIDLength
	handleMACLen = 16
)

type handles struct {
	key  [32]byte
	rand io.Reader
}

func newHandles(rand io.Reader) (*handles, error) {
	h := &handles{rand: rand}
	_, err := io.ReadFull(rand, h.key[:])
	return h, err
}

func (h *handles) make() ([]byte, error) {
	handle := make([]byte, handleLen)
	if _, err := io.ReadFull(h.rand, handle[1:handleLen-handleMACLen]); err != nil {
		return nil, err
	}
	copy(handle[handleLen-handleMACLen:], h.mac(handle))
	return handle, nil
}

// ours reports whether handle was made by this Manager.
func (h *handles) ours(handle []byte) bool {
	return len(handle) == handleLen && hmac.Equal(handle[handleLen-handleMACLen:], h.mac(handle))
}

func (h *handles) mac(handle []byte) []byte {
	mac := hmac.New(sha256.New, h.key[:])
	mac.Write(handle[:handleLen-handleMACLen])
	return mac.Sum(nil)[:handleMACLen]
}
