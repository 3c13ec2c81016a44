package dirstore

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"math"
	"strings"
	"time"
)

// name is the name of a session's file. It has what choosing a session takes,
// so that nothing but the chosen one is opened:
//
//	peer    64 digits  HMAC-SHA256 of the peer
//	-
//	put     16 digits  nanoseconds since 1970
//	-
//	expires 16 digits  nanoseconds since 1970
//	-
//	uses    "once" or "many"
//	-
//	random  16 digits  keeps apart what is put at one time
//
// Digits are hexadecimal and lower case. All is of a fixed width, so names of one
// peer sort by time. No name is used again. Files of another revision would have
// other names, and what is not such a name is not ours.
type name struct {
	peer         peerName
	put, expires int64
	once         bool
	random       uint64
}

const (
	once = "once"
	many = "many"

	peerDigits  = 2 * sha256.Size
	digits      = 16 // of a number
	nameLength  = peerDigits + 1 + digits + 1 + digits + 1 + len(once) + 1 + digits
	shardDigits = 2 // of a peer's name
)

// peerName stands for a peer in a directory.
type peerName [sha256.Size]byte

// peer is the whole HMAC: what is sealed is bound to the name, and so to the
// peer.
func (s *Store) peer(peer string) (p peerName) {
	h := s.names.Get().(hash.Hash)
	defer s.names.Put(h)
	h.Reset()
	h.Write([]byte(peer))
	h.Sum(p[:0])
	return p
}

func (p peerName) String() string { return hex.EncodeToString(p[:]) }

// shard is the subdirectory of the peer's files.
func (p peerName) shard() string { return hex.EncodeToString(p[:shardDigits/2]) }

func newName(p peerName, put, expires int64, once bool) name {
	return name{peer: p, put: put, expires: expires, once: once, random: random()}
}

func (n name) String() string {
	b := make([]byte, 0, nameLength)
	b = hex.AppendEncode(b, n.peer[:])
	b = appendNumber(append(b, '-'), uint64(n.put))
	b = appendNumber(append(b, '-'), uint64(n.expires))
	if n.once {
		b = append(b, "-"+once+"-"...)
	} else {
		b = append(b, "-"+many+"-"...)
	}
	return string(appendNumber(b, n.random))
}

func parseName(s string) (n name, ok bool) {
	if len(s) != nameLength {
		return name{}, false
	}
	part := strings.Split(s, "-")
	if len(part) != 5 || len(part[0]) != peerDigits {
		return name{}, false
	}
	if _, err := hex.Decode(n.peer[:], []byte(part[0])); err != nil {
		return name{}, false
	}
	put, ok1 := parseNumber(part[1])
	expires, ok2 := parseNumber(part[2])
	random, ok3 := parseNumber(part[4])
	if !ok1 || !ok2 || !ok3 || put > math.MaxInt64 || expires > math.MaxInt64 {
		return name{}, false
	}
	n.put, n.expires, n.once, n.random = int64(put), int64(expires), part[3] == once, random
	return n, n.String() == s // upper case, neither once nor many
}

// isShard reports whether s is the name of a subdirectory of ours.
func isShard(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(s) == shardDigits && hex.EncodeToString(b) == s
}

// temporary begins the name of a file that is being written, and stays where the
// process is killed: tmp-TIME-RANDOM.
const temporary = "tmp-"

func newTemporary(now int64) string {
	b := appendNumber([]byte(temporary), uint64(now))
	return string(appendNumber(append(b, '-'), random()))
}

// parseTemporary returns when a file that is being written was made.
func parseTemporary(s string) (made int64, ok bool) {
	rest, found := strings.CutPrefix(s, temporary)
	when, tail, _ := strings.Cut(rest, "-")
	t, ok1 := parseNumber(when)
	_, ok2 := parseNumber(tail)
	return int64(t), found && ok1 && ok2 && t <= math.MaxInt64
}

func appendNumber(b []byte, n uint64) []byte {
	return hex.AppendEncode(b, binary.BigEndian.AppendUint64(nil, n))
}

func parseNumber(s string) (uint64, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(s) != digits || hex.EncodeToString(b) != s {
		return 0, false
	}
	return binary.BigEndian.Uint64(b), true
}

func random() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])
}

// nanos is t in nanoseconds since 1970, as far as they go: to the year 2262.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, 0)):
		return 0
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}
