package asn1sess

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/internal/oracle"
)

// A deviation is a difference from libssl 3.0 that was chosen. TestParity fails for any other
// difference, and for a deviation that no input showed.
type deviation struct {
	name   string
	reason string

	// applies tells whether it explains that one side accepts what the other refuses: s and
	// err are what Parse gave, got is libssl's session, nil if refused. It is nil for a
	// deviation in what is written or printed.
	applies func(j *judge, s *Session, err error, got *oracle.Session) bool
}

var deviations = []deviation{
	{
		name:   "the inside of the peer's certificate",
		reason: "whether a certificate is well formed is for the package that reads it; without it libssl accepts the session",
		applies: func(j *judge, s *Session, err error, got *oracle.Session) bool {
			return err == nil && s.Peer != nil && got == nil && j.acceptsWithoutKeys(s)
		},
	},
	{
		name:   "a peer's certificate of indefinite length",
		reason: "X.509 demands DER, and the end could only be found by reading the inside",
		applies: func(_ *judge, _ *Session, err error, got *oracle.Session) bool {
			var field *FieldError
			return errors.As(err, &field) && field.Field == "peer" && field.Err == ErrShape && got != nil
		},
	},
	{
		name:   "a peer's raw public key",
		reason: "libssl knows the field since 3.2, and files travel between versions",
		applies: func(j *judge, s *Session, err error, got *oracle.Session) bool {
			return err == nil && s.PeerRPK != nil && got == nil && j.acceptsWithoutKeys(s)
		},
	},
	{
		name:   "a cipher suite that libssl does not know",
		reason: "the caller asks KnownSuite, since some callers want to look at such a session",
		applies: func(_ *judge, s *Session, err error, got *oracle.Session) bool {
			return err == nil && !KnownSuite(s.Cipher) && got == nil
		},
	},
	{
		name:   writtenAnew,
		reason: "libssl decodes a certificate and encodes it again; we keep it as it came, since we do not look inside",
	},
	{
		name:   printStops,
		reason: "SSL_SESSION_print takes an empty identity, user name or ticket for a write error and stops midway; we print the rest",
	},
}

const (
	writtenAnew = "a peer's certificate that is not quite DER, written again"
	printStops  = "the text form after an empty value"
)

// A judge compares with libssl and counts what it saw.
type judge struct {
	oracle             *oracle.Oracle
	accepted, compared int
	seen               map[string]int
}

func newJudge(t *testing.T) *judge {
	j := &judge{oracle: oracle.Start(t), seen: make(map[string]int)}
	if number, name := j.oracle.Version(); number>>20 != 0x300 {
		t.Skipf("the reference is libssl 3.0, here is %s", name)
	}
	return j
}

// acceptsWithoutKeys asks whether libssl accepts s if the parts are taken out that it looks
// into and this package does not, or that it does not know.
func (j *judge) acceptsWithoutKeys(s *Session) bool {
	without := *s
	without.Peer, without.PeerRPK = nil, nil
	der, err := without.Append(nil)
	return err == nil && j.oracle.Parse([][]byte{der}, false)[0] != nil
}

// compare reports the unexplained differences over a batch of inputs.
func (j *judge) compare(t *testing.T, inputs [][]byte) {
	t.Helper()
	for i, got := range j.oracle.Parse(inputs, true) {
		j.compared++
		if diff := j.difference(inputs[i], got); diff != "" {
			t.Errorf("%s\ninput %x", diff, inputs[i])
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

func (j *judge) difference(der []byte, got *oracle.Session) string {
	const absent = -0x6b3a91c4d2e7f015 // eight bytes that no input hits upon by chance, as two bytes were once
	s, rest, err := Parse(der, absent)
	if (err == nil && KnownSuite(s.Cipher)) != (got != nil) || err == nil && !KnownSuite(s.Cipher) {
		for _, d := range deviations {
			if d.applies != nil && d.applies(j, &s, err, got) {
				j.seen[d.name]++
				return ""
			}
		}
		return fmt.Sprintf("libssl accepts: %t, Parse: %v", got != nil, err)
	}
	if got == nil {
		return ""
	}
	j.accepted++
	if s.Time == absent {
		if now := time.Now().Unix(); got.Time < now-60 || got.Time > now {
			return fmt.Sprintf("no time in the input: libssl says %d", got.Time)
		}
		s.Time = got.Time
	}
	if consumed := int64(len(der) - len(rest)); consumed != got.Consumed {
		return fmt.Sprintf("consumed %d, libssl %d", consumed, got.Consumed)
	}
	for _, diff := range []string{j.encodingDifference(&s, got), fieldDifference(&s, got), j.textDifference(&s, got)} {
		if diff != "" {
			return diff
		}
	}
	return ""
}

// encodingDifference compares what is written. Around a certificate that libssl wrote anew
// everything must be the same.
func (j *judge) encodingDifference(s *Session, got *oracle.Session) string {
	want := got.Encoded
	if !bytes.Equal(s.Peer, got.Peer) {
		j.seen[writtenAnew]++
		theirs, _, err := Parse(got.Encoded, 0)
		if err != nil {
			return fmt.Sprintf("libssl's own encoding: %v", err)
		}
		theirs.Peer = s.Peer
		if want, err = theirs.Append(nil); err != nil {
			return fmt.Sprintf("libssl's session: %v", err)
		}
	}
	encoded, err := s.Append(nil)
	if err != nil || !bytes.Equal(encoded, want) {
		return fmt.Sprintf("encoded %x, %v\nlibssl  %x", encoded, err, want)
	}
	return ""
}

func fieldDifference(s *Session, got *oracle.Session) string {
	fragment := int64(s.MaxFragmentLen)
	if fragment == MaxFragmentLenUnspecified {
		fragment = 0 // SSL_SESSION_get_max_fragment_length reads it so
	}
	for _, f := range []struct {
		name       string
		ours, want any
	}{
		{"version", int64(s.Version), got.Version},
		{"cipher", int64(s.Cipher), got.Cipher},
		{"id", string(s.ID), string(got.ID)},
		{"id context", string(s.IDContext), string(got.IDContext)},
		{"master key", string(s.MasterKey), string(got.MasterKey)},
		{"time", s.Time, got.Time},
		{"timeout", s.Timeout, got.Timeout},
		{"hostname is set", s.Hostname != nil, got.HasHostname},
		{"hostname", string(s.Hostname), string(got.Hostname)},
		{"alpn", string(s.ALPN), string(got.ALPN)},
		{"max early data", int64(s.MaxEarlyData), got.MaxEarlyData},
		{"max fragment length", fragment, got.MaxFragment},
		{"has ticket", len(s.Ticket) > 0, got.HasTicket},
		{"lifetime hint", s.TicketLifetimeHint, got.LifetimeHint},
		{"ticket", string(s.Ticket), string(got.Ticket)},
		{"ticket appdata", string(s.TicketAppData), string(got.TicketAppData)},
		{"compression", int64(s.CompressID), got.CompressID},
		{"resumable", len(s.ID) > 0 || len(s.Ticket) > 0, got.Resumable},
		{"has peer", s.Peer != nil, got.HasPeer},
	} {
		if f.ours != f.want {
			return fmt.Sprintf("%s: %#v, libssl %#v", f.name, f.ours, f.want)
		}
	}
	return ""
}

func (j *judge) textDifference(s *Session, got *oracle.Session) string {
	var text strings.Builder
	if err := WriteText(&text, s, false); err != nil {
		return err.Error()
	}
	stops := slices.ContainsFunc([][]byte{s.PSKIdentity, s.PSKIdentityHint, s.SRPUsername, s.Ticket}, func(v []byte) bool {
		return v != nil && len(v) == 0
	})
	if stops {
		j.seen[printStops]++
	}
	if got.TextOK == stops || !stops && text.String() != got.Text || !strings.HasPrefix(text.String(), got.Text) {
		return fmt.Sprintf("text:\n%s\nlibssl, complete %t:\n%s", text.String(), got.TextOK, got.Text)
	}
	if line, ok := KeyLogLine(s); ok != got.KeyLogOK || line != got.KeyLog {
		return fmt.Sprintf("key log %q, %t; libssl %q, %t", line, ok, got.KeyLog, got.KeyLogOK)
	}
	return ""
}

// TestParity compares with libssl over sessions made by hand, sessions of real handshakes, and
// inputs that a generator makes of them. REPRISE_ORACLE_INPUTS sets how many of those,
// REPRISE_ORACLE_SEED the generator's seed.
func TestParity(t *testing.T) {
	j := newJudge(t)
	corpus, peers := corpusOf(t)
	j.compare(t, corpus)
	for _, c := range parseCases {
		j.compare(t, [][]byte{c.der(t)})
	}

	seed, count := setting(t, "REPRISE_ORACLE_SEED", 1), setting(t, "REPRISE_ORACLE_INPUTS", 50_000)
	g := oracle.NewGenerator(seed, corpus, peers)
	for done := uint64(0); done < count; {
		batch := make([][]byte, min(1000, count-done))
		for i := range batch {
			batch[i] = g.Next()
		}
		j.compare(t, batch)
		done += uint64(len(batch))
	}
	t.Logf("seed %d: %d inputs compared, %d accepted by both", seed, j.compared, j.accepted)
	for _, d := range deviations {
		t.Logf("%d times: %s: %s", j.seen[d.name], d.name, d.reason)
		if j.seen[d.name] == 0 {
			t.Errorf("deviation %q never seen: drop it, or the inputs are too tame", d.name)
		}
	}
}

// corpusOf gives good sessions to start from, and the certificates in them. It is the same in
// every run, so that a seed means the same inputs.
func corpusOf(t *testing.T) (corpus, peers [][]byte) {
	t.Helper()
	handshakes := handshakeSessions(t)
	for _, name := range slices.Sorted(maps.Keys(handshakes)) {
		corpus = append(corpus, handshakes[name])
		if s, _, err := Parse(handshakes[name], 0); err == nil && s.Peer != nil {
			peers = append(peers, s.Peer)
		}
	}
	for _, c := range parseCases {
		if c.err == nil {
			corpus = append(corpus, c.der(t))
		}
	}
	for _, peer := range peers {
		inside := decoder{in: peer}
		h, err := inside.header(classUniversal, tagSequence)
		if err != nil {
			t.Fatal(err)
		}
		inside = inside.enter(h)
		for _, ber := range [][]byte{
			slices.Concat([]byte{0x30, 0x80}, inside.in, []byte{0, 0}),
			slices.Concat([]byte{0x30, 0x83, 0, byte(h.length >> 8), byte(h.length)}, inside.in),
		} {
			corpus = append(corpus, wrap(0x30, append(unhex(t, mandatory), wrap(0xa3, ber)...)))
		}
	}
	return corpus, peers
}

// TestParityHandshakes compares over sessions that the openssl of this machine makes now.
func TestParityHandshakes(t *testing.T) {
	j := newJudge(t)
	sessions := slices.Collect(maps.Values(oracle.RealSessions(t)))
	j.compare(t, sessions)
	if j.accepted != len(sessions) {
		t.Errorf("accepted %d of %d real sessions", j.accepted, len(sessions))
	}
}

func setting(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// TestParityLimits compares at the limits that random inputs do not reach.
func TestParityLimits(t *testing.T) {
	j := newJudge(t)
	var inputs [][]byte
	for _, n := range []int{0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000, 1 << 20} {
		s := Session{Version: 0x0304, Cipher: 0x1301, ID: []byte{1}, Time: 1, Timeout: 2, Ticket: make([]byte, n), TicketAppData: make([]byte, n)}
		der, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, der)
	}
	for _, n := range []int{0, 31, 32, 512} {
		s := Session{Version: 0x0303, Cipher: 0xc030, ID: make([]byte, min(n, 32)), MasterKey: make([]byte, n), IDContext: make([]byte, min(n, 32)), Time: 1, Timeout: 2}
		der, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, der)
	}
	for code := range 256 {
		s := Session{Version: 0x0303, Cipher: 0xc030, Time: 1, Timeout: 2, VerifyResult: int32(code - 50), MaxFragmentLen: uint8(code), CompressID: uint8(code)}
		der, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, der)
	}
	for version := range 0x10000 {
		s := Session{Version: uint16(version), Cipher: 0xc030, Time: 1, Timeout: 2}
		der, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, der)
	}
	j.compare(t, inputs)
}
