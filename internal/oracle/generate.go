package oracle

import (
	"bytes"
	"math/rand/v2"
	"slices"
)

// Generator makes encoded sessions, most of them almost right, for comparing a parser with
// libssl. Half are mutations of a corpus, half are built from the grammar of SSL_SESSION with
// random values, in random BER. The same seed gives the same inputs.
type Generator struct {
	rng    *rand.Rand
	corpus [][]byte
	peers  [][]byte
}

// NewGenerator makes a generator. Neither the corpus nor peers, which are certificates to put
// into sessions, may be empty.
func NewGenerator(seed uint64, corpus, peers [][]byte) *Generator {
	return &Generator{rng: rand.New(rand.NewPCG(seed, 0)), corpus: corpus, peers: peers}
}

// Next makes an input.
func (g *Generator) Next() []byte {
	var der []byte
	if g.chance(2) {
		der = slices.Clone(g.pick(g.corpus))
	} else {
		der = g.session()
		if !g.chance(5) {
			return der
		}
	}
	for range 1 + g.rng.IntN(3) {
		der = g.mutate(der)
	}
	return der
}

// chance is true once in n times.
func (g *Generator) chance(n int) bool { return g.rng.IntN(n) == 0 }

func (g *Generator) pick(from [][]byte) []byte { return from[g.rng.IntN(len(from))] }

func (g *Generator) random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.rng.Uint32())
	}
	return b
}

var telling = []byte{0, 1, 2, 3, 4, 5, 0x10, 0x1f, 0x20, 0x21, 0x24, 0x30, 0x3f, 0x7f, 0x80, 0x81, 0x82, 0x84, 0x88, 0xa0, 0xb3, 0xb4, 0xbf, 0xfe, 0xff}

func (g *Generator) byte() byte {
	if g.chance(3) {
		return byte(g.rng.Uint32())
	}
	return telling[g.rng.IntN(len(telling))]
}

// mutate makes one change, more often near the front, where the headers are.
func (g *Generator) mutate(der []byte) []byte {
	if len(der) == 0 {
		return []byte{g.byte()}
	}
	at := g.rng.IntN(len(der))
	if g.chance(2) {
		at = g.rng.IntN(min(len(der), 32))
	}
	n := g.rng.IntN(min(8, len(der)-at) + 1)
	switch g.rng.IntN(8) {
	case 0:
		der[at] ^= 1 << g.rng.IntN(8)
	case 1, 2:
		der[at] = g.byte()
	case 3:
		return slices.Insert(der, at, g.byte())
	case 4:
		return slices.Delete(der, at, at+n)
	case 5:
		return slices.Insert(der, at, slices.Clone(der[at:at+n])...)
	case 6:
		return der[:at]
	case 7:
		other := g.pick(g.corpus)
		return slices.Concat(der[:at], other[min(at, len(other)):])
	}
	return der
}

// session builds an input from the grammar.
func (g *Generator) session() []byte {
	var fields [][]byte
	fields = append(fields, g.integerOf(g.mostly("\x01", "\x02", "", "\x00\x01", "\x81")))
	fields = append(fields, g.integerOf(g.mostly(string(g.oneOf("\x03\x03", "\x03\x04", "\x03\x01", "\x03\x00", "\x03\xff", "\x00\xfe\xfd", "\x00\xfe\xff", "\x01\x00")),
		"\x01\x01", "\xfe\xfd", "\x02\xff", "\x04\x00", "\x7f\x03\x03")))
	fields = append(fields, g.octets(g.mostly(string(g.oneOf("\xc0\x30", "\x13\x02", "\x00\x2f", "\xc0\x2b", "\x13\x01", "\xcc\xa8", "\x00\xff")),
		"\xc0\x30\x00", "\x13\xff", "\x00\x00", "")))
	fields = append(fields, g.octets(g.random(g.size(32, 40))), g.octets(g.random(g.size(64, 600))))
	if g.chance(8) {
		fields = append(fields, g.octetsTagged(0x80, 0, g.random(g.size(8, 20)), 0))
	}
	for tag := 1; tag <= 19; tag++ {
		if g.chance(3) {
			fields = append(fields, g.tagged(tag))
		}
	}
	if g.chance(20) {
		fields = append(fields, g.tagged(20+g.rng.IntN(2)))
	}
	if g.chance(20) {
		i, j := g.rng.IntN(len(fields)), g.rng.IntN(len(fields))
		fields[i], fields[j] = fields[j], fields[i]
	}
	if g.chance(40) {
		fields = slices.Insert(fields, g.rng.IntN(len(fields)+1), []byte{0, 0})
	}
	der := g.element(0x20, 16, bytes.Join(fields, nil))
	if g.chance(8) {
		der = append(der, g.random(g.size(4, 20))...)
	}
	return der
}

func (g *Generator) oneOf(values ...string) []byte { return []byte(values[g.rng.IntN(len(values))]) }

// mostly is usual, seldom one of the others.
func (g *Generator) mostly(usual string, others ...string) []byte {
	if g.chance(15) {
		return g.oneOf(others...)
	}
	return []byte(usual)
}

// size is seldom above usual and never above limit.
func (g *Generator) size(usual, limit int) int {
	if g.chance(20) {
		return g.rng.IntN(limit + 1)
	}
	return g.rng.IntN(usual + 1)
}

// tagged makes the field with the given tag, seldom with the content of another.
func (g *Generator) tagged(tag int) []byte {
	kind := tag
	if g.chance(60) {
		kind = 1 + g.rng.IntN(20)
	}
	var content []byte
	switch kind {
	case 3:
		content = g.peer()
	case 1, 2, 5, 9, 13, 14, 15, 17, 19:
		content = g.integer()
	case 11:
		content = g.octets(g.random(g.size(1, 2)))
	case 20:
		content = g.octets(g.peer())
	default:
		content = g.octets(g.random(g.size(20, 300)))
		if g.chance(4) {
			content = g.octets([]byte("plain text"))
		}
	}
	class := byte(0xa0)
	if g.chance(100) {
		class = g.byte() & 0xe0
	}
	return g.element(class, tag, content)
}

func (g *Generator) peer() []byte {
	if g.chance(10) {
		return g.element(0x20, 16, g.random(g.size(8, 40)))
	}
	peer := slices.Clone(g.pick(g.peers))
	if g.chance(20) && len(peer) > 4 && peer[1] == 0x82 {
		return g.element(0x20, 16, peer[4:]) // in other than DER, perhaps
	}
	return peer
}

func (g *Generator) integer() []byte {
	switch n := g.rng.IntN(10); {
	case n == 0:
		return g.integerOf(g.random(g.size(9, 12)))
	case n < 8:
		return g.integerOf([]byte{byte(g.rng.IntN(100))})
	}
	return g.integerOf(g.oneOf("", "\x00", "\x01", "\x05", "\x7f", "\x80", "\xff", "\x01\x00", "\x00\x80", "\x00\x7f", "\x00\xff", "\xff\x7f",
		"\xff\x80", "\xff\x00", "\x0a", "\x12", "\x7f\xff\xff\xff", "\x00\x80\x00\x00\x00", "\x00\xff\xff\xff\xff", "\x80\x00\x00\x00",
		"\xff\x7f\xff\xff\xff", "\x01\x00\x00\x00\x00", "\x7f\xff\xff\xff\xff\xff\xff\xff", "\x00\x80\x00\x00\x00\x00\x00\x00\x00",
		"\x00\xff\xff\xff\xff\xff\xff\xff\xff", "\x80\x00\x00\x00\x00\x00\x00\x00", "\xff\x7f\xff\xff\xff\xff\xff\xff\xff",
		"\xff\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\x00\x00\x00\x00\x00\x00\x00\x01"))
}

func (g *Generator) integerOf(content []byte) []byte {
	class := byte(0)
	if g.chance(300) {
		class = 0x20
	}
	return g.element(class, 2, content)
}

func (g *Generator) octets(content []byte) []byte { return g.octetsTagged(0, 4, content, 0) }

// octetsTagged encodes an OCTET STRING, now and then in pieces, and those in pieces again.
func (g *Generator) octetsTagged(class byte, tag int, content []byte, depth int) []byte {
	if odds := max(2, 12>>depth); !g.chance(odds) || depth > 7 {
		return g.element(class, tag, content)
	}
	var pieces []byte
	for {
		n := g.rng.IntN(len(content) + 1)
		pieces = append(pieces, g.octetsTagged(0, 4, content[:n], depth+1)...)
		content = content[n:]
		if len(content) == 0 {
			return g.element(class|0x20, tag, pieces)
		}
	}
}

// element encodes a tag, a length and the content, mostly in DER. class holds the bits above
// the tag number.
func (g *Generator) element(class byte, tag int, content []byte) []byte {
	out := []byte{class | byte(tag)}
	if g.chance(40) {
		out = []byte{class | 0x1f}
		for range g.rng.IntN(3) {
			out = append(out, 0x80)
		}
		out = append(out, byte(tag))
	}
	n := len(content)
	switch {
	case class&0x20 != 0 && g.chance(15):
		return append(append(append(out, 0x80), content...), 0, 0)
	case g.chance(20):
		zeros := g.rng.IntN(10)
		out = append(append(out, 0x82+byte(zeros)), make([]byte, zeros)...)
		out = append(out, byte(n>>8), byte(n))
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x82, byte(n>>8), byte(n))
	}
	return append(out, content...)
}
