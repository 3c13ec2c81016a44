package hello

import "encoding/binary"

// The limits of what is read.
const (
	maxMessage   = 64 << 10      // crypto/tls takes none longer, and sends no such hello
	maxRecord    = 1<<14 + 1<<11 // bytes of a record's fragment, as crypto/tls takes them
	recordHeader = 5
	headerLen    = 4 // of a handshake message
)

// The content types of records (RFC 8446, section 5.1).
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
)

// stream cuts the records of one direction of a connection into handshake
// messages, up to the first ChangeCipherSpec: what follows is encrypted.
//
//	struct {
//	    uint8 content_type;
//	    uint16 legacy_record_version;
//	    opaque fragment<0..2^14 + 2048>;
//	} Record;
//
//	struct {
//	    uint8 msg_type;
//	    opaque body<0..2^24-1>;
//	} Handshake;  /* cut anywhere into the fragments of records */
//
// It holds one message at most, and of the kinds that nobody wants nothing.
type stream struct {
	record   [recordHeader]byte
	recorded int // bytes of record that are there
	fragment int // bytes of the record still to come

	header  [headerLen]byte
	headed  int // bytes of header that are there
	body    []byte
	missing int // bytes of the message still to come
	keep    int // bytes of the message to be kept, at most

	ended bool
}

// handler decides on the messages of a stream.
type handler interface {
	// wants says how many bytes of a message's body are to be kept, at most;
	// ok is false if the message cannot stand here.
	wants(kind uint8, length int) (keep int, ok bool)
	// message takes what was kept of a body. done ends the stream.
	message(kind uint8, body []byte) (done bool)
}

// feed takes the next bytes and reports whether the stream has ended.
func (s *stream) feed(p []byte, h handler) (ended bool) {
	for len(p) > 0 && !s.ended {
		if s.recorded < recordHeader {
			n := copy(s.record[s.recorded:], p)
			s.recorded += n
			p = p[n:]
			if s.recorded == recordHeader {
				s.startRecord()
			}
			continue
		}
		n := min(s.fragment, len(p))
		if s.record[0] == recordHandshake {
			s.handshake(p[:n], h)
		}
		p = p[n:]
		if s.fragment -= n; s.fragment == 0 {
			s.recorded = 0
		}
	}
	return s.ended
}

func (s *stream) startRecord() {
	s.fragment = int(binary.BigEndian.Uint16(s.record[3:]))
	kind := s.record[0]
	known := kind == recordHandshake || kind == recordAlert
	if !known || s.record[1] != 3 || s.fragment == 0 || s.fragment > maxRecord {
		s.end() // a ChangeCipherSpec, or no TLS that crypto/tls speaks
	}
}

// handshake takes bytes of handshake messages.
func (s *stream) handshake(p []byte, h handler) {
	for !s.ended {
		if s.headed < headerLen {
			n := copy(s.header[s.headed:], p)
			s.headed += n
			p = p[n:]
			if s.headed < headerLen {
				return
			}
			s.startMessage(h)
			if s.ended {
				return
			}
		}
		n := min(s.missing, len(p))
		s.body = append(s.body, p[:min(n, s.keep-len(s.body))]...)
		p = p[n:]
		if s.missing -= n; s.missing > 0 {
			return
		}
		s.headed = 0
		if h.message(s.header[0], s.body) {
			s.end()
		}
	}
}

func (s *stream) startMessage(h handler) {
	s.missing = int(s.header[1])<<16 | int(s.header[2])<<8 | int(s.header[3])
	keep, ok := h.wants(s.header[0], s.missing)
	if !ok {
		s.end()
		return
	}
	s.keep, s.body = keep, s.body[:0]
}

// end lets go of what was kept.
func (s *stream) end() { s.ended, s.body = true, nil }

// ClientReader reads the ClientHello off what a client sends. The zero value is
// ready. It is not safe for concurrent use.
type ClientReader struct {
	stream stream
	hello  *ClientHello
}

// Feed takes the next bytes, however they are cut, and keeps none of them. It
// reports whether reading has ended: with a ClientHello, or because the bytes
// are not understood. More than 64 KiB are never held.
func (r *ClientReader) Feed(p []byte) (ended bool) { return r.stream.feed(p, r) }

// Hello returns the ClientHello: nil until it was read, and for good if reading
// has ended without.
func (r *ClientReader) Hello() *ClientHello { return r.hello }

func (r *ClientReader) wants(kind uint8, length int) (keep int, ok bool) {
	return length, kind == typeClientHello && length <= maxMessage
}

func (r *ClientReader) message(_ uint8, body []byte) (done bool) {
	r.hello = parseClientHello(body)
	return true
}

// ServerReader reads the ServerHello off what a server sends and, in TLS 1.2
// and before, the lifetime hint of the NewSessionTicket that it promises. The
// zero value is ready. It is not safe for concurrent use.
type ServerReader struct {
	stream stream
	hello  *ServerHello
	hint   uint32
	ticket bool
}

// Feed takes the next bytes, however they are cut, and keeps none of them. It
// reports whether reading has ended: with all there is to read, at a
// ChangeCipherSpec, or because the bytes are not understood. More than 64 KiB
// are never held.
func (r *ServerReader) Feed(p []byte) (ended bool) { return r.stream.feed(p, r) }

// Hello returns the ServerHello, nil until it was read, and for good if reading
// has ended without. In TLS 1.3 it may be a HelloRetryRequest.
func (r *ServerReader) Hello() *ServerHello { return r.hello }

// LifetimeHint returns how many seconds the server means to take the ticket
// that it sent, 0 where it leaves that open (RFC 5077, section 3.3); ok is false
// until a NewSessionTicket was read.
func (r *ServerReader) LifetimeHint() (seconds uint32, ok bool) { return r.hint, r.ticket }

// hintLen is the length of the lifetime hint, with which a NewSessionTicket begins.
const hintLen = 4

func (r *ServerReader) wants(kind uint8, length int) (keep int, ok bool) {
	switch kind {
	case typeHelloRequest:
		return 0, length == 0
	case typeServerHello:
		return length, r.hello == nil && length <= maxMessage
	case typeNewSessionTicket:
		return hintLen, r.hello != nil && length >= hintLen
	}
	return 0, r.hello != nil
}

func (r *ServerReader) message(kind uint8, body []byte) (done bool) {
	switch kind {
	case typeServerHello:
		r.hello = parseServerHello(body)
		return r.hello == nil || r.hello.Version >= versionTLS13 || !r.hello.SessionTicket
	case typeNewSessionTicket:
		r.hint, r.ticket = binary.BigEndian.Uint32(body), true
		return true
	}
	return false
}
