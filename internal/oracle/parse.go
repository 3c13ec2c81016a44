package oracle

// Session is a session as libssl sees it, through every accessor of SSL_SESSION.
type Session struct {
	Consumed int64  // how much d2i_SSL_SESSION read
	Encoded  []byte // what i2d_SSL_SESSION writes

	Version       int64
	Cipher        int64 // SSL_CIPHER_get_protocol_id, -1 without a cipher
	ID, IDContext []byte
	MasterKey     []byte
	Time, Timeout int64
	HasHostname   bool
	Hostname      []byte
	ALPN          []byte
	MaxEarlyData  int64
	MaxFragment   int64
	HasTicket     bool
	LifetimeHint  uint64
	Ticket        []byte
	TicketAppData []byte
	CompressID    int64
	Resumable     bool
	HasPeer       bool
	Peer          []byte // DER, as i2d_X509 writes it

	// Text and KeyLog are set only if asked for. The flags are what the printing functions
	// returned: libssl may give up midway.
	TextOK   bool
	Text     string
	KeyLogOK bool
	KeyLog   string
}

// Parse runs d2i_SSL_SESSION on each input, and where text is true the printing functions on
// the result. A refused input gives nil.
func (o *Oracle) Parse(inputs [][]byte, text bool) []*Session {
	o.t.Helper()
	var wantText int64
	if text {
		wantText = 1
	}
	requests := make([]*message, len(inputs))
	for i, der := range inputs {
		requests[i] = request('p').number(wantText).bytes(der)
	}
	parsed := make([]*Session, len(inputs))
	o.ask(requests, func(i int, a *answer) {
		if a.yes() {
			parsed[i] = readSession(a, text)
		}
	})
	return parsed
}

// ParsePEM runs PEM_read_bio_SSL_SESSION, without a password, on each input and gives what
// i2d_SSL_SESSION writes of the result and how much was read. A refused input gives nil.
func (o *Oracle) ParsePEM(inputs [][]byte) (encoded [][]byte, consumed []int64) {
	o.t.Helper()
	requests := make([]*message, len(inputs))
	for i, text := range inputs {
		requests[i] = request('P').bytes(text)
	}
	encoded, consumed = make([][]byte, len(inputs)), make([]int64, len(inputs))
	o.ask(requests, func(i int, a *answer) {
		if a.yes() {
			consumed[i], encoded[i] = a.number(), a.bytes()
		}
	})
	return encoded, consumed
}

func readSession(a *answer, text bool) *Session {
	s := &Session{
		Consumed:      a.number(),
		Encoded:       a.bytes(),
		Version:       a.number(),
		Cipher:        a.number(),
		ID:            a.bytes(),
		IDContext:     a.bytes(),
		MasterKey:     a.bytes(),
		Time:          a.number(),
		Timeout:       a.number(),
		HasHostname:   a.yes(),
		Hostname:      a.bytes(),
		ALPN:          a.bytes(),
		MaxEarlyData:  a.number(),
		MaxFragment:   a.number(),
		HasTicket:     a.yes(),
		LifetimeHint:  uint64(a.number()),
		Ticket:        a.bytes(),
		TicketAppData: a.bytes(),
		CompressID:    a.number(),
		Resumable:     a.yes(),
		HasPeer:       a.yes(),
		Peer:          a.bytes(),
	}
	if text {
		s.TextOK, s.Text = a.yes(), string(a.bytes())
		s.KeyLogOK, s.KeyLog = a.yes(), string(a.bytes())
	}
	return s
}

// Suites are the cipher suites that SSL_CIPHER_find knows, with their names.
func (o *Oracle) Suites() map[uint16]string {
	o.t.Helper()
	names := make(map[uint16]string)
	a := o.one(request('c'))
	for len(a.body) > 0 && !a.short {
		id := a.number()
		names[uint16(id)] = string(a.bytes())
	}
	return names
}

// VerifyText is X509_verify_cert_error_string.
func (o *Oracle) VerifyText(code int64) string {
	o.t.Helper()
	return string(o.one(request('v').number(code)).bytes())
}

// Version is the library that answers: its number as in OPENSSL_VERSION_NUMBER, 0x30000160
// for 3.0.22, and its name with the date.
func (o *Oracle) Version() (number int64, name string) {
	o.t.Helper()
	a := o.one(request('V'))
	return a.number(), string(a.bytes())
}
