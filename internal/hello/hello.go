// Package hello reads ClientHello, ServerHello and the TLS 1.2 NewSessionTicket
// passively, from the bytes of a connection as they pass: what crypto/tls sends
// and gets in clear and shows nobody.
//
// Its word is a hint. Nothing is authenticated until crypto/tls has verified
// the Finished messages, which cover every byte that is read here.
package hello

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// The messages of a handshake that are read (RFC 8446, section 4; RFC 5246,
// section 7.4; RFC 5077, section 3.3).
const (
	typeHelloRequest     = 0
	typeClientHello      = 1
	typeServerHello      = 2
	typeNewSessionTicket = 4
)

// The extensions that are looked at.
const (
	extensionEMS               = 23 // extended_master_secret, RFC 7627
	extensionSessionTicket     = 35 // session_ticket, RFC 5077
	extensionSupportedVersions = 43 // RFC 8446, section 4.2.1
	extensionKeyShare          = 51 // RFC 8446, section 4.2.8
)

const versionTLS13 = 0x0304

// ClientHello is what is read of the message
//
//	struct {
//	    uint16 legacy_version;
//	    opaque random[32];
//	    opaque session_id<0..32>;
//	    uint16 cipher_suites<2..2^16-2>;
//	    uint8 compression_methods<1..2^8-1>;
//	    Extension extensions<0..2^16-1>;  /* absent before TLS 1.3 where there are none */
//	} ClientHello;
type ClientHello struct {
	Random               [32]byte
	SessionID            []byte
	Versions             []uint16 // offered: supported_versions, else legacy_version alone
	SessionTicket        bool     // has the session_ticket extension
	ExtendedMasterSecret bool     // has the extended_master_secret extension
	KeyShare             bool     // has the key_share extension
}

// ServerHello is what is read of the message
//
//	struct {
//	    uint16 legacy_version;
//	    opaque random[32];
//	    opaque session_id<0..32>;
//	    uint16 cipher_suite;
//	    uint8 compression_method;
//	    Extension extensions<0..2^16-1>;  /* absent before TLS 1.3 where there are none */
//	} ServerHello;
type ServerHello struct {
	Version              uint16 // chosen: supported_versions, else legacy_version
	Random               [32]byte
	SessionID            []byte
	CipherSuite          uint16
	SessionTicket        bool // has the session_ticket extension: a NewSessionTicket follows
	ExtendedMasterSecret bool // has the extended_master_secret extension
}

// parseClientHello reads the body of a ClientHello; nil if it is malformed.
// The result shares no memory with body.
func parseClientHello(body []byte) *ClientHello {
	h := new(ClientHello)
	in := cryptobyte.String(body)
	var version uint16
	var id, suites, compression cryptobyte.String
	if !in.ReadUint16(&version) || !in.CopyBytes(h.Random[:]) || !in.ReadUint8LengthPrefixed(&id) || len(id) > 32 ||
		!in.ReadUint16LengthPrefixed(&suites) || !in.ReadUint8LengthPrefixed(&compression) {
		return nil
	}
	h.SessionID, h.Versions = slices.Clone(id), []uint16{version}
	ok := readExtensions(in, func(kind uint16, data cryptobyte.String) bool {
		switch kind {
		case extensionEMS:
			h.ExtendedMasterSecret = true
		case extensionSessionTicket:
			h.SessionTicket = true
		case extensionKeyShare:
			h.KeyShare = true
		case extensionSupportedVersions:
			h.Versions = readVersions(data)
			return len(h.Versions) > 0
		}
		return true
	})
	if !ok {
		return nil
	}
	return h
}

// readVersions reads supported_versions of a ClientHello; nil if it is malformed.
func readVersions(data cryptobyte.String) (versions []uint16) {
	var list cryptobyte.String
	if !data.ReadUint8LengthPrefixed(&list) || !data.Empty() {
		return nil
	}
	for !list.Empty() {
		var version uint16
		if !list.ReadUint16(&version) {
			return nil
		}
		versions = append(versions, version)
	}
	return versions
}

// parseServerHello reads the body of a ServerHello; nil if it is malformed. The
// result shares no memory with body.
func parseServerHello(body []byte) *ServerHello {
	h := new(ServerHello)
	in := cryptobyte.String(body)
	var id cryptobyte.String
	var compression uint8
	if !in.ReadUint16(&h.Version) || !in.CopyBytes(h.Random[:]) || !in.ReadUint8LengthPrefixed(&id) || len(id) > 32 ||
		!in.ReadUint16(&h.CipherSuite) || !in.ReadUint8(&compression) {
		return nil
	}
	h.SessionID = slices.Clone(id)
	ok := readExtensions(in, func(kind uint16, data cryptobyte.String) bool {
		switch kind {
		case extensionEMS:
			h.ExtendedMasterSecret = true
		case extensionSessionTicket:
			h.SessionTicket = true
		case extensionSupportedVersions:
			return data.ReadUint16(&h.Version) && data.Empty()
		}
		return true
	})
	if !ok {
		return nil
	}
	return h
}

// readExtensions gives each extension of a hello to read. It reports whether
// they are well formed, none comes twice and read took all.
func readExtensions(in cryptobyte.String, read func(kind uint16, data cryptobyte.String) bool) bool {
	if in.Empty() {
		return true
	}
	var list cryptobyte.String
	if !in.ReadUint16LengthPrefixed(&list) || !in.Empty() {
		return false
	}
	seen := make(map[uint16]bool)
	for !list.Empty() {
		var kind uint16
		var data cryptobyte.String
		if !list.ReadUint16(&kind) || !list.ReadUint16LengthPrefixed(&data) || seen[kind] || !read(kind, data) {
			return false
		}
		seen[kind] = true
	}
	return true
}
