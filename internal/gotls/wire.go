package gotls

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// The values of SessionStateType.
const (
	kindServer = 1
	kindClient = 2
)

// secretOffset is where the secret stands in an encoding: after version, type,
// cipher_suite, created_at and its own length.
const secretOffset = 2 + 1 + 2 + 8 + 1

// Append appends the encoding of s to dst and returns the longer slice. Every
// error wraps [ErrInvalid]. Fields that the layout lacks for the version and
// the side (ALPN, UseBy, AgeAdd, Curve, OCSP, SCTs) are left out, as crypto/tls
// does.
//
// The result holds the secret and is the caller's to wipe. dst grows at most
// once, before the secret is written, so that no outgrown array keeps a copy.
func (s *State) Append(dst []byte) ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	e := encoder{b: slices.Grow(dst, s.size())}
	s.encode(&e)
	if e.overflow != "" {
		clear(e.b[len(dst):])
		return nil, fmt.Errorf("%w: %s too long", ErrInvalid, e.overflow)
	}
	return e.b, nil
}

func (s *State) encode(e *encoder) {
	e.uint16(s.Version)
	if s.Client {
		e.uint8(kindClient)
	} else {
		e.uint8(kindServer)
	}
	e.uint16(s.Suite)
	e.uint64(s.CreatedAt)
	e.vector(1, s.Secret, "secret")
	extra := e.begin(3)
	for _, entry := range s.Extra {
		e.vector(3, entry, "extra entry")
	}
	e.end(extra, 3, "extra")
	e.bool(s.EMS)
	e.bool(s.EarlyData)
	certs := e.begin(3)
	for i, cert := range s.Peer {
		e.vector(3, cert, "certificate")
		extensions := e.begin(2)
		if i == 0 {
			s.encodeLeafExtensions(e)
		}
		e.end(extensions, 2, "certificate extensions")
	}
	e.end(certs, 3, "certificate list")
	chains := e.begin(3)
	for _, chain := range s.Chains {
		list := e.begin(3)
		for _, cert := range chain {
			e.vector(3, cert, "certificate")
		}
		e.end(list, 3, "verified chain")
	}
	e.end(chains, 3, "verified chains")
	s.encodeTail(e)
}

func (s *State) encodeLeafExtensions(e *encoder) {
	if len(s.OCSP) > 0 {
		e.uint16(extensionStatusRequest)
		data := e.begin(2)
		e.uint8(statusTypeOCSP)
		e.vector(3, s.OCSP, "OCSP response")
		e.end(data, 2, "OCSP response")
	}
	if len(s.SCTs) > 0 {
		e.uint16(extensionSCT)
		data := e.begin(2)
		list := e.begin(2)
		for _, sct := range s.SCTs {
			e.vector(2, sct, "certificate timestamp")
		}
		e.end(list, 2, "certificate timestamps")
		e.end(data, 2, "certificate timestamps")
	}
}

func (s *State) encodeTail(e *encoder) {
	if s.EarlyData {
		alpn := e.begin(1)
		e.b = append(e.b, s.ALPN...)
		e.end(alpn, 1, "ALPN protocol")
	}
	switch {
	case s.Version <= tls.VersionTLS12:
		e.uint16(uint16(s.Curve))
	case s.Client:
		e.uint64(s.UseBy)
		e.uint32(s.AgeAdd)
	}
}

// size returns the length of the encoding.
func (s *State) size() int {
	n := secretOffset + len(s.Secret)
	n += 3 + listSize(3, s.Extra)
	n += 2 // flags
	n += 3 + listSize(3+2, s.Peer)
	if len(s.Peer) > 0 && len(s.OCSP) > 0 {
		n += 2 + 2 + 1 + 3 + len(s.OCSP)
	}
	if len(s.Peer) > 0 && len(s.SCTs) > 0 {
		n += 2 + 2 + 2 + listSize(2, s.SCTs)
	}
	n += 3
	for _, chain := range s.Chains {
		n += 3 + listSize(3, chain)
	}
	if s.EarlyData {
		n += 1 + len(s.ALPN)
	}
	switch {
	case s.Version <= tls.VersionTLS12:
		n += 2
	case s.Client:
		n += 8 + 4
	}
	return n
}

// listSize returns the length of items with overhead bytes before each.
func listSize(overhead int, items [][]byte) int {
	n := 0
	for _, item := range items {
		n += overhead + len(item)
	}
	return n
}

// encoder appends to b and remembers the first vector that was too long for
// its length prefix.
type encoder struct {
	b        []byte
	overflow string
}

func (e *encoder) uint8(v uint8)   { e.b = append(e.b, v) }
func (e *encoder) uint16(v uint16) { e.b = binary.BigEndian.AppendUint16(e.b, v) }
func (e *encoder) uint32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *encoder) uint64(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint8(1)
	} else {
		e.uint8(0)
	}
}

// begin leaves room for a length of width bytes and returns where the vector
// starts, for end.
func (e *encoder) begin(width int) int {
	var room [3]byte
	e.b = append(e.b, room[:width]...)
	return len(e.b)
}

// end writes the length of the vector that starts at start.
func (e *encoder) end(start, width int, name string) {
	n := len(e.b) - start
	if n>>(8*width) != 0 {
		if e.overflow == "" {
			e.overflow = name
		}
		return
	}
	for i := 1; i <= width; i++ {
		e.b[start-i] = byte(n)
		n >>= 8
	}
}

func (e *encoder) vector(width int, v []byte, name string) {
	start := e.begin(width)
	e.b = append(e.b, v...)
	e.end(start, width, name)
}

func readBool(in *cryptobyte.String, out *bool) bool {
	var v uint8
	if !in.ReadUint8(&v) || v > 1 {
		return false
	}
	*out = v == 1
	return true
}

// The vectors that the readers below return are clipped: cryptobyte leaves the
// rest of the input as capacity, and an append would write over it.

func readVector8(in *cryptobyte.String, out *[]byte) bool {
	var v cryptobyte.String
	ok := in.ReadUint8LengthPrefixed(&v)
	*out = slices.Clip([]byte(v))
	return ok
}

func readVector16(in *cryptobyte.String, out *[]byte) bool {
	var v cryptobyte.String
	ok := in.ReadUint16LengthPrefixed(&v)
	*out = slices.Clip([]byte(v))
	return ok
}

func readVector24(in *cryptobyte.String, out *[]byte) bool {
	var v cryptobyte.String
	ok := in.ReadUint24LengthPrefixed(&v)
	*out = slices.Clip([]byte(v))
	return ok
}

// readVectors24 reads vectors until in is empty.
func readVectors24(in *cryptobyte.String, out *[][]byte) bool {
	for !in.Empty() {
		var v []byte
		if !readVector24(in, &v) {
			return false
		}
		*out = append(*out, v)
	}
	return true
}

// readExtension reads the next extension if it is of the wanted type; ok is
// false if the list is malformed.
func readExtension(in *cryptobyte.String, want uint16) (data cryptobyte.String, present, ok bool) {
	var got uint16
	rest := *in
	if rest.Empty() {
		return nil, false, true
	}
	if !rest.ReadUint16(&got) || !rest.ReadUint16LengthPrefixed(&data) {
		return nil, false, false
	}
	if got != want {
		return nil, false, true
	}
	*in = rest
	return data, true, true
}
