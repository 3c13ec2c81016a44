// Package cache holds packed entries by key, ordered by expiry. It knows bytes and times, not sessions.
//
// A [Cache] is one shard and is not safe for concurrent use: who shares it locks it.
//
//	     index                      store                       heap
//	hash -> ref              ref -> record                 4-ary, by expiry
//
//	+-----------+         class 176: +---+---+---+---+       +---------------+
//	| bucket 0  |--- ref ----------> | A | B | C | D |  <----| expiry A, ref |
//	+-----------+                    +---+---+---+---+       +---------------+
//	| bucket 1  |         class 192: +---+---+               | expiry F, ref |
//	+-----------+                    | E | F |  ...          +---------------+
//	   ...                           +---+---+                    ...
//
// A record is an entry's key and value in one piece. Records lie in slabs by size class, so there is no Go pointer
// for the collector to follow but one for each slab of 16 KiB. Each class is dense: what a removal frees is filled with the
// class's last record, so memory is given back as entries go, without compaction. The index is a linear hash table that
// grows and shrinks by one bucket at a time. The heap's arrays are segmented. So no operation does work in proportion to
// the number of entries: the longest step of any of them is to allocate one segment or slab of 16 KiB, or to copy one
// record, or to lengthen a list of segments (24 KiB for each million entries).
//
// Every byte of a record is wiped when it is removed, replaced or moved.
package cache

import (
	"bytes"
	"hash/maphash"
)

// MaxValue is the length of the longest value that Put stores.
const MaxValue = maxRecord - offValue

// bookkeeping is what an entry takes outside its record: rank and ref in the heap, and its share of a bucket.
const bookkeeping = 16 + 4 + 128/growAt

// Cache is one shard. Make it with New. It is not safe for concurrent use.
type Cache struct {
	seed    maphash.Seed
	records store
	index   index
	order   heap
	size    int
}

// New returns an empty cache.
func New() *Cache {
	c := &Cache{seed: maphash.MakeSeed()}
	c.Clear()
	return c
}

// Entry names an entry. It is good until the next Put, Remove or Delete.
type Entry ref

// Put stores a copy of value under k and wipes what was there. expiry is in seconds; math.MaxInt64 never expires. tag is a
// number for the caller to keep with the entry.
//
// A value longer than MaxValue is not stored, nor is one when the cache already holds 33 million of its size; what was
// under k is gone nevertheless.
func (c *Cache) Put(k Key, expiry int64, value []byte, tag uint32) (replaced bool) {
	key := k.pack()
	hash := hashKey(c.seed, key[:])
	old, replaced := c.find(hash, &key)
	if replaced {
		if rec := c.records.at(old); len(value) <= MaxValue && len(rec) == slotSize(len(value)) {
			rec.fill(&key, value, tag)
			clear(rec[offValue+len(value):])
			c.order.update(rec.heapPos(), expiry)
			return true
		}
		c.remove(hash, old)
	}
	if len(value) > MaxValue {
		return replaced
	}
	r, ok := c.records.alloc(classOf(offValue + len(value)))
	if !ok {
		return replaced
	}
	rec := c.records.at(r)
	rec.fill(&key, value, tag)
	c.size += len(rec) + bookkeeping
	c.index.insert(uint32(hash), r)
	c.order.push(expiry, r)
	return replaced
}

// Find returns the entry under k.
func (c *Cache) Find(k *Key) (e Entry, ok bool) {
	key := k.pack()
	r, ok := c.find(hashKey(c.seed, key[:]), &key)
	return Entry(r), ok
}

// Get appends the value under k to dst.
func (c *Cache) Get(dst []byte, k Key) (value []byte, ok bool) {
	e, ok := c.Find(&k)
	if !ok {
		return dst, false
	}
	return append(dst, c.Value(e)...), true
}

// Has reports whether there is an entry under k.
func (c *Cache) Has(k Key) bool {
	_, ok := c.Find(&k)
	return ok
}

// Delete removes the entry under k and reports whether there was one.
func (c *Cache) Delete(k Key) bool {
	e, ok := c.Find(&k)
	if ok {
		c.Remove(e)
	}
	return ok
}

// First returns the entry that expires first; among several, the one added first.
func (c *Cache) First() (e Entry, expiry int64, ok bool) {
	if c.Len() == 0 {
		return 0, 0, false
	}
	return Entry(c.order.first()), c.order.ranks.at(0).expiry, true
}

// Key returns the key of an entry.
func (c *Cache) Key(e Entry) Key { return unpackKey(c.records.at(ref(e)).key()) }

// Value returns the value of an entry: the cache's own bytes, to be read as long as e is good.
func (c *Cache) Value(e Entry) []byte { return c.records.at(ref(e)).value() }

// Tag returns the number that is kept with an entry.
func (c *Cache) Tag(e Entry) uint32 { return c.records.at(ref(e)).tag() }

// SetTag keeps another number with an entry.
func (c *Cache) SetTag(e Entry, tag uint32) { c.records.at(ref(e)).setTag(tag) }

// Remove removes an entry and wipes its bytes.
func (c *Cache) Remove(e Entry) { c.remove(c.hashOf(ref(e)), ref(e)) }

// SetExpiry gives an entry a new expiry. Among entries of equal expiry it now is the last, as if it had just been added.
func (c *Cache) SetExpiry(e Entry, expiry int64) {
	c.order.update(c.records.at(ref(e)).heapPos(), expiry)
}

// Clear removes all entries at once, which takes no longer than removing one. Their bytes are wiped by the function that it
// returns, which needs no lock.
func (c *Cache) Clear() (wipe func()) {
	old := c.records
	*c = Cache{seed: c.seed, index: newIndex()}
	c.order = newHeap(&c.records)
	return old.wipe
}

// Len returns the number of entries.
func (c *Cache) Len() int { return c.order.len() }

// Size returns the bytes that the entries take: values, keys and bookkeeping, each record rounded up to its slot. It goes
// up with each Put and down with each Remove; room kept for growth is not in it.
func (c *Cache) Size() int { return c.size }

// SizeOf returns by how much an entry with a value of n bytes, at most MaxValue, adds to Size.
func SizeOf(n int) int { return slotSize(n) + bookkeeping }

func slotSize(n int) int { return classSize(classOf(offValue + n)) }

// Next returns the entry at cursor and the cursor of the one after it. Start with 0; ok is false at the end.
//
// The order is that of a keyed hash, which no change of the cache alters. So entries that stay throughout an iteration are
// returned exactly once, even if their value or expiry is replaced meanwhile, and entries that come or go meanwhile at most
// once. Who adds entries faster than it iterates does not come to an end. (Of two keys whose 63-bit hashes are equal, only
// one would be returned.)
func (c *Cache) Next(cursor uint64) (k Key, next uint64, ok bool) {
	r, place, ok := c.index.after(cursor, c.hashOf)
	if !ok {
		return Key{}, 0, false
	}
	return unpackKey(c.records.at(r).key()), place + 1, true
}

func (c *Cache) find(hash uint64, key *packedKey) (ref, bool) {
	return c.index.find(uint32(hash), func(r ref) bool {
		return bytes.Equal(c.records.at(r).key(), key[:])
	})
}

func (c *Cache) hashOf(r ref) uint64 { return hashKey(c.seed, c.records.at(r).key()) }

// remove takes an entry out of the index, the heap and the store, and mends what referred to the record moved into its
// place.
func (c *Cache) remove(hash uint64, r ref) {
	rec := c.records.at(r)
	c.size -= len(rec) + bookkeeping
	c.index.remove(uint32(hash), r)
	c.order.remove(rec.heapPos())
	if from, moved := c.records.free(r); moved {
		c.index.moved(uint32(c.hashOf(r)), from, r)
		c.order.moved(c.records.at(r).heapPos(), r)
	}
}
