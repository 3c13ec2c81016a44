package reprise

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/reprise-tls/reprise/internal/cache"
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
	handleKeyLen = 32
)

type handles struct {
	key  []byte
	rand io.Reader
}

func newHandles(c *Config) (*handles, error) {
	h := &handles{key: slices.Clone(c.HandleKey), rand: c.Rand}
	if h.key != nil {
		return h, nil
	}
	h.key = make([]byte, handleKeyLen)
	_, err := io.ReadFull(h.rand, h.key)
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
	mac := hmac.New(sha256.New, h.key)
	mac.Write(handle[:handleLen-handleMACLen])
	return mac.Sum(nil)[:handleMACLen]
}

// idTries is how often an id that is taken is replaced, as in libssl.
const idTries = 10

var errIDConflict = errors.New("reprise: session id is taken, ten times in a row")

// newID makes the id of a session that the server keeps, one that no cached
// session has.
func (m *Manager) newID(version uint16) ([]byte, error) {
	for range idTries {
		id, err := m.generateID()
		if err != nil {
			return nil, err
		}
		key, ok := cache.MakeKey(version, id)
		if !ok || len(id) == 0 {
			return nil, fmt.Errorf("reprise: Config.GenerateID made an id of %d bytes: 1 to %d", len(id), MaxSessionIDLength)
		}
		if !m.cache.has(key) && !m.probation.has(key) {
			return slices.Clone(id), nil
		}
	}
	return nil, errIDConflict
}

func (m *Manager) generateID() ([]byte, error) {
	if f := m.config.GenerateID; f != nil {
		return f()
	}
	return m.handles.make()
}
