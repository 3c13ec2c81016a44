package reprise

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/reprise-tls/reprise/internal/cache"
)

// A handle is what a client holds of a session that the server keeps: the
// session's id, in place of a ticket. It authenticates itself, so that a made
// up one never costs more than a MAC. A label has the same form and stands for
// no session: clients get one where a ticket is due and none could be made.
//
//	struct {
//	    uint8 key;           /* derived from the key: tells handles of other keys apart */
//	    opaque random[15];
//	    opaque mac[16];      /* HMAC-SHA256 of the purpose and the 16 bytes before it, cut */
//	} Handle;
const (
	handleLen    = MaxSessionIDLength
	handleMACLen = 16
	handleKeyLen = 32
)

// The purposes of a MAC under the key of handles.
const (
	purposeKey    = "reprise key of handles"
	purposeHandle = "reprise handle"
	purposeLabel  = "reprise label"
)

// handleKind is what 32 bytes that a client sent are.
type handleKind uint8

const (
	foreignHandle handleKind = iota // of another key, as far as its first byte tells
	forgedHandle
	ownHandle
	ownLabel
)

// handles makes and recognizes handles. It is safe for concurrent use.
type handles struct {
	rand io.Reader

	mu    sync.RWMutex
	key   []byte // nil once wiped
	first byte   // what handles of the key begin with
}

func newHandles(c *Config) (*handles, error) {
	h := &handles{key: slices.Clone(c.HandleKey), rand: c.Rand}
	if h.key == nil {
		h.key = make([]byte, handleKeyLen)
		if _, err := io.ReadFull(h.rand, h.key); err != nil {
			return nil, err
		}
	}
	h.first = h.mac(purposeKey, nil)[0]
	return h, nil
}

// wipe ends the key: nothing is made or recognized any more.
func (h *handles) wipe() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.key)
	h.key = nil
}

// make makes a handle or a label.
func (h *handles) make(purpose string) ([]byte, error) {
	handle := make([]byte, handleLen)
	body := handle[:handleLen-handleMACLen]
	if _, err := io.ReadFull(h.rand, body[1:]); err != nil {
		return nil, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.key == nil {
		return nil, ErrClosed
	}
	body[0] = h.first
	copy(handle[len(body):], h.mac(purpose, body))
	return handle, nil
}

// kind reports what a handle is. One in 256 handles of other keys begins as
// those of this key do and counts as forged.
func (h *handles) kind(handle []byte) handleKind {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if len(handle) != handleLen || h.key == nil || handle[0] != h.first {
		return foreignHandle
	}
	body, sum := handle[:handleLen-handleMACLen], handle[handleLen-handleMACLen:]
	switch {
	case hmac.Equal(sum, h.mac(purposeHandle, body)):
		return ownHandle
	case hmac.Equal(sum, h.mac(purposeLabel, body)):
		return ownLabel
	}
	return forgedHandle
}

// mac authenticates body for a purpose. The caller holds h.mu.
func (h *handles) mac(purpose string, body []byte) []byte {
	mac := hmac.New(sha256.New, h.key)
	mac.Write([]byte(purpose))
	mac.Write([]byte{0})
	mac.Write(body)
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
	return m.handles.make(purposeHandle)
}
