package appdata

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
)

// FuzzParse: foreign data stays as it is, and what is accepted as ours is
// exactly what Append writes.
func FuzzParse(f *testing.F) {
	f.Add(encode(f, full()))
	f.Add(encode(f, Record{User: encode(f, Record{FirstAuth: 1})}))
	f.Add(encode(f, Record{Chain: [][]byte{{1}, {1}, {2}}, Verified: [][][]byte{{{2}, {3}}, {}, {{3}, {1}}}}))
	f.Add(encode(f, Record{FirstAuth: -1, Extra: [][]byte{{}}}))
	f.Add([]byte("foreign"))
	f.Add([]byte("\x01reprise\x0a\x00\x00\x01u"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if !Ours(data) && (err != nil || !r.onlyUser() || !bytes.Equal(r.User, data)) {
			t.Fatalf("foreign data came back as %+v, %v", r, err)
		}
		if err != nil {
			return
		}
		again, err := r.Append(nil)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted % x\nwritten  % x, %v", data, again, err)
		}
	})
}

// checkCost parses data and writes what came out, and checks what both took.
func checkCost(t *testing.T, data []byte) {
	t.Helper()
	const k, c = 24, 512 << 10 // as the comment of Parse has it
	var table certTable
	var r Record
	var err error
	limit := k*uint64(len(data)) + c
	if grown := allocated(limit, func() {
		table = certTable{}
		r, err = parse(data, &table)
	}); grown > limit {
		t.Errorf("%d bytes of input took %d bytes", len(data), grown)
	}
	if table.looked > len(data) {
		t.Errorf("%d bytes of input: %d bytes of certificates looked at", len(data), table.looked)
	}
	if err != nil {
		return
	}
	limit = 5*uint64(len(data)) + c
	if grown := allocated(limit, func() {
		table = certTable{}
		_, err = r.append(nil, &table)
	}); err != nil || grown > limit {
		t.Errorf("%d bytes took %d bytes to write, %v", len(data), grown, err)
	}
	if table.looked > len(data) {
		t.Errorf("%d bytes to write: %d bytes of certificates looked at", len(data), table.looked)
	}
}

// allocated is how many bytes f allocates. What is above the limit is measured
// again: other goroutines, those of the fuzzer, allocate too.
func allocated(limit uint64, f func()) (grown uint64) {
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if grown = after.TotalAlloc - before.TotalAlloc; grown <= limit {
			break
		}
	}
	return grown
}

// FuzzParseCost: what a record takes is bounded by its length.
func FuzzParseCost(f *testing.F) {
	for _, data := range hostile(1 << 10) {
		f.Add(data)
	}
	f.Add(encode(f, full()))
	f.Fuzz(func(t *testing.T, data []byte) { checkCost(t, data) })
}

// TestParseCost: not even records made for it take more.
func TestParseCost(t *testing.T) {
	for name, generate := range hostileRecords {
		for _, size := range []int{1 << 20, 4 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) { checkCost(t, generate(size)) })
		}
	}
}

func hostile(size int) (records [][]byte) {
	for _, generate := range hostileRecords {
		records = append(records, generate(size))
	}
	return records
}

// hostileRecords make records of about the given size that want much of a reader.
var hostileRecords = map[string]func(size int) []byte{
	"empty chains":        func(size int) []byte { return sections(nil, make([]byte, size)) },
	"empty scts":          func(size int) []byte { return joined(tagSCTs, make([]byte, size/3*3)) },
	"empty entries":       func(size int) []byte { return joined(tagExtra, make([]byte, size/3*3)) },
	"chains of one":       func(size int) []byte { return sections(similar(1, 1), bytes.Repeat([]byte{1, 0, 0}, size/3)) },
	"the last of many":    func(size int) []byte { return lastOfMany(size, maxCerts) },
	"the last of two":     func(size int) []byte { return lastOfMany(size, 2) },
	"one certificate":     func(size int) []byte { return sections(similar(1, size), nil) },
	"many in one chain":   func(size int) []byte { return sections(similar(maxCerts, size/maxCerts), nil) },
	"more than are kept":  func(size int) []byte { return sections(similar(size/8, 1), nil) },
	"the same many times": func(size int) []byte { return sections(make([][]byte, size/3), nil) },
	"broken at the end":   func(size int) []byte { return sections(nil, append(make([]byte, size), 1)) },
}

// lastOfMany is long certificates that differ in their last bytes, of which
// chains name the last again and again.
func lastOfMany(size, count int) []byte {
	chain := append([]byte{maxChain}, bytes.Repeat([]byte{byte((count - 1) >> 8), byte(count - 1)}, maxChain)...)
	return sections(similar(count, size/2/count), bytes.Repeat(chain, size/2/len(chain)))
}

// similar are count certificates of one length that differ at their end only.
func similar(count, length int) [][]byte {
	certs := make([][]byte, count)
	for i := range certs {
		certs[i] = binary.BigEndian.AppendUint32(make([]byte, max(0, length-7)), uint32(i))
	}
	return certs
}

// sections is a record with the peer's chain and encoded verified chains.
func sections(certs [][]byte, chains []byte) []byte {
	b := append([]byte{revision}, magic...)
	if len(certs) > 0 {
		b = section(b, tagCertificates, func(b []byte) []byte {
			return appendEntries(binary.BigEndian.AppendUint16(b, uint16(len(certs))), certs)
		})
	}
	return opaque(b, tagVerified, chains)
}

func joined(tag byte, body []byte) []byte {
	return opaque(append([]byte{revision}, magic...), tag, body)
}
