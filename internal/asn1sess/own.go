package asn1sess

// DecodeCopy is [Session.Decode] of a copy of the encoding: s shares no memory
// with der.
func (s *Session) DecodeCopy(der []byte, now int64) (rest []byte, err error) {
	h, err := parseHeader(der)
	if err != nil || h.indefinite { // only reading it tells where it ends
		if rest, err = s.Decode(der, now); err == nil {
			s.Own()
		}
		return rest, err
	}
	n := h.size + h.length
	own := append(make([]byte, 0, n), der[:n]...)
	if _, err = s.Decode(own, now); err != nil {
		clear(own)
		return nil, err
	}
	return der[n:], nil
}

// Own moves the slices of s into one array of its own. Absent fields stay
// absent, empty ones empty.
func (s *Session) Own() {
	fields := [...]*[]byte{&s.ID, &s.MasterKey, &s.Peer, &s.IDContext, &s.Hostname, &s.PSKIdentityHint, &s.PSKIdentity,
		&s.Ticket, &s.SRPUsername, &s.ALPN, &s.TicketAppData, &s.PeerRPK}
	n := 0
	for _, f := range fields {
		n += len(*f)
	}
	buf := make([]byte, n)
	for _, f := range fields {
		if *f == nil {
			continue
		}
		n := copy(buf, *f)
		*f, buf = buf[:n:n], buf[n:]
	}
}
