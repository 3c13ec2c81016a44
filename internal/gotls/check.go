package gotls

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"sync"
)

// Check reports whether crypto/tls in this process reads and writes sessions
// in the layout of [State]; if not, the error wraps [ErrLayout]. The check runs
// once per process, later calls return its result. Safe for concurrent use.
func Check() error { return checked() }

var checked = sync.OnceValue(func() error { return check(throughTLS) })

// reread is what can be seen of a session after crypto/tls has read it.
type reread struct {
	extra     [][]byte
	earlyData bool
	encoding  []byte
}

// throughTLS has crypto/tls read a session and write it again.
func throughTLS(b []byte) (reread, error) {
	ss, err := tls.ParseSessionState(b)
	if err != nil {
		return reread{}, err
	}
	out, err := ss.Bytes()
	return reread{ss.Extra, ss.EarlyData, out}, err
}

// check sends samples of every kind through the engine. The samples have a
// different value in every byte of every field, so a field that moved, grew or
// went away shows.
func check(engine func([]byte) (reread, error)) error {
	for _, s := range samples() {
		if err := checkOne(s, engine); err != nil {
			return fmt.Errorf("%w: %v: %w", ErrLayout, s, err)
		}
	}
	return nil
}

func checkOne(s *State, engine func([]byte) (reread, error)) error {
	b, err := s.Append(nil)
	if err != nil {
		return err
	}
	// The engine may alias what it is given.
	got, err := engine(bytes.Clone(b))
	if err != nil {
		return err
	}
	if !bytes.Equal(got.encoding, b) {
		return fmt.Errorf("%d bytes written, %d expected, first difference at %d",
			len(got.encoding), len(b), firstDifference(got.encoding, b))
	}
	if !reflect.DeepEqual(got.extra, s.Extra) || got.earlyData != s.EarlyData {
		return errors.New("extra or early data read differently")
	}
	again, err := Decode(got.encoding)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(again, s) {
		return errors.New("decoded differently")
	}
	return nil
}

func firstDifference(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// samples returns a full and a sparse session for each side and version.
func samples() []*State {
	leaf, issuer := sampleCertificates()
	var all []*State
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
		for _, client := range []bool{false, true} {
			all = append(all, fullSample(version, client, leaf, issuer))
			sparse := &State{Version: version, Client: client, Suite: 0xc02f, CreatedAt: 1, Secret: []byte{1}, EMS: true}
			if client {
				sparse.Peer = [][]byte{leaf}
			}
			all = append(all, sparse)
		}
	}
	return all
}

func fullSample(version uint16, client bool, leaf, issuer []byte) *State {
	s := &State{
		Version:   version,
		Client:    client,
		Suite:     0x1301,
		CreatedAt: 0x1112131415161718,
		Secret:    make([]byte, 48),
		Extra:     [][]byte{{0x21, 0x22}, {}, {0x23}},
		EarlyData: true,
		Peer:      [][]byte{leaf, issuer},
		OCSP:      []byte{0x31, 0x32, 0x33},
		SCTs:      [][]byte{{0x41}, {0x42, 0x43}},
		Chains:    [][][]byte{{issuer}, nil, {issuer, leaf}},
		ALPN:      "alpn",
	}
	for i := range s.Secret {
		s.Secret[i] = byte(0x80 + i)
	}
	switch {
	case version <= tls.VersionTLS12:
		s.Curve = 0x5152
	case client:
		s.UseBy, s.AgeAdd = 0x6162636465666768, 0x71727374
	}
	return s
}

// sampleDER is a self-signed Ed25519 certificate for "reprise", as small as
// they come. Its key is nowhere trusted; crypto/tls only has to parse it.
const sampleDER = "MIHSMIGFoAMCAQICAQEwBQYDK2VwMBIxEDAOBgNVBAMTB3JlcHJpc2UwIBcNNzAwMTAxMDAwMDAw" +
	"WhgPMjEwMDAxMDEwMDAwMDBaMBIxEDAOBgNVBAMTB3JlcHJpc2UwKjAFBgMrZXADIQDqSmxj4pxS" +
	"Cr71UHsTLsX5lUd2rr6+e5JCHuppFEbSLDAFBgMrZXADQQBqwxhzT5+hl52B+3Pw9FznO0pK3fMB" +
	"1jY6u+vKjoRW0LO/K/9jNhg/2S6e/tnJT6Rbqr2mKqzDeIMlrAZKMx4F"

// sampleCertificates returns two certificates that differ, in their last byte:
// parsing does not verify the signature.
func sampleCertificates() (leaf, issuer []byte) {
	leaf, err := base64.StdEncoding.DecodeString(sampleDER)
	if err != nil {
		panic("gotls: sample certificate: " + err.Error())
	}
	issuer = bytes.Clone(leaf)
	issuer[len(issuer)-1] ^= 0xff
	return leaf, issuer
}
