package asn1sess

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
