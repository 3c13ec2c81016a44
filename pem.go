package reprise

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// ParseSessionPEM decodes the first session in PEM form and returns what follows
// it. The caller owns one reference. As in libssl text and blocks of other types
// may stand before it, but every block down to it must be whole.
//
// Errors: ErrNoPEM if there is no session, ErrDamagedPEM for a block that is not
// well formed, ErrEncryptedPEM for a session under a password, which libssl would
// ask for, and those of ParseSession. It takes time and memory linear in
// len(data).
//
// It is PEM_read_bio_SSL_SESSION.
func ParseSessionPEM(data []byte) (s *Session, rest []byte, err error) {
	var found []string // types of other blocks
	for {
		var b pemBlock
		if data, err = b.read(data); err != nil {
			b.wipe()
			return nil, nil, err
		}
		switch {
		case b.name == "":
			return nil, nil, noPEM(found)
		case b.name != PEMType:
			b.wipe()
			if len(found) < 5 && !slices.Contains(found, b.name) {
				found = append(found, b.name)
			}
			continue
		}
		defer b.wipe()
		if err := b.plain(); err != nil {
			return nil, nil, err
		}
		if s, _, err = ParseSession(b.data); err != nil {
			return nil, nil, err
		}
		return s, data, nil
	}
}

// noPEM is ErrNoPEM with the types of the blocks that there are.
func noPEM(found []string) error {
	if len(found) == 0 {
		return ErrNoPEM
	}
	for i, name := range found {
		found[i] = fmt.Sprintf("%.40q", name)
	}
	return fmt.Errorf("%w, but one of %s", ErrNoPEM, strings.Join(found, ", "))
}

// pemBlock is a block of PEM as libcrypto's PEM_read_bio_ex reads one. Its habits
// are not RFC 7468's: a dash ends the data, all text before an empty line is a
// header, and at the end of a line neither whitespace nor bytes above ASCII count.
type pemBlock struct {
	name   string // "": there is no block
	header []byte
	data   []byte

	body []byte            // holds both
	line [pemLine + 1]byte // the latest
}

const (
	pemMark  = "\xef\xbb\xbf" // the byte order mark
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	pemTail  = "-----\n"

	// pemLine is how much libcrypto reads of a line at once; what is longer counts
	// as several lines.
	pemLine = 254
	// pemFull is the length of lines of data behind a header, but for the last.
	pemFull = 65
)

func (b *pemBlock) wipe() {
	clear(b.body)
	clear(b.line[:])
}

func (b *pemBlock) damaged(how string) error {
	return fmt.Errorf("%w %.40q: %s", ErrDamagedPEM, b.name, how)
}

// read reads the first block in text and returns what follows it.
func (b *pemBlock) read(text []byte) (rest []byte, err error) {
	var line []byte
	for first, found := true, false; !found; first = false {
		if len(text) == 0 {
			return nil, nil
		}
		line, text = cutPEMLine(text)
		if first && len(line) > len(pemMark) { // wherever libcrypto begins to look for a block
			line = bytes.TrimPrefix(line, []byte(pemMark))
		}
		line = b.trim(line)
		found = bytes.HasPrefix(line, []byte(pemBegin)) && bytes.HasSuffix(line, []byte(pemTail))
	}
	b.name = string(cutPEMString(line[len(pemBegin) : len(line)-len(pemTail)]))
	return b.readBody(text)
}

// readBody reads a block behind its first line.
func (b *pemBlock) readBody(text []byte) (rest []byte, err error) {
	// Room for all at once: a buffer that grows leaves copies of a key behind.
	body := make([]byte, 0, pemBodySize(text))
	header := -1 // length of the header, once an empty line ended it
	colon, cut, last := false, false, false
	for {
		if len(text) == 0 {
			return nil, b.damaged("it does not end")
		}
		var line []byte
		line, text = cutPEMLine(text)
		before := cut
		cut = len(line) == pemLine && line[pemLine-1] != '\n'
		colon = colon || header < 0 && bytes.IndexByte(line, ':') >= 0
		line = b.trim(line)
		switch {
		case len(line) == 1 && before: // the end of a line that was cut
		case len(line) == 1 && header >= 0:
			return nil, b.damaged("an empty line in its data")
		case len(line) == 1:
			header = len(body)
		case bytes.HasPrefix(line, []byte(pemEnd)):
			if string(line) != pemEnd+b.name+pemTail {
				return nil, b.damaged("it ends as another type")
			}
			if header < 0 && colon {
				header = len(body)
			}
			b.body, b.header, b.data = body, body[:max(header, 0)], body[max(header, 0):]
			return text, b.decode()
		case last:
			return nil, b.damaged("a short line in its data")
		default:
			body = append(body, cutPEMString(line)...)
			if header >= 0 && len(line) > pemFull {
				return nil, b.damaged("a long line in its data")
			}
			last = header >= 0 && len(line) < pemFull
		}
	}
}

// pemBodySize is how long text is up to what looks like the end of a block, with
// room for the newlines that end parts of long lines.
func pemBodySize(text []byte) int {
	n := bytes.Index(text, []byte(pemEnd))
	if n < 0 {
		n = len(text)
	}
	return n + n/pemLine + 1
}

// cutPEMLine cuts off a line with its newline.
func cutPEMLine(text []byte) (line, rest []byte) {
	n := min(len(text), pemLine)
	if i := bytes.IndexByte(text[:n], '\n'); i >= 0 {
		n = i + 1
	}
	return text[:n], text[n:]
}

// trim returns a copy of a line, until the next call, with one newline for what is
// at its end. That bytes above ASCII go is libcrypto's way where char is signed.
func (b *pemBlock) trim(line []byte) []byte {
	n := len(line)
	for n > 0 && (line[n-1] <= ' ' || line[n-1] >= 0x80) {
		n--
	}
	return append(append(b.line[:0], line[:n]...), '\n')
}

// cutPEMString is what C sees of a line.
func cutPEMString(line []byte) []byte {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		return line[:i]
	}
	return line
}

// decode decodes the base64 of b.data in place.
func (b *pemBlock) decode() error {
	if i := bytes.IndexByte(b.data, '-'); i >= 0 {
		b.data = b.data[:i] // libcrypto's end of data
	}
	n := 0
	for _, c := range b.data {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			b.data[n] = c
			n++
		}
	}
	n, err := base64.StdEncoding.Decode(b.data, b.data[:n])
	if err != nil {
		return b.damaged("its data is not base64")
	}
	if n == 0 {
		return b.damaged("it is empty")
	}
	b.data = b.data[:n]
	return nil
}

// plain refuses a block with a header: libcrypto knows only such as say how the
// block is encrypted.
func (b *pemBlock) plain() error {
	header := string(b.header)
	if header == "" || header[0] == '\n' {
		return nil
	}
	kind, ok := strings.CutPrefix(header, "Proc-Type:")
	if kind, four := strings.CutPrefix(strings.TrimLeft(kind, " \t"), "4,"); ok && four &&
		strings.HasPrefix(strings.TrimLeft(kind, " \t"), "ENCRYPTED") {
		return fmt.Errorf("%w %q: decrypt it first", ErrEncryptedPEM, b.name)
	}
	return b.damaged("a header that is no encryption's")
}
