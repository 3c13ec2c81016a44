package oracle

import (
	"testing"
)

func TestRealSessions(t *testing.T) {
	sessions := RealSessions(t)
	o := Start(t)
	for name, der := range sessions {
		s := o.Parse([][]byte{der}, false)[0]
		if s == nil || !s.Resumable || s.Consumed != int64(len(der)) {
			t.Errorf("%s: %+v", name, s)
		}
		t.Logf("%s: version %#x, suite %#x, id %d, ticket %d, peer %d bytes", name, s.Version, s.Cipher, len(s.ID), len(s.Ticket), len(s.Peer))
	}
}
