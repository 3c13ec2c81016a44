package cache

import (
	"fmt"
	"hash/maphash"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

const benchValue = 126 // a small TLS 1.3 session in OpenSSL's DER

var benchSizes = []int{1000, 30_000, 1_000_000}

// order says which expiry the n-th entry gets.
var benchOrders = []struct {
	name   string
	expiry func(n int) int64
}{
	{"ascending", func(n int) int64 { return int64(n / 100) }},
	{"random", func(n int) int64 { return int64(uint32(n) * 2654435761 >> 8) }},
}

func filled(n int, expiry func(int) int64) *Cache {
	c, value := New(), make([]byte, benchValue)
	for i := range n {
		c.put(testKey(uint64(i)), expiry(i), value)
	}
	return c
}

// scattered returns a number below n, all different for n calls in a row if n is prime to the multiplier.
func scattered(i, n int) uint64 { return uint64(i) * 7_368_787 % uint64(n) }

func benchEach(b *testing.B, run func(b *testing.B, n int, c *Cache)) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := filled(n, benchOrders[1].expiry)
			b.ReportAllocs()
			b.ResetTimer()
			run(b, n, c)
		})
	}
}

// BenchmarkPut fills caches of n entries from empty, one after the other.
func BenchmarkPut(b *testing.B) {
	for _, o := range benchOrders {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", o.name, n), func(b *testing.B) {
				c, value := New(), make([]byte, benchValue)
				b.ReportAllocs()
				for i := range b.N {
					if c.Len() == n {
						b.StopTimer()
						c = New()
						runtime.GC()
						b.StartTimer()
					}
					c.put(testKey(uint64(i)), o.expiry(i), value)
				}
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	benchEach(b, func(b *testing.B, n int, c *Cache) {
		var dst []byte
		for i := range b.N {
			dst, _, _ = c.get(dst[:0], testKey(scattered(i, n)))
		}
	})
}

func BenchmarkHas(b *testing.B) {
	benchEach(b, func(b *testing.B, n int, c *Cache) {
		for i := range b.N {
			c.Has(testKey(scattered(i, n)))
		}
	})
}

func BenchmarkHasMiss(b *testing.B) {
	benchEach(b, func(b *testing.B, n int, c *Cache) {
		for i := range b.N {
			c.Has(testKey(uint64(n + i)))
		}
	})
}

func BenchmarkSetExpiry(b *testing.B) {
	benchEach(b, func(b *testing.B, n int, c *Cache) {
		for i := range b.N {
			c.setExpiry(testKey(scattered(i, n)), benchOrders[1].expiry(i+n))
		}
	})
}

// BenchmarkDelete empties full caches in an order that has nothing to do with that of the entries.
func BenchmarkDelete(b *testing.B) {
	benchDrain(b, func(c *Cache, i, n int) { c.Delete(testKey(scattered(i, n))) })
}

// BenchmarkDeleteFirst empties full caches in order of expiry, as a flush does.
func BenchmarkDeleteFirst(b *testing.B) {
	benchDrain(b, func(c *Cache, _, _ int) {
		k, _, _ := c.first()
		c.Delete(k)
	})
}

func benchDrain(b *testing.B, remove func(c *Cache, i, n int)) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := New()
			b.ReportAllocs()
			for i := range b.N {
				if c.Len() == 0 {
					b.StopTimer()
					c = filled(n, benchOrders[1].expiry)
					b.StartTimer()
				}
				remove(c, i, n)
			}
		})
	}
}

// BenchmarkChurn is a full cache at work: for each entry added the first to expire goes, with a lookup in between.
func BenchmarkChurn(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c, value := filled(n, benchOrders[0].expiry), make([]byte, 300)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				k, _, _ := c.first()
				c.Delete(k)
				c.put(testKey(uint64(n+i)), benchOrders[0].expiry(n+i), value[:benchValue+i%64])
				c.Has(testKey(uint64(i + n/2)))
			}
		})
	}
}

// BenchmarkNext walks whole caches; ns/op is for one entry.
func BenchmarkNext(b *testing.B) {
	benchEach(b, func(b *testing.B, _ int, c *Cache) {
		var cursor uint64
		for range b.N {
			_, next, ok := c.Next(cursor)
			if cursor = next; !ok {
				cursor = 0
			}
		}
	})
}

// BenchmarkMemory reports what a million entries cost, all included, beside what Size says.
func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	for range b.N {
		before := heapInUse()
		c := filled(n, benchOrders[0].expiry)
		b.ReportMetric(float64(heapInUse()-before)/n, "heap-B/entry")
		b.ReportMetric(float64(c.Size())/n, "size-B/entry")
	}
	b.ReportMetric(0, "ns/op")
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// BenchmarkPause reports the longest single operation while a cache grows to a million entries, churns and is emptied. The
// same operations are made several times on caches of the same seed, and the shortest time of each counts: what is left are
// the pauses that the structure makes, not those of the machine. The collector runs between the rounds only.
func BenchmarkPause(b *testing.B) {
	const n = 1_000_000
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	seed, value := maphash.MakeSeed(), make([]byte, benchValue)
	put, churn, drain := newPauses(n), newPauses(n/2), newPauses(n)
	for range b.N {
		for range 4 {
			c := New()
			c.seed = seed
			put.round(func(i int) { c.put(testKey(uint64(i)), benchOrders[1].expiry(i), value) })
			churn.round(func(i int) {
				k, _, _ := c.first()
				c.Delete(k)
				c.put(testKey(uint64(n+i)), math.MaxInt64, value)
			})
			drain.round(func(int) {
				k, _, _ := c.first()
				c.Delete(k)
			})
			runtime.GC()
		}
	}
	b.ReportMetric(put.longest(), "put-µs")
	b.ReportMetric(churn.longest(), "churn-µs")
	b.ReportMetric(drain.longest(), "delete-µs")
	b.ReportMetric(0, "ns/op")
}

// pauses holds the shortest time of each operation of a sequence.
type pauses []time.Duration

func newPauses(n int) pauses {
	p := make(pauses, n)
	for i := range p {
		p[i] = math.MaxInt64
	}
	return p
}

func (p pauses) round(op func(i int)) {
	for i := range p {
		start := time.Now()
		op(i)
		p[i] = min(p[i], time.Since(start))
	}
}

func (p pauses) longest() float64 { return float64(slices.Max(p).Nanoseconds()) / 1000 }
