package oracle

import (
	"bytes"
	"slices"
	"testing"
)

func TestCache(t *testing.T) {
	o := Start(t)
	c := o.NewContext(20480, 2, 7200)
	s := o.Decode(session(t))
	other := o.Dup(s)
	o.SetID(other, 0x0303, []byte{9})
	if !c.Add(s) || c.Add(s) || !c.Add(other) {
		t.Error("add does not tell new sessions from cached ones")
	}
	if got := c.Lookup(0x0303, []byte{9}); got != other {
		t.Errorf("lookup gives %d, want %d", got, other)
	}
	if got := c.Lookup(0x0304, []byte{9}); got != None {
		t.Errorf("lookup by another version gives %d", got)
	}
	if n, _ := c.Counts(); n != 2 || len(c.Sessions()) != 2 {
		t.Errorf("%d sessions, listed %v", n, c.Sessions())
	}
	if !o.SetHostname(s, "a.test") || !bytes.Contains(o.Encode(s), []byte("a.test")) || !o.SetTimeout(other, 301) {
		t.Error("setters refuse")
	}
	if got, want := o.States(s, other), []SessionState{{1000, 300, true}, {1000, 301, true}}; !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
	c.Flush(1301)
	if got, want := c.Events(), []Event{{Removed: true, Session: s}}; !slices.Equal(got, want) {
		t.Errorf("events of a flush: %v, want %v", got, want)
	}
	if _, _, resumable := o.State(s); resumable {
		t.Error("a flushed session is resumable")
	}
	o.Release(other)
	c.Free()
	if got, want := c.Events(), []Event{{Removed: true, Session: other}}; !slices.Equal(got, want) {
		t.Errorf("events of the end: %v, want %v", got, want)
	}
}

func TestRefused(t *testing.T) {
	o := Start(t)
	if got := o.Decode([]byte{0x30, 0}); got != None {
		t.Errorf("an empty sequence gives session %d", got)
	}
}
