package reprise

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestPeerTableModel compares the table with a map. Few hashes make runs of
// slots, with peers of one hash among them.
func TestPeerTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table peerTable
		model := map[string]*peerSessions{}
		hashes := rapid.SampledFrom([]uint32{2, 8, 1 << 20}).Draw(t, "hashes")
		hash := func(name string) uint32 {
			n := uint32(0)
			fmt.Sscanf(name, "%d", &n)
			return n * 0x9e3779b1 % hashes
		}
		names := rapid.Custom(func(t *rapid.T) string { return fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "name")) })
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				name := names.Draw(t, "name")
				if model[name] == nil {
					model[name] = &peerSessions{key: peerKey{peer: name}}
					table.insert(hash(name), model[name])
				}
			},
			"use": func(t *rapid.T) {
				name := names.Draw(t, "name")
				table.find(hash(name), &peerKey{peer: name})
			},
			"evict": func(t *rapid.T) {
				but := names.Draw(t, "but")
				others := len(model)
				if model[but] != nil {
					others--
				}
				p := table.evict(&peerKey{peer: but})
				if (p != nil) != (others > 0) {
					t.Fatalf("evicted %v, there are %d others", p, others)
				}
				if p != nil {
					if p.key.peer == but || model[p.key.peer] != p {
						t.Fatalf("evicted %q but for %q", p.key.peer, but)
					}
					delete(model, p.key.peer)
				}
			},
			"": func(t *rapid.T) {
				if table.taken != len(model) || 5*table.taken > 4*len(table.slots) {
					t.Fatalf("%d of %d slots are taken, want %d", table.taken, len(table.slots), len(model))
				}
				for i := range 61 {
					name := fmt.Sprint(i)
					if p := table.find(hash(name), &peerKey{peer: name}); p != model[name] {
						t.Fatalf("found %v for %s, want %v", p, name, model[name])
					}
				}
			},
		})
	})
}

// TestPeerTableSecondChance: the hand passes a peer that was used, once.
func TestPeerTableSecondChance(t *testing.T) {
	var table peerTable
	for i := range uint32(6) {
		table.insert(i, &peerSessions{key: peerKey{peer: fmt.Sprint(i)}})
	}
	none := &peerKey{peer: "none"}
	if p := table.evict(none); p.key.peer != "0" { // all were used: the hand went round
		t.Errorf("evicted %s first, want 0", p.key.peer)
	}
	table.find(1, &peerKey{peer: "1"})
	for _, want := range []string{"2", "3", "4", "5", "1"} {
		if p := table.evict(none); p.key.peer != want {
			t.Errorf("evicted %s, want %s", p.key.peer, want)
		}
	}
}

// TestPeerTableComparesKeys: peers of one hash are told apart by every part of
// their keys.
func TestPeerTableComparesKeys(t *testing.T) {
	keys := []peerKey{
		{peer: "a"}, {peer: "b"}, {peer: ""}, {peer: "a", generation: 1},
		{peer: "a", scope: [16]byte{1}}, {peer: "a", scope: [16]byte{15: 1}},
	}
	var table peerTable
	for i := range keys {
		if p := table.find(7, &keys[i]); p != nil {
			t.Fatalf("%v is taken for %v", keys[i], p.key)
		}
		table.insert(7, &peerSessions{key: keys[i]})
	}
	for i := range keys {
		if p := table.find(7, &keys[i]); p == nil || p.key != keys[i] {
			t.Errorf("%v not found", keys[i])
		}
	}
}
