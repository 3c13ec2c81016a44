package asn1sess

import (
	"bytes"
	"math/bits"
)

// Append appends the session's DER to dst, as i2d_SSL_SESSION writes it. Fields that libssl
// could not hold are refused with a [*FieldError]: an id or context above 32 bytes, a master
// key above 512, flags above 32 bits, a NUL in a C string. So is a session without a cipher
// suite, for which i2d_SSL_SESSION returns 0. It allocates at most once, for the result.
func (s *Session) Append(dst []byte) ([]byte, error) {
	if err := s.check(); err != nil {
		return dst, err
	}
	count := encoder{counting: true}
	s.encode(&count)
	if room := len(dst) + tlvSize(count.size); cap(dst) < room {
		dst = append(make([]byte, 0, room), dst...)
	}
	e := encoder{out: dst}
	e.header(bitConstructed|tagSequence, count.size)
	s.encode(&e)
	return e.out, nil
}

func (s *Session) check() error {
	switch {
	case s.Cipher == 0:
		return fieldCipher.wrap(ErrCipher)
	case len(s.ID) > MaxIDLength:
		return fieldID.wrap(ErrTooLong)
	case len(s.MasterKey) > MaxMasterKeyLength:
		return fieldMasterKey.wrap(ErrTooLong)
	case len(s.IDContext) > MaxIDContextLength:
		return fieldIDContext.wrap(ErrTooLong)
	case s.Flags > 1<<32-1:
		return fieldFlags.wrap(ErrRange)
	case s.Peer != nil && checkSequence(s.Peer) != nil:
		return fieldPeer.wrap(ErrShape)
	case s.PeerRPK != nil && checkSequence(s.PeerRPK) != nil:
		return fieldPeerRPK.wrap(ErrShape)
	case bytes.IndexByte(s.Hostname, 0) >= 0:
		return fieldHostname.wrap(ErrNUL)
	case bytes.IndexByte(s.PSKIdentityHint, 0) >= 0:
		return fieldPSKIdentityHint.wrap(ErrNUL)
	case bytes.IndexByte(s.PSKIdentity, 0) >= 0:
		return fieldPSKIdentity.wrap(ErrNUL)
	case bytes.IndexByte(s.SRPUsername, 0) >= 0:
		return fieldSRPUsername.wrap(ErrNUL)
	}
	return nil
}

// encode puts the content of the SEQUENCE into e: once to count, once to write, so that the
// two cannot disagree.
func (s *Session) encode(e *encoder) {
	e.int(1)
	e.int(int64(s.Version))
	e.octets([]byte{byte(s.Cipher >> 8), byte(s.Cipher)})
	e.octets(s.ID)
	e.octets(s.MasterKey)
	e.nonzero(fieldTime, s.Time)
	e.nonzero(fieldTimeout, s.Timeout)
	e.whole(fieldPeer, s.Peer)
	e.explicitOctets(fieldIDContext, s.IDContext)
	e.nonzero(fieldVerifyResult, int64(s.VerifyResult))
	e.present(fieldHostname, s.Hostname)
	e.present(fieldPSKIdentityHint, s.PSKIdentityHint)
	e.present(fieldPSKIdentity, s.PSKIdentity)
	e.nonzeroUint(fieldLifetimeHint, s.TicketLifetimeHint)
	e.present(fieldTicket, s.Ticket)
	if s.CompressID != 0 {
		e.explicitOctets(fieldCompression, []byte{s.CompressID})
	}
	e.present(fieldSRPUsername, s.SRPUsername)
	e.nonzeroUint(fieldFlags, s.Flags)
	e.nonzeroUint(fieldTicketAgeAdd, uint64(s.TicketAgeAdd))
	e.nonzeroUint(fieldMaxEarlyData, uint64(s.MaxEarlyData))
	e.present(fieldALPN, s.ALPN)
	e.nonzeroUint(fieldMaxFragmentLen, uint64(s.MaxFragmentLen))
	e.present(fieldTicketAppData, s.TicketAppData)
	e.explicitUint(fieldKexGroup, uint64(s.KexGroup))
	e.present(fieldPeerRPK, s.PeerRPK)
}

// An encoder appends elements to out, or only adds up their sizes.
type encoder struct {
	out      []byte
	size     int
	counting bool
}

func (e *encoder) header(identifier byte, length int) {
	if e.counting {
		e.size += tlvSize(length) - length
		return
	}
	e.out = append(e.out, identifier)
	if length < 0x80 {
		e.out = append(e.out, byte(length))
		return
	}
	n := (bits.Len(uint(length)) + 7) / 8
	e.out = append(e.out, 0x80|byte(n))
	for n--; n >= 0; n-- {
		e.out = append(e.out, byte(length>>(8*n)))
	}
}

func (e *encoder) content(b []byte) {
	if e.counting {
		e.size += len(b)
		return
	}
	e.out = append(e.out, b...)
}

func (e *encoder) octets(b []byte) {
	e.header(tagOctetString, len(b))
	e.content(b)
}

// integer writes the low n bytes of value as an INTEGER's content; n may be 9 for the
// leading zero of a large unsigned value.
func (e *encoder) integer(value uint64, n int) {
	e.header(tagInteger, n)
	if e.counting {
		e.size += n
		return
	}
	for n--; n >= 0; n-- {
		e.out = append(e.out, byte(value>>(8*n)))
	}
}

func (e *encoder) int(value int64) { e.integer(uint64(value), intSize(value)) }

func (e *encoder) explicit(f field, size int) {
	e.header(classContext|bitConstructed|byte(f), size)
}

func (e *encoder) explicitOctets(f field, b []byte) {
	e.explicit(f, tlvSize(len(b)))
	e.octets(b)
}

func (e *encoder) present(f field, b []byte) {
	if b != nil {
		e.explicitOctets(f, b)
	}
}

// whole wraps an element that is encoded already.
func (e *encoder) whole(f field, b []byte) {
	if b != nil {
		e.explicit(f, len(b))
		e.content(b)
	}
}

func (e *encoder) explicitUint(f field, value uint64) {
	n := uintSize(value)
	e.explicit(f, tlvSize(n))
	e.integer(value, n)
}

func (e *encoder) nonzeroUint(f field, value uint64) {
	if value != 0 {
		e.explicitUint(f, value)
	}
}

func (e *encoder) nonzero(f field, value int64) {
	if value != 0 {
		n := intSize(value)
		e.explicit(f, tlvSize(n))
		e.integer(uint64(value), n)
	}
}

// tlvSize is the size of an element with length bytes of content.
func tlvSize(length int) int {
	if length < 0x80 {
		return 2 + length
	}
	return 2 + (bits.Len(uint(length))+7)/8 + length
}

// intSize is the size of value in two's complement: its bits and one for the sign.
func intSize(value int64) int {
	if value < 0 {
		value = ^value
	}
	return bits.Len64(uint64(value))/8 + 1
}

func uintSize(value uint64) int { return bits.Len64(value)/8 + 1 }
