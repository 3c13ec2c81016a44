package reprise

// peerTable finds peers by their keys: a hash table with linear probing, whose
// slots hold what a look for another peer needs to know. Among its peers one to
// let go is found by a clock: its hand goes round the slots and gives each peer
// that was used a second chance.
type peerTable struct {
	slots []peerSlot // a power of two of them, at most four of five taken
	taken int
	hand  int
}

type peerSlot struct {
	hash uint32        // of the peer's key
	used bool          // since the hand passed
	name string        // in the key: here the two are fetched side by side
	peer *peerSessions // nil where the slot is free
}

const fewestSlots = 8

// find returns what is kept of a peer, and gives it another chance; nil if
// nothing is.
func (t *peerTable) find(hash uint32, key *peerKey) *peerSessions {
	if t.taken == 0 {
		return nil
	}
	for i := t.home(hash); ; i = t.after(i) {
		switch s := &t.slots[i]; {
		case s.peer == nil:
			return nil
		case s.hash == hash && s.name == key.peer && s.peer.key.scoped(key):
			if !s.used { // else only read: other processors may have the line too
				s.used = true
			}
			return s.peer
		}
	}
}

// insert adds a peer that is not in the table.
func (t *peerTable) insert(hash uint32, p *peerSessions) {
	if 5*(t.taken+1) > 4*len(t.slots) {
		t.grow()
	}
	t.place(peerSlot{hash: hash, used: true, name: p.key.peer, peer: p})
	t.taken++
}

// place puts s into the first free slot for its hash.
func (t *peerTable) place(s peerSlot) {
	i := t.home(s.hash)
	for t.slots[i].peer != nil {
		i = t.after(i)
	}
	t.slots[i] = s
}

func (t *peerTable) grow() {
	old := t.slots
	t.slots = make([]peerSlot, max(2*len(old), fewestSlots))
	for _, s := range old {
		if s.peer != nil {
			t.place(s)
		}
	}
}

// evict removes the peer that was not used since the hand passed, or the next,
// but not the one that is kept for. It returns nil if there is no other.
func (t *peerTable) evict(but *peerKey) *peerSessions {
	for range 2 * len(t.slots) {
		i := t.hand & (len(t.slots) - 1)
		s := &t.slots[i]
		if s.peer != nil && !s.used && s.peer.key != *but {
			p := s.peer
			t.remove(i)
			return p
		}
		s.used = false
		t.hand = t.after(i)
	}
	return nil
}

// remove frees slot i: of those that follow, each moves up that may be there, so
// that no look for it ends at a free slot before it.
func (t *peerTable) remove(i int) {
	for j := t.after(i); t.slots[j].peer != nil; j = t.after(j) {
		if t.distance(t.home(t.slots[j].hash), j) >= t.distance(i, j) {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = peerSlot{}
	t.taken--
}

// home is where a look for a hash begins.
func (t *peerTable) home(hash uint32) int { return int(hash) & (len(t.slots) - 1) }

func (t *peerTable) after(i int) int { return (i + 1) & (len(t.slots) - 1) }

// distance is how many steps there are from slot i to slot j.
func (t *peerTable) distance(i, j int) int { return (j - i) & (len(t.slots) - 1) }
