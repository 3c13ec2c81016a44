// Package appdata is the layout of what reprise itself keeps with a session,
// inside the session's ticket_appdata field, so that libssl still reads every
// byte that reprise writes.
//
// Application data that does not begin with our revision and magic is somebody
// else's: it is kept as it is.
package appdata

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
)

// Record is what travels with a session besides the fields that libssl knows.
//
// Its encoding, in the language of RFC 8446, section 3:
//
//	struct {
//	    uint8 revision = 1;
//	    opaque magic[7] = "reprise";
//	    Section sections<..>;           /* to the end, tags ascending, none empty */
//	} Record;
//
//	struct {
//	    uint8 tag;
//	    opaque body<1..2^24-1>;
//	} Section;
//
//	 1 first_auth      uint64 nanoseconds since the epoch
//	 2 lineage         opaque[16]
//	 3 policy          opaque<1..64>
//	 4 certificates    uint16 peer_count; opaque certificate<1..2^24-1> ...
//	                   /* the peer's chain after its leaf, then certificates that only verified chains have */
//	 5 verified_chains uint8 length; uint16 index[length] ... /* into certificates; the leaf is left out */
//	 6 ocsp            opaque
//	 7 scts            opaque sct<0..2^24-1> ...
//	 8 extra           opaque entry<0..2^24-1> ...  /* tls.SessionState.Extra of other layers */
//	 9 state           opaque                       /* a tls.SessionState whose layout we do not know */
//	10 user            opaque                       /* the application's own ticket application data */
//	11 sequence        opaque manager[8]; uint64 number  /* where the line of sessions began, in the order of one Manager */
//
// A change of any of this is a new revision; a reader accepts the revisions it
// knows, exactly, and treats the rest as foreign.
type Record struct {
	FirstAuth int64      // nanoseconds since the epoch; when the peer was authenticated by a full handshake
	Lineage   []byte     // 16 bytes shared by all sessions that descend from one full handshake
	Policy    []byte     // names the client-certificate policy that made the session
	Chain     [][]byte   // the peer's certificates after the leaf
	Verified  [][][]byte // verified chains, each without the leaf
	OCSP      []byte
	SCTs      [][]byte
	Extra     [][]byte
	State     []byte
	User      []byte
	Sequence  []byte // 16 bytes: a Manager's id, then the number at which the line of sessions began there
}

const (
	revision    = 1
	magic       = "reprise"
	headerLen   = 1 + len(magic)
	lineageLen  = 16
	sequenceLen = 16
	maxPolicy   = 64
	maxCerts    = 1 << 10
	maxChain    = 255
)

const (
	tagFirstAuth = 1 + iota
	tagLineage
	tagPolicy
	tagCertificates
	tagVerified
	tagOCSP
	tagSCTs
	tagExtra
	tagState
	tagUser
	tagSequence
)

// ErrMalformed reports application data that claims to be ours and is not well formed.
var ErrMalformed = errors.New("appdata: malformed record")

// Ours reports whether data begins as a Record of a revision that we know.
func Ours(data []byte) bool {
	return len(data) >= headerLen && data[0] == revision && string(data[1:headerLen]) == magic
}

// Append appends the encoding of r to dst. A record with nothing but User is
// written as User itself: what libssl's applications would have put there.
func (r *Record) Append(dst []byte) ([]byte, error) { return r.append(dst, new(certTable)) }

func (r *Record) append(dst []byte, table *certTable) ([]byte, error) {
	if r.onlyUser() && !Ours(r.User) {
		return append(dst, r.User...), nil
	}
	dst = slices.Grow(dst, r.size())
	dst = append(dst, revision)
	dst = append(dst, magic...)
	var err error
	if r.FirstAuth != 0 {
		dst = section(dst, tagFirstAuth, func(b []byte) []byte {
			return binary.BigEndian.AppendUint64(b, uint64(r.FirstAuth))
		})
	}
	dst = opaque(dst, tagLineage, r.Lineage)
	dst = opaque(dst, tagPolicy, r.Policy)
	if dst, err = r.appendChains(dst, table); err != nil {
		return nil, err
	}
	dst = opaque(dst, tagOCSP, r.OCSP)
	dst = list(dst, tagSCTs, r.SCTs)
	dst = list(dst, tagExtra, r.Extra)
	dst = opaque(dst, tagState, r.State)
	dst = opaque(dst, tagUser, r.User)
	dst = opaque(dst, tagSequence, r.Sequence)
	return dst, nil
}

func (r *Record) onlyUser() bool {
	return r.FirstAuth == 0 && len(r.Lineage) == 0 && len(r.Policy) == 0 && len(r.Chain) == 0 &&
		len(r.Verified) == 0 && len(r.OCSP) == 0 && len(r.SCTs) == 0 && len(r.Extra) == 0 && len(r.State) == 0 &&
		len(r.Sequence) == 0
}

// size is room for r's encoding, if it has all certificates of its chains in Chain.
func (r *Record) size() int {
	const sectionHeader, entryHeader = 4, 3
	n := headerLen + tagSequence*sectionHeader + 8 + len(r.Lineage) + len(r.Policy) + 2 + r.chainsSize() +
		len(r.OCSP) + len(r.State) + len(r.User) + len(r.Sequence)
	for _, list := range [][][]byte{r.Chain, r.SCTs, r.Extra} {
		for _, e := range list {
			n += entryHeader + len(e)
		}
	}
	return n
}

func (r *Record) chainsSize() (n int) {
	for _, chain := range r.Verified {
		n += 1 + 2*len(chain)
	}
	return n
}

func (r *Record) appendChains(dst []byte, table *certTable) ([]byte, error) {
	if err := table.fill(r.Chain); err != nil {
		return nil, err
	}
	chains := make([]byte, 0, r.chainsSize())
	for _, chain := range r.Verified {
		if len(chain) > maxChain {
			return nil, fmt.Errorf("appdata: a verified chain of %d certificates: at most %d are kept", len(chain), maxChain)
		}
		chains = append(chains, byte(len(chain)))
		for _, cert := range chain {
			i := table.place(cert)
			if len(table.certs) > maxCerts {
				return nil, errCerts(len(table.certs))
			}
			chains = binary.BigEndian.AppendUint16(chains, uint16(i))
		}
	}
	if len(table.certs) > 0 {
		dst = section(dst, tagCertificates, func(b []byte) []byte {
			b = binary.BigEndian.AppendUint16(b, uint16(len(r.Chain)))
			return appendEntries(b, table.certs)
		})
	}
	return opaque(dst, tagVerified, chains), nil
}

// section appends a section whose body is what add appends.
func section(dst []byte, tag byte, add func([]byte) []byte) []byte {
	dst = append(dst, tag, 0, 0, 0)
	start := len(dst)
	dst = add(dst)
	putUint24(dst[start-3:], len(dst)-start)
	return dst
}

func opaque(dst []byte, tag byte, body []byte) []byte {
	if len(body) == 0 {
		return dst
	}
	return section(dst, tag, func(b []byte) []byte { return append(b, body...) })
}

func list(dst []byte, tag byte, entries [][]byte) []byte {
	if len(entries) == 0 {
		return dst
	}
	return section(dst, tag, func(b []byte) []byte { return appendEntries(b, entries) })
}

func appendEntries(dst []byte, entries [][]byte) []byte {
	for _, e := range entries {
		dst = append(dst, 0, 0, 0)
		putUint24(dst[len(dst)-3:], len(e))
		dst = append(dst, e...)
	}
	return dst
}

func putUint24(b []byte, n int) {
	b[0], b[1], b[2] = byte(n>>16), byte(n>>8), byte(n)
}

// Parse reads what Append wrote. The slices of the record alias data. Foreign
// data comes back as the User field of an otherwise empty record; data that
// begins as ours and is not well formed gives ErrMalformed.
//
// Parse takes time linear in len(data), and at most 24*len(data) bytes and 512
// KiB more of memory: a chain without certificates is one byte in data and a
// slice in the record. Append of the record takes at most 5*len(data) bytes and
// 512 KiB more.
func Parse(data []byte) (Record, error) { return parse(data, new(certTable)) }

func parse(data []byte, table *certTable) (Record, error) {
	var r Record
	if !Ours(data) {
		r.User = data
		return r, nil
	}
	rest, last := data[headerLen:], byte(0)
	for len(rest) > 0 {
		tag := rest[0]
		body, after, ok := entry(rest[1:])
		if !ok || tag <= last || len(body) == 0 {
			return Record{}, ErrMalformed
		}
		if !r.parseSection(tag, body, table) {
			return Record{}, ErrMalformed
		}
		rest, last = after, tag
	}
	if r.onlyUser() && !Ours(r.User) || table.used != len(table.certs) {
		return Record{}, ErrMalformed // not as Append would have written it
	}
	return r, nil
}

func (r *Record) parseSection(tag byte, body []byte, table *certTable) (ok bool) {
	switch tag {
	case tagFirstAuth:
		if len(body) != 8 {
			return false
		}
		r.FirstAuth = int64(binary.BigEndian.Uint64(body))
		return r.FirstAuth != 0
	case tagLineage:
		r.Lineage = body
		return len(body) == lineageLen
	case tagPolicy:
		r.Policy = body
		return len(body) <= maxPolicy
	case tagCertificates:
		return r.parseCertificates(body, table)
	case tagVerified:
		return r.parseVerified(body, table)
	case tagOCSP:
		r.OCSP = body
	case tagSCTs:
		r.SCTs, ok = entries(body)
		return ok
	case tagExtra:
		r.Extra, ok = entries(body)
		return ok
	case tagState:
		r.State = body
	case tagUser:
		r.User = body
	case tagSequence:
		r.Sequence = body
		return len(body) == sequenceLen
	default:
		return false
	}
	return true
}

func (r *Record) parseCertificates(body []byte, table *certTable) bool {
	if len(body) < 2 {
		return false
	}
	peer := int(binary.BigEndian.Uint16(body))
	certs, ok := entries(body[2:])
	if !ok || len(certs) == 0 || peer > len(certs) || table.fill(certs) != nil {
		return false
	}
	for _, c := range certs {
		if len(c) == 0 {
			return false
		}
	}
	if table.used = peer; peer > 0 {
		r.Chain = certs[:peer:peer]
	}
	return true
}

// parseVerified counts first, so that slices of the record take no more room
// than they need.
func (r *Record) parseVerified(body []byte, table *certTable) bool {
	chains, certs := 0, 0
	for rest := body; len(rest) > 0; chains++ {
		n := int(rest[0])
		if len(rest) < 1+2*n {
			return false
		}
		certs += n
		rest = rest[1+2*n:]
	}
	r.Verified = make([][][]byte, chains)
	all := make([][]byte, certs)
	for i := range r.Verified {
		n := int(body[0])
		chain := all[:n:n]
		for j := range chain {
			if chain[j] = table.next(int(binary.BigEndian.Uint16(body[1+2*j:]))); chain[j] == nil {
				return false
			}
		}
		r.Verified[i], all, body = chain, all[n:], body[1+2*n:]
	}
	return true
}

// entry reads one element with a 24-bit length.
func entry(b []byte) (body, rest []byte, ok bool) {
	if len(b) < 3 {
		return nil, nil, false
	}
	n := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	if len(b)-3 < n {
		return nil, nil, false
	}
	return b[3 : 3+n : 3+n], b[3+n:], true
}

func entries(b []byte) ([][]byte, bool) {
	count := 0
	for rest := b; len(rest) > 0; count++ {
		var ok bool
		if _, rest, ok = entry(rest); !ok {
			return nil, false
		}
	}
	list := make([][]byte, count)
	for i := range list {
		list[i], b, _ = entry(b)
	}
	return list, true
}

// String counts the certificates.
func (r Record) String() string {
	return fmt.Sprintf("appdata.Record(%d certificates, %d chains)", len(r.Chain), len(r.Verified))
}

// Format prints String under every verb, so that none shows a secret.
func (r Record) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue gives slog what String returns.
func (r Record) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalText gives JSON what String returns.
func (r Record) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
