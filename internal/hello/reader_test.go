package hello

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// frame puts a fragment into a record.
func frame(kind uint8, fragment []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind, 3, 3}, uint16(len(fragment))), fragment...)
}

// message puts a body under a handshake header.
func message(kind uint8, body []byte) []byte {
	return append([]byte{kind, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// refragment cuts the handshake messages at the front of a recorded stream
// into records of the given sizes, in turn.
func refragment(stream []byte, size func() int) []byte {
	var messages, out []byte
	for len(stream) >= recordHeader && stream[0] == recordHandshake {
		n := int(binary.BigEndian.Uint16(stream[3:]))
		messages, stream = append(messages, stream[recordHeader:][:n]...), stream[recordHeader+n:]
	}
	for len(messages) > 0 {
		n := min(size(), len(messages))
		out, messages = append(out, frame(recordHandshake, messages[:n])...), messages[n:]
	}
	return append(out, stream...)
}

// TestFragments proves that neither reads nor records nor their sizes change
// what is read.
func TestFragments(t *testing.T) {
	type recording struct{ sent, got []byte }
	var recordings []recording
	for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
		client, server := both(t, version)
		sent, got, _ := record(t, client, server)
		recordings = append(recordings, recording{sent, got})
	}
	rapid.Check(t, func(t *rapid.T) {
		r := rapid.SampledFrom(recordings).Draw(t, "recording")
		sizes := rapid.IntRange(1, 300)
		size := func() int { return sizes.Draw(t, "size") }

		var whole, cut ClientReader
		whole.Feed(r.sent)
		feedCut(refragment(r.sent, size), size, cut.Feed)
		if whole.Hello() == nil || !reflect.DeepEqual(whole.Hello(), cut.Hello()) {
			t.Errorf("ClientHello in one piece %+v, in many %+v", whole.Hello(), cut.Hello())
		}
		var wholeServer, cutServer ServerReader
		wholeServer.Feed(r.got)
		feedCut(refragment(r.got, size), size, cutServer.Feed)
		if wholeServer.Hello() == nil || !reflect.DeepEqual(wholeServer.Hello(), cutServer.Hello()) {
			t.Errorf("ServerHello in one piece %+v, in many %+v", wholeServer.Hello(), cutServer.Hello())
		}
		if wholeServer.ticket != cutServer.ticket || wholeServer.hint != cutServer.hint {
			t.Errorf("lifetime hint in one piece %d (%t), in many %d (%t)",
				wholeServer.hint, wholeServer.ticket, cutServer.hint, cutServer.ticket)
		}
	})
}

func feedCut(stream []byte, size func() int, feed func([]byte) bool) {
	for len(stream) > 0 {
		n := min(size(), len(stream))
		feed(slices.Clone(stream[:n]))
		clear(stream[:n]) // nothing of it is kept
		stream = stream[n:]
	}
}

func serverHello(ticket bool) []byte {
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0}, []byte{0xc0, 0x2f}, []byte{0})
	if ticket {
		body = append(body, 0, 4, 0, 35, 0, 0)
	}
	return message(typeServerHello, body)
}

// TestLifetimeHint reads it from behind a certificate longer than what is kept.
func TestLifetimeHint(t *testing.T) {
	const certificate = 11
	stream := frame(recordHandshake, serverHello(true))
	for rest := message(certificate, make([]byte, 3*maxMessage)); len(rest) > 0; {
		n := min(1<<14, len(rest))
		stream, rest = append(stream, frame(recordHandshake, rest[:n])...), rest[n:]
	}
	stream = append(stream, frame(recordHandshake, message(typeNewSessionTicket, []byte{0, 1, 2, 3, 0, 1, 9}))...)
	var s ServerReader
	if !s.Feed(stream) {
		t.Error("the stream did not end with the ticket")
	}
	if hint, ok := s.LifetimeHint(); !ok || hint != 0x010203 {
		t.Errorf("lifetime hint %#x, %t", hint, ok)
	}
}

// TestEnds proves where reading stops, and with what.
func TestEnds(t *testing.T) {
	ccs := frame(recordChangeCipherSpec, []byte{1})
	ticket := message(typeNewSessionTicket, []byte{0, 0, 0, 9, 0, 0})
	for _, c := range []struct {
		name        string
		stream      []byte
		ended       bool
		hello, hint bool
	}{
		{"nothing", nil, false, false, false},
		{"half a record header", []byte{22, 3}, false, false, false},
		{"half a hello", frame(recordHandshake, serverHello(false)[:9]), false, false, false},
		{"hello without ticket", frame(recordHandshake, serverHello(false)), true, true, false},
		{"hello with a ticket to come", frame(recordHandshake, serverHello(true)), false, true, false},
		{"ticket after ChangeCipherSpec", slices.Concat(frame(recordHandshake, serverHello(true)), ccs, frame(recordHandshake, ticket)), true, true, false},
		{"ticket before the hello", frame(recordHandshake, slices.Concat(ticket, serverHello(true))), true, false, false},
		{"two hellos", frame(recordHandshake, slices.Concat(serverHello(true), serverHello(true), ticket)), true, true, false},
		{"HelloRequest first", frame(recordHandshake, slices.Concat(message(typeHelloRequest, nil), serverHello(true), ticket)), true, true, true},
		{"HelloRequest with a body", frame(recordHandshake, slices.Concat(message(typeHelloRequest, []byte{1}), serverHello(true))), true, false, false},
		{"an alert first", slices.Concat(frame(recordAlert, []byte{1, 112}), frame(recordHandshake, serverHello(false))), true, true, false},
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), true, false, false},
		{"SSL 2.0", []byte{0x80, 0x2e, 0x04, 0x00, 0x01}, true, false, false},
		{"application data", frame(23, []byte("hi")), true, false, false},
		{"an empty record", frame(recordHandshake, nil), true, false, false},
		{"a record too long", []byte{22, 3, 3, 0x48, 1}, true, false, false},
		{"a ticket without hint", frame(recordHandshake, slices.Concat(serverHello(true), message(typeNewSessionTicket, []byte{0, 0, 0}))), true, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s ServerReader
			ended := s.Feed(c.stream)
			if _, ok := s.LifetimeHint(); ended != c.ended || (s.Hello() != nil) != c.hello || ok != c.hint {
				t.Errorf("ended %t, hello %t, hint %t", ended, s.Hello() != nil, ok)
			}
			if !s.Feed([]byte("more")) && c.ended {
				t.Error("reading goes on after the end")
			}
		})
	}
	var client ClientReader
	if !client.Feed(frame(recordHandshake, serverHello(false))) || client.Hello() != nil {
		t.Error("a ServerHello from a client was read")
	}
}

// TestBounded proves that a hello without end holds no memory.
func TestBounded(t *testing.T) {
	var s ServerReader
	if !s.Feed(frame(recordHandshake, []byte{typeServerHello, 1, 0, 1})) {
		t.Error("a ServerHello of 64 KiB and a byte was begun")
	}
	s = ServerReader{}
	s.Feed(frame(recordHandshake, []byte{typeServerHello, 1, 0, 0}))
	piece := frame(recordHandshake, bytes.Repeat([]byte{1}, 1<<14))
	for range 10 {
		s.Feed(piece)
		if cap(s.stream.body) > 2*maxMessage {
			t.Fatalf("%d bytes held", cap(s.stream.body))
		}
	}
	if s.Hello() != nil || s.stream.body != nil {
		t.Errorf("hello %+v, %d bytes still held", s.Hello(), cap(s.stream.body))
	}
	// Messages that nobody wants, for ever: nothing of them is held.
	s = ServerReader{}
	s.Feed(frame(recordHandshake, serverHello(true)))
	before := cap(s.stream.body)
	for range 100 {
		if s.Feed(frame(recordHandshake, message(11, make([]byte, 1<<14-headerLen)))) || cap(s.stream.body) > before {
			t.Fatalf("%d bytes held, %d before", cap(s.stream.body), before)
		}
	}
}

// The seeds are short: whatever is found is cut down byte by byte.

func FuzzClientReader(f *testing.F) {
	client, server := both(f, tls.VersionTLS12)
	sent, _, _ := record(f, client, server)
	f.Add(sent[:recordHeader+int(binary.BigEndian.Uint16(sent[3:]))])
	f.Fuzz(func(t *testing.T, stream []byte) {
		var whole, cut ClientReader
		ended := whole.Feed(stream)
		for i := range stream {
			cut.Feed(stream[i : i+1])
		}
		if ended != cut.stream.ended || !reflect.DeepEqual(whole.Hello(), cut.Hello()) {
			t.Errorf("in one piece %t %+v, byte by byte %t %+v", ended, whole.Hello(), cut.stream.ended, cut.Hello())
		}
	})
}

func FuzzServerReader(f *testing.F) {
	hello13 := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{1, 1}, []byte{0x13, 1}, []byte{0}, []byte{0, 6, 0, 43, 0, 2, 3, 4})
	f.Add(frame(recordHandshake, message(typeServerHello, hello13)))
	f.Add(frame(recordHandshake, slices.Concat(serverHello(true), message(11, nil), message(typeNewSessionTicket, []byte{0, 0, 0, 9, 0, 0}))))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var whole, cut ServerReader
		ended := whole.Feed(stream)
		for i := range stream {
			cut.Feed(stream[i : i+1])
		}
		if ended != cut.stream.ended || !reflect.DeepEqual(whole.Hello(), cut.Hello()) || whole.hint != cut.hint || whole.ticket != cut.ticket {
			t.Errorf("in one piece %t %+v, byte by byte %t %+v", ended, whole.Hello(), cut.stream.ended, cut.Hello())
		}
		if len(whole.stream.body) > maxMessage {
			t.Errorf("%d bytes held", len(whole.stream.body))
		}
	})
}
