package reprise

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/internal/oracle"
)

// pemCases are texts around a session in PEM. {B} is the session's base64 in
// lines, {S} a whole session, {C} a whole block of another type.
var pemCases = []struct {
	name, text string
	err        error  // nil: it is read
	says       string // in the error
}{
	{"a session", "{S}", nil, ""},
	{"text before", "CN = example\n\n  {S}-----BEGIN\n{S}", nil, ""},
	{"text behind", "{S}text", nil, ""},
	{"a byte order mark", "\xef\xbb\xbf{S}", nil, ""},
	{"two byte order marks", "\xef\xbb\xbf\xef\xbb\xbf{S}", ErrNoPEM, ""},
	{"a byte order mark of UTF-16", "\xff\xfe{S}", ErrNoPEM, ""},
	{"a byte order mark behind a certificate", "{C}\xef\xbb\xbf{S}", nil, ""},
	{"nothing", "", ErrNoPEM, "SSL SESSION PARAMETERS"},
	{"text only", "text\n", ErrNoPEM, "SSL SESSION PARAMETERS"},
	{"a certificate", "{C}", ErrNoPEM, `"CERTIFICATE"`},
	{"a certificate before", "{C}{S}", nil, ""},
	{"a damaged certificate before", "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n{S}", ErrDamagedPEM, `"CERTIFICATE"`},
	{"an empty certificate before", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n{S}", ErrDamagedPEM, `"CERTIFICATE"`},
	{"a certificate without end before", "-----BEGIN CERTIFICATE-----\nAAAA\n{S}", ErrDamagedPEM, `"CERTIFICATE"`},
	{"an encrypted key before", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n{S}", nil, ""},
	{"a damaged session before", "-----BEGIN SSL SESSION PARAMETERS-----\n*\n-----END SSL SESSION PARAMETERS-----\n{S}", ErrDamagedPEM, "base64"},
	{"a session cut short before", "-----BEGIN SSL SESSION PARAMETERS-----\nAAA\n{S}", ErrDamagedPEM, ""},
	{"no end", "-----BEGIN SSL SESSION PARAMETERS-----\n{B}", ErrDamagedPEM, "does not end"},
	{"no newline at the end", "-----BEGIN SSL SESSION PARAMETERS-----\n{B}-----END SSL SESSION PARAMETERS-----", nil, ""},
	{"another end", "-----BEGIN SSL SESSION PARAMETERS-----\n{B}-----END SSL SESSION-----\n", ErrDamagedPEM, "another type"},
	{"encrypted", "-----BEGIN SSL SESSION PARAMETERS-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,000102030405060708090A0B0C0D0E0F\n\n{B}-----END SSL SESSION PARAMETERS-----\n", ErrEncryptedPEM, "decrypt"},
	{"another header", "-----BEGIN SSL SESSION PARAMETERS-----\nComment: good\n\n{B}-----END SSL SESSION PARAMETERS-----\n", ErrDamagedPEM, "header"},
	{"only a header", "-----BEGIN SSL SESSION PARAMETERS-----\nComment: good\n{B}-----END SSL SESSION PARAMETERS-----\n", ErrDamagedPEM, ""},
	{"an empty line before the data", "-----BEGIN SSL SESSION PARAMETERS-----\n\n{B}-----END SSL SESSION PARAMETERS-----\n", nil, ""},
	{"two empty lines", "-----BEGIN SSL SESSION PARAMETERS-----\n\n\n{B}-----END SSL SESSION PARAMETERS-----\n", ErrDamagedPEM, "empty line"},
	{"an empty line behind the data", "-----BEGIN SSL SESSION PARAMETERS-----\n{B}\n-----END SSL SESSION PARAMETERS-----\n", ErrDamagedPEM, ""},
	{"spaces and returns", "-----BEGIN SSL SESSION PARAMETERS----- \r\n{B} \t\r\n-----END SSL SESSION PARAMETERS-----\t\r\n", ErrDamagedPEM, ""},
	{"another case", "-----begin ssl session parameters-----\n{B}-----end ssl session parameters-----\n", ErrNoPEM, ""},
	{"a space before", " -----BEGIN SSL SESSION PARAMETERS-----\n{B}-----END SSL SESSION PARAMETERS-----\n", ErrNoPEM, ""},
	{"high bytes behind", "-----BEGIN SSL SESSION PARAMETERS-----\xff\xfe\n{B}-----END SSL SESSION PARAMETERS-----\n", nil, ""},
	{"a zero byte in a line", "-----BEGIN SSL SESSION PARAMETERS-----\n\x00*\n{B}-----END SSL SESSION PARAMETERS-----\n", nil, ""},
	{"a dash in the data", "-----BEGIN SSL SESSION PARAMETERS-----\n{B}-*\n-----END SSL SESSION PARAMETERS-----\n", nil, ""},
}

func pemText(t testing.TB, text string) []byte {
	t.Helper()
	session := numbered(1, 10)
	session.SetTimeout(time.Minute)
	whole, err := session.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	body := strings.TrimSuffix(strings.TrimPrefix(string(whole), "-----BEGIN "+PEMType+"-----\n"), "-----END "+PEMType+"-----\n")
	const other = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	return []byte(strings.NewReplacer("{S}", string(whole), "{B}", body, "{C}", other).Replace(text))
}

func TestParseSessionPEM(t *testing.T) {
	for _, c := range pemCases {
		s, _, err := ParseSessionPEM(pemText(t, c.text))
		if !errors.Is(err, c.err) || c.err == nil && err != nil || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		s.Free()
	}
}

// TestPEMParity compares with PEM_read_bio_SSL_SESSION: the cases, and what small
// changes make of them.
func TestPEMParity(t *testing.T) {
	o := oracle.Start(t)
	var inputs [][]byte
	for _, c := range pemCases {
		inputs = append(inputs, pemText(t, c.text))
	}
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"\n", "\r\n", " ", "\t", "=", "-", ":", "A", "\x00", "\xff", "\xef\xbb\xbf", "\n\n", "AAAA\n", "-----END " + PEMType + "-----\n",
		"-----BEGIN X-----\n", "-----", "Proc-Type: 4,ENCRYPTED\n", strings.Repeat("A", 300), strings.Repeat(" ", 254)}
	for given := slices.Clip(inputs); len(inputs) < 20_000; {
		text := bytes.Clone(given[random.IntN(len(given))])
		for range 1 + random.IntN(3) {
			at := random.IntN(len(text) + 1)
			to := at
			switch random.IntN(8) {
			case 0:
				to = at + min(random.IntN(4), len(text)-at)
			case 1:
				to = at + random.IntN(len(text)-at+1)
			}
			var piece string
			if random.IntN(3) > 0 {
				piece = pieces[random.IntN(len(pieces))]
			}
			text = slices.Concat(text[:at], []byte(piece), text[to:])
		}
		inputs = append(inputs, text)
	}
	encoded, consumed := o.ParsePEM(inputs)
	accepted := 0
	for i, text := range inputs {
		s, rest, err := ParseSessionPEM(text)
		if (err == nil) != (encoded[i] != nil) {
			t.Errorf("%q: %v, libssl accepts: %t", text, err, encoded[i] != nil)
			continue
		}
		if err != nil {
			continue
		}
		accepted++
		der, err := s.MarshalBinary()
		if err != nil || !bytes.Equal(der, encoded[i]) || int64(len(text)-len(rest)) != consumed[i] {
			t.Errorf("%q: %x, %v, libssl %x; %d bytes behind, libssl read %d of %d", text, der, err, encoded[i], len(rest), consumed[i], len(text))
		}
		s.Free()
	}
	if accepted < len(inputs)/20 {
		t.Errorf("%d of %d texts accepted: they prove little", accepted, len(inputs))
	}
}

// TestParseSessionPEMCost: texts that are made for it take no more than ParseSession
// of as many bytes may.
func TestParseSessionPEMCost(t *testing.T) {
	for _, size := range []int{1 << 20, 4 << 20} {
		for name, piece := range map[string]string{
			"lines":            "text\n",
			"one line":         "-",
			"blocks":           "-----BEGIN X-----\nAAAA\n-----END X-----\n",
			"beginnings":       "-----BEGIN X-----\n",
			"ends in a line":   " -----END X-----\n",
			"a block of lines": "A\n",
		} {
			text := []byte(strings.Repeat(piece, size/len(piece)))
			if name == "a block of lines" || name == "ends in a line" {
				text = append([]byte("-----BEGIN X-----\n"), text...)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := ParseSessionPEM(text)
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; err == nil || grown > 26*uint64(len(text)) {
				t.Errorf("%s: %d bytes of input took %d bytes, %v", name, len(text), grown, err)
			}
		}
	}
}
