package asn1sess

// Clone returns a copy that shares no memory with s, made with one allocation.
// Absent fields stay absent, empty ones empty.
func (s *Session) Clone() Session {
	c := *s
	fields := [...]*[]byte{&c.ID, &c.MasterKey, &c.Peer, &c.IDContext, &c.Hostname, &c.PSKIdentityHint, &c.PSKIdentity,
		&c.Ticket, &c.SRPUsername, &c.ALPN, &c.TicketAppData, &c.PeerRPK}
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
	return c
}
