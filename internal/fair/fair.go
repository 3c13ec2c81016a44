// Package fair shares a bounded collection among the networks that its items
// come from, so that no network can push out the items of the others.
//
// A caller with a limit adds an item first and then, while the collection is
// over the limit, removes what [Set.Victim] returns. The network that holds the
// most pays, be it the newcomer's own: a network that holds at most an equal
// share of the limit loses nothing while another holds more.
package fair

import "container/heap"

// Set is a collection of items with weights, such as counts or bytes. The zero
// value is empty and ready to use.
//
// A Set is not safe for concurrent use: callers hold a lock of their own. Add
// and Remove take O(log n) in the number of networks, Victim O(1).
type Set[T any] struct {
	networks map[Name]*network[T]
	heaviest byWeight[T]
	weight   int64
	items    int
	added    uint64 // items ever added: the sequence number of the last
}

// Item is an item of a [Set].
type Item[T any] struct {
	Value T

	weight     int64
	sequence   uint64
	network    *network[T] // nil: removed
	prev, next *Item[T]    // older and newer, of the same network
}

// network is the items of one network, by age. It has at least one.
type network[T any] struct {
	name           Name
	weight         int64
	oldest, newest *Item[T]
	index          int // in heaviest
}

// Add adds an item. The weight must not be negative, and the sum of all weights
// must fit in an int64.
func (s *Set[T]) Add(from Name, weight int64, value T) *Item[T] {
	s.added++
	item := &Item[T]{Value: value, weight: weight, sequence: s.added}
	n := s.networks[from]
	if n == nil {
		n = &network[T]{name: from, oldest: item}
		if s.networks == nil {
			s.networks = make(map[Name]*network[T])
		}
		s.networks[from] = n
		heap.Push(&s.heaviest, n)
	} else {
		item.prev, n.newest.next = n.newest, item
	}
	item.network, n.newest = n, item
	s.change(n, weight)
	s.items++
	return item
}

// Remove removes an item. Nothing happens if item is nil, or not in s any more.
func (s *Set[T]) Remove(item *Item[T]) {
	if item == nil || item.network == nil || s.networks[item.network.name] != item.network {
		return
	}
	n := item.network
	if item.prev != nil {
		item.prev.next = item.next
	} else {
		n.oldest = item.next
	}
	if item.next != nil {
		item.next.prev = item.prev
	} else {
		n.newest = item.prev
	}
	item.network, item.prev, item.next = nil, nil, nil
	s.items--
	if n.oldest == nil {
		s.weight -= item.weight
		delete(s.networks, n.name)
		heap.Remove(&s.heaviest, n.index)
		return
	}
	s.change(n, -item.weight)
}

// change adds to the weight of a network, whose oldest item may have changed.
func (s *Set[T]) change(n *network[T], weight int64) {
	n.weight += weight
	s.weight += weight
	heap.Fix(&s.heaviest, n.index)
}

// Victim returns the oldest item of the network with the greatest weight. Of
// several such networks it is the one whose oldest item is the oldest. Victim
// returns nil if s is empty.
func (s *Set[T]) Victim() *Item[T] {
	if len(s.heaviest) == 0 {
		return nil
	}
	return s.heaviest[0].oldest
}

// Weight returns the sum of the weights of all items.
func (s *Set[T]) Weight() int64 { return s.weight }

// Len returns the number of items.
func (s *Set[T]) Len() int { return s.items }

// byWeight is a heap of networks, the one that Victim chooses first.
type byWeight[T any] []*network[T]

func (h byWeight[T]) Len() int { return len(h) }

func (h byWeight[T]) Less(i, j int) bool {
	if h[i].weight != h[j].weight {
		return h[i].weight > h[j].weight
	}
	return h[i].oldest.sequence < h[j].oldest.sequence
}

func (h byWeight[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *byWeight[T]) Push(x any) {
	n := x.(*network[T])
	n.index = len(*h)
	*h = append(*h, n)
}

func (h *byWeight[T]) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return n
}
