package asn1sess

import (
	"bytes"
	"math"
)

// Parse decodes one session from the front of der, as d2i_SSL_SESSION does; rest is what
// follows it. The slices of the session lie in der, except for octet strings that a BER
// encoder wrote in pieces. now, in seconds since 1970, stands in for an absent or zero time;
// an absent or zero timeout is [DefaultTimeout].
//
// Whether libssl knows the cipher suite is for the caller to ask: see [KnownSuite].
//
// The error is a [*FieldError].
func Parse(der []byte, now int64) (s Session, rest []byte, err error) {
	if rest, err = s.Decode(der, now); err != nil {
		return Session{}, nil, err
	}
	return s, rest, nil
}

// Decode is [Parse] into s, which must be empty; after an error it is of no use.
func (s *Session) Decode(der []byte, now int64) (rest []byte, err error) {
	d := decoder{in: der}
	h, err := d.header(classUniversal, tagSequence)
	if err == nil && !h.constructed {
		err = ErrNotExplicit
	}
	if err != nil {
		return nil, fieldSequence.wrap(err)
	}
	seq := d.enter(h)
	if err := s.parseMandatory(&seq); err != nil {
		return nil, err
	}
	if err := s.parseOptional(&seq); err != nil {
		return nil, err
	}
	if err := d.leave(h, seq); err != nil {
		return nil, fieldSequence.wrap(err)
	}
	if s.Time == 0 {
		s.Time = now
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	return d.in, nil
}

func (s *Session) parseMandatory(d *decoder) error {
	structure, err := d.uint32()
	if err == nil && structure != 1 {
		err = ErrStructure
	}
	if err != nil {
		return fieldStructure.wrap(err)
	}
	version, err := d.int32()
	if err == nil && !validVersion(version) {
		err = ErrProtocol
	}
	if err != nil {
		return fieldVersion.wrap(err)
	}
	s.Version = uint16(version)

	cipher, err := d.octetString(unlimited)
	if err == nil && len(cipher) != 2 {
		err = ErrLength
	}
	if err != nil {
		return fieldCipher.wrap(err)
	}
	s.Cipher = uint16(cipher[0])<<8 | uint16(cipher[1])
	if s.Cipher == 0 {
		return fieldCipher.wrap(ErrCipher)
	}

	if s.ID, err = d.octetString(MaxIDLength); err != nil {
		return fieldID.wrap(err)
	}
	if s.MasterKey, err = d.octetString(MaxMasterKeyLength); err != nil {
		return fieldMasterKey.wrap(err)
	}
	return nil
}

// validVersion is the check of d2i_SSL_SESSION: any TLS or DTLS version, known or not, and
// DTLS1_BAD_VER.
func validVersion(version int32) bool {
	return version>>8 == 0x03 || version>>8 == 0xfe || version == 0x0100
}

// parseOptional reads the tagged fields. Each tag must be higher than the one before it.
func (s *Session) parseOptional(d *decoder) error {
	last := fieldKeyArg - 1
	for !d.end() {
		if f, content := d.shortField(); content != nil && f > last && f <= fieldPeerRPK {
			last = f
			d.in = d.in[2+len(content):]
			inner := decoder{in: content}
			err := s.parseField(f, &inner)
			if err == nil && len(inner.in) != 0 {
				err = ErrTrailing
			}
			if err != nil {
				return f.wrap(err)
			}
			continue
		}
		h, err := parseHeader(d.in)
		if err != nil {
			return fieldSequence.wrap(err)
		}
		f := field(h.tag)
		if h.class != classContext || f <= last || f > fieldPeerRPK {
			return fieldSequence.wrap(ErrTag)
		}
		last = f
		if f == fieldKeyArg {
			_, err = d.octets(classContext, int(fieldKeyArg))
		} else {
			err = s.parseExplicit(f, h, d)
		}
		if err != nil {
			return f.wrap(err)
		}
	}
	return nil
}

// shortField returns the next element if it is a tagged field in the form that all encoders
// give it: low tag, length in one byte. Otherwise content is nil.
func (d *decoder) shortField() (f field, content []byte) {
	in := d.in
	if len(in) < 2 || in[0]&^lowTagMask != classContext|bitConstructed || in[1] >= 0x80 || int(in[1]) > len(in)-2 {
		return 0, nil
	}
	f = field(in[0] & lowTagMask)
	if f == lowTagMask || f == fieldKeyArg {
		return 0, nil
	}
	n := 2 + int(in[1])
	return f, in[2:n:n]
}

func (s *Session) parseExplicit(f field, h header, d *decoder) error {
	if !h.constructed {
		return ErrNotExplicit
	}
	inner := d.enter(h)
	if err := s.parseField(f, &inner); err != nil {
		return err
	}
	return d.leave(h, inner)
}

func (s *Session) parseField(f field, d *decoder) (err error) {
	switch f {
	case fieldTime:
		s.Time, err = d.int64()
	case fieldTimeout:
		s.Timeout, err = d.int64()
	case fieldPeer:
		s.Peer, err = d.sequence()
	case fieldIDContext:
		s.IDContext, err = d.octetString(MaxIDContextLength)
	case fieldVerifyResult:
		s.VerifyResult, err = d.int32()
	case fieldHostname:
		s.Hostname, err = d.cString()
	case fieldPSKIdentityHint:
		s.PSKIdentityHint, err = d.cString()
	case fieldPSKIdentity:
		s.PSKIdentity, err = d.cString()
	case fieldLifetimeHint:
		s.TicketLifetimeHint, err = d.uint64()
	case fieldTicket:
		s.Ticket, err = d.octetString(unlimited)
	case fieldCompression:
		s.CompressID, err = d.singleOctet()
	case fieldSRPUsername:
		s.SRPUsername, err = d.cString()
	case fieldFlags:
		s.Flags, err = d.uint64()
		s.Flags &= 1<<32 - 1
	case fieldTicketAgeAdd:
		s.TicketAgeAdd, err = d.uint32()
	case fieldMaxEarlyData:
		s.MaxEarlyData, err = d.uint32()
	case fieldALPN:
		s.ALPN, err = d.octetString(unlimited)
	case fieldMaxFragmentLen:
		var code uint32
		code, err = d.uint32()
		s.MaxFragmentLen = uint8(code)
	case fieldTicketAppData:
		s.TicketAppData, err = d.octetString(unlimited)
	case fieldKexGroup:
		s.KexGroup, err = d.uint32()
	case fieldPeerRPK:
		s.PeerRPK, err = d.publicKey()
	}
	return err
}

const unlimited = math.MaxInt

// octetString reads an OCTET STRING of at most limit bytes.
func (d *decoder) octetString(limit int) ([]byte, error) {
	content, err := d.octets(classUniversal, tagOctetString)
	if err == nil && len(content) > limit {
		err = ErrTooLong
	}
	return content, err
}

// cString reads an OCTET STRING that libssl keeps as a C string.
func (d *decoder) cString() ([]byte, error) {
	content, err := d.octetString(unlimited)
	if i := bytes.IndexByte(content, 0); i >= 0 {
		content = content[:i:i]
	}
	return content, err
}

func (d *decoder) singleOctet() (uint8, error) {
	content, err := d.octetString(unlimited)
	if err != nil {
		return 0, err
	}
	if len(content) != 1 {
		return 0, ErrLength
	}
	return content[0], nil
}

// sequence reads a whole SEQUENCE, header included, without looking inside. X.509 demands
// DER, so an indefinite length, whose end only the inside would tell, is refused.
func (d *decoder) sequence() ([]byte, error) {
	h, err := d.header(classUniversal, tagSequence)
	if err != nil {
		return nil, err
	}
	if !h.constructed || h.indefinite {
		return nil, ErrShape
	}
	n := h.size + h.length
	whole := d.in[:n:n]
	d.in = d.in[n:]
	return whole, nil
}

func (d *decoder) publicKey() ([]byte, error) {
	content, err := d.octetString(unlimited)
	if err != nil {
		return nil, err
	}
	return content, checkSequence(content)
}

// checkSequence checks that der is one SEQUENCE and nothing more.
func checkSequence(der []byte) error {
	d := decoder{in: der}
	if _, err := d.sequence(); err != nil || len(d.in) != 0 {
		return ErrShape
	}
	return nil
}
