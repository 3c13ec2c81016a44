package asn1sess

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
)

// WriteText writes the session as SSL_SESSION_print does (openssl sess_id -noout -text).
// With hideSecrets the master key, or resumption PSK, is replaced by "(hidden)".
//
// SSL_SESSION_print stops midway at an empty PSK identity, identity hint, SRP user name or
// ticket; WriteText prints the empty value and goes on.
func WriteText(w io.Writer, s *Session, hideSecrets bool) error {
	var b bytes.Buffer
	b.WriteString("SSL-Session:\n")
	fmt.Fprintf(&b, "    Protocol  : %s\n", protocolName(s.Version))
	fmt.Fprintf(&b, "    Cipher    : %s\n", cipherText(s.Cipher))
	fmt.Fprintf(&b, "    Session-ID: %X\n", s.ID)
	fmt.Fprintf(&b, "    Session-ID-ctx: %X\n", s.IDContext)
	fmt.Fprintf(&b, "    %s: %s\n", keyLabel(s.Version), keyText(s.MasterKey, hideSecrets))
	fmt.Fprintf(&b, "    PSK identity: %s\n", orNone(s.PSKIdentity))
	fmt.Fprintf(&b, "    PSK identity hint: %s\n", orNone(s.PSKIdentityHint))
	fmt.Fprintf(&b, "    SRP username: %s", orNone(s.SRPUsername))
	if s.TicketLifetimeHint != 0 {
		// libssl prints this unsigned value with %ld.
		fmt.Fprintf(&b, "\n    TLS session ticket lifetime hint: %d (seconds)", int64(s.TicketLifetimeHint))
	}
	if s.Ticket != nil {
		b.WriteString("\n    TLS session ticket:\n")
		dump(&b, s.Ticket)
	}
	if s.CompressID != 0 {
		fmt.Fprintf(&b, "\n    Compression: %d", s.CompressID)
	}
	if s.Time != 0 {
		fmt.Fprintf(&b, "\n    Start Time: %d", s.Time)
	}
	if s.Timeout != 0 {
		fmt.Fprintf(&b, "\n    Timeout   : %d (sec)", s.Timeout)
	}
	fmt.Fprintf(&b, "\n    Verify return code: %d (%s)\n", s.VerifyResult, VerifyText(s.VerifyResult))
	fmt.Fprintf(&b, "    Extended master secret: %s\n", yesNo(s.Flags&FlagExtendedMasterSecret != 0))
	if s.Version == versionTLS13 {
		fmt.Fprintf(&b, "    Max Early Data: %d\n", s.MaxEarlyData)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// KeyLogLine is the line that SSL_SESSION_print_keylog writes, in NSS's key log format. It
// holds the master key. ok is false if the id or the key is empty.
func KeyLogLine(s *Session) (line string, ok bool) {
	if len(s.ID) == 0 || len(s.MasterKey) == 0 {
		return "", false
	}
	return fmt.Sprintf("RSA Session-ID:%X Master-Key:%X\n", s.ID, s.MasterKey), true
}

const versionTLS13 = 0x0304

func protocolName(version uint16) string {
	switch version {
	case versionTLS13:
		return "TLSv1.3"
	case 0x0303:
		return "TLSv1.2"
	case 0x0302:
		return "TLSv1.1"
	case 0x0301:
		return "TLSv1"
	case 0x0300:
		return "SSLv3"
	case 0x0100:
		return "DTLSv0.9"
	case 0xfeff:
		return "DTLSv1"
	case 0xfefd:
		return "DTLSv1.2"
	}
	return "unknown"
}

func cipherText(id uint16) string {
	if name := SuiteName(id); name != "" {
		return name
	}
	return fmt.Sprintf("%04X", id)
}

func keyLabel(version uint16) string {
	if version == versionTLS13 {
		return "Resumption PSK"
	}
	return "Master-Key"
}

func keyText(key []byte, hide bool) string {
	if hide {
		return "(hidden)"
	}
	return fmt.Sprintf("%X", key)
}

func orNone(s []byte) []byte {
	if s == nil {
		return []byte("None")
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// dump writes data as BIO_dump_indent does with an indent of 4: sixteen bytes a line, in hex
// with a dash in the middle, then as ASCII.
func dump(b *bytes.Buffer, data []byte) {
	for offset := 0; offset < len(data); offset += 16 {
		line := data[offset:min(offset+16, len(data))]
		fmt.Fprintf(b, "    %04x - ", offset)
		for i := range 16 {
			switch {
			case i >= len(line):
				b.WriteString("   ")
				continue
			case i == 7:
				b.WriteString(hex.EncodeToString(line[i:i+1]) + "-")
			default:
				b.WriteString(hex.EncodeToString(line[i:i+1]) + " ")
			}
		}
		b.WriteString("  ")
		for _, c := range line {
			if c < ' ' || c > '~' {
				c = '.'
			}
			b.WriteByte(c)
		}
		b.WriteByte('\n')
	}
}
