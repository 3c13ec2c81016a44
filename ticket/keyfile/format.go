package keyfile

import (
	"fmt"
	"strings"
)

// Format is the form of a key file. The zero value is none.
type Format uint8

const (
	// FormatNginx48 is the 48-byte file of nginx's ssl_session_ticket_key:
	// name, AES-128 key, HMAC key.
	FormatNginx48 Format = iota + 1

	// FormatNginx80 is the 80-byte file of nginx's ssl_session_ticket_key, and
	// what SSL_CTX_set_tlsext_ticket_keys takes: name, HMAC key, AES-256 key.
	FormatNginx80

	// FormatHAProxy48 is a file of HAProxy's tls-ticket-keys with 48 bytes in
	// base64 on each line: name, AES-128 key, HMAC key.
	FormatHAProxy48

	// FormatHAProxy80 is a file of HAProxy's tls-ticket-keys with 80 bytes in
	// base64 on each line: name, AES-256 key, HMAC key. Its bytes are not those
	// of FormatNginx80.
	FormatHAProxy80

	// FormatApache48 is the 48-byte file of Apache's SSLSessionTicketKeyFile:
	// name, HMAC key, AES-128 key. Its bytes are not those of FormatNginx48.
	FormatApache48
)

// layout is what there is to know of a form.
type layout struct {
	name      string
	secret    int  // length in bytes of the AES key, and of the HMAC key
	hmacFirst bool // the HMAC key stands before the AES key
	lines     bool // base64, a key on each line, else one key in binary
}

var layouts = [...]layout{
	FormatNginx48:   {name: "nginx48", secret: 16},
	FormatNginx80:   {name: "nginx80", secret: 32, hmacFirst: true},
	FormatHAProxy48: {name: "haproxy48", secret: 16, lines: true},
	FormatHAProxy80: {name: "haproxy80", secret: 32, lines: true},
	FormatApache48:  {name: "apache48", secret: 16, hmacFirst: true},
}

// size is the length in bytes of a key, before base64.
func (l *layout) size() int { return nameSize + 2*l.secret }

// Formats returns every form there is.
func Formats() []Format {
	return []Format{FormatNginx48, FormatNginx80, FormatHAProxy48, FormatHAProxy80, FormatApache48}
}

// ParseFormat returns the form of the given name, as String gives it: nginx48,
// nginx80, haproxy48, haproxy80 or apache48.
func ParseFormat(name string) (Format, error) {
	var names []string
	for _, f := range Formats() {
		if f.String() == name {
			return f, nil
		}
		names = append(names, f.String())
	}
	return 0, fmt.Errorf("keyfile: form %q is none of %s", name, strings.Join(names, ", "))
}

// String returns the name of the form.
func (f Format) String() string {
	if !f.valid() {
		return fmt.Sprintf("Format(%d)", uint8(f))
	}
	return layouts[f].name
}

// MultipleFiles reports whether a file of this form holds one key, so that
// several keys are several files.
func (f Format) MultipleFiles() bool { return f.valid() && !layouts[f].lines }

// MinKeys is how many keys a server that reads this form wants at least.
func (f Format) MinKeys() int {
	if f.valid() && layouts[f].lines {
		return haproxyKeys
	}
	return 1
}

// haproxyKeys is how many keys HAProxy wants and uses: TLS_TICKETS_NO, unless it
// was built with another number.
const haproxyKeys = 3

func (f Format) valid() bool { return f > 0 && int(f) < len(layouts) }

// layout returns the form's layout, or an error for a value that is no form.
func (f Format) layout() (*layout, error) {
	if !f.valid() {
		return nil, fmt.Errorf("keyfile: %v is no form of key file", f)
	}
	return &layouts[f], nil
}

// layoutOf is the layout of a file of f with size bytes: nginx takes files of both
// of its lengths, and knows them by these. It is otherwise for the others.
func (f Format) layoutOf(size int, otherwise *layout) *layout {
	for _, nginx := range []Format{FormatNginx48, FormatNginx80} {
		if (f == FormatNginx48 || f == FormatNginx80) && size == layouts[nginx].size() {
			return &layouts[nginx]
		}
	}
	return otherwise
}
