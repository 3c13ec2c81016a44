package asn1sess

// libssl reads BER, not only DER, and files that other tools wrote rely on it: lengths in
// more bytes than needed, indefinite lengths, octet strings in pieces, tags in the long
// form. The decoder here follows the rules of libcrypto's asn1_check_tlen, asn1_collect and
// c2i_ibuf, which the differential test checks.

const (
	classUniversal = 0x00
	classContext   = 0x80
	classMask      = 0xc0

	bitConstructed = 0x20
	lowTagMask     = 0x1f

	tagInteger     = 2
	tagOctetString = 4
	tagSequence    = 16

	// maxTag is where libcrypto stops reading a tag in the long form.
	maxTag = 1<<31 - 1

	// maxStringNest is libcrypto's ASN1_MAX_STRING_NEST.
	maxStringNest = 5
)

// header is the tag and length of one element.
type header struct {
	class       byte
	constructed bool
	indefinite  bool // the content ends with two zero bytes; length is not set
	tag         int
	size        int // of the header itself
	length      int // of the content
}

func (h header) is(class byte, tag int) bool { return h.class == class && h.tag == tag }

func parseHeader(in []byte) (h header, err error) {
	if len(in) < 2 {
		return h, ErrTruncated
	}
	h.class = in[0] & classMask
	h.constructed = in[0]&bitConstructed != 0
	h.tag = int(in[0] & lowTagMask)
	h.size = 1
	if h.tag == lowTagMask {
		if h.tag, h.size, err = parseLongTag(in); err != nil {
			return h, err
		}
	}
	if h.size >= len(in) {
		return h, ErrTruncated
	}
	first := in[h.size]
	h.size++
	switch {
	case first == 0x80:
		h.indefinite = true
		if !h.constructed {
			return h, ErrHeader
		}
		return h, nil
	case first < 0x80:
		h.length = int(first)
	default:
		n := int(first & 0x7f)
		if n > len(in)-h.size {
			return h, ErrTruncated
		}
		for _, b := range in[h.size : h.size+n] {
			// Another byte would take the length beyond the data, if not beyond an int.
			if h.length > len(in)>>8 {
				return h, ErrTruncated
			}
			h.length = h.length<<8 | int(b)
		}
		h.size += n
	}
	if h.length > len(in)-h.size {
		return h, ErrTruncated
	}
	return h, nil
}

// parseLongTag reads a tag of several bytes. Leading zeros and tags that would have fitted
// into one byte are fine with libcrypto.
func parseLongTag(in []byte) (tag, size int, err error) {
	for size = 1; size < len(in); {
		b := in[size]
		size++
		tag = tag<<7 | int(b&0x7f)
		if b&0x80 == 0 {
			return tag, size, nil
		}
		if tag > maxTag>>7 {
			return 0, 0, ErrHeader
		}
	}
	return 0, 0, ErrTruncated
}

// A decoder reads the elements inside one container: in is what is left of it, or, if its
// length is indefinite, what is left of the container around it.
type decoder struct {
	in         []byte
	indefinite bool
}

// end reports whether the container's end is reached.
func (d *decoder) end() bool {
	if !d.indefinite {
		return len(d.in) == 0
	}
	return endOfContents(d.in)
}

// endOfContents reports whether in begins with the mark that ends an indefinite length.
func endOfContents(in []byte) bool {
	return len(in) >= 2 && in[0] == 0 && in[1] == 0
}

// enter opens the constructed element at the front, whose header is h.
func (d *decoder) enter(h header) decoder {
	if h.indefinite {
		return decoder{in: d.in[h.size:], indefinite: true}
	}
	return decoder{in: d.in[h.size:][:h.length:h.length]}
}

// leave checks that inner, which enter opened for h, has been read to its end, and goes on
// behind it.
func (d *decoder) leave(h header, inner decoder) error {
	switch {
	case !inner.end():
		return ErrTrailing
	case h.indefinite:
		d.in = inner.in[2:]
	default:
		d.in = d.in[h.size+h.length:]
	}
	return nil
}

// header reads the header of the next element, which must have the given tag.
func (d *decoder) header(class byte, tag int) (header, error) {
	if len(d.in) == 0 {
		return header{}, ErrMissing
	}
	h, err := parseHeader(d.in)
	if err == nil && !h.is(class, tag) {
		err = ErrTag
	}
	return h, err
}

// octets reads an OCTET STRING. The result lies in the input, unless it came in pieces; it
// is never nil.
func (d *decoder) octets(class byte, tag int) ([]byte, error) {
	if in := d.in; len(in) >= 2 && tag < lowTagMask && in[0] == class|byte(tag) && in[1] < 0x80 && int(in[1]) <= len(in)-2 {
		n := 2 + int(in[1]) // in the form that all encoders give it
		d.in = in[n:]
		return in[2:n:n], nil
	}
	h, err := d.header(class, tag)
	if err != nil {
		return nil, err
	}
	if h.constructed {
		inner := d.enter(h)
		// Room for all of it: a buffer that grows would leave copies of a key
		// behind. And no more: where this string ends only reading tells, and
		// much may follow.
		count := inner
		var n int
		if err := count.collect(0, func(piece []byte) { n += len(piece) }); err != nil {
			return nil, err
		}
		content := make([]byte, 0, n)
		if err := inner.collect(0, func(piece []byte) { content = append(content, piece...) }); err != nil {
			return nil, err
		}
		return content, d.leave(h, inner)
	}
	content := d.in[h.size:][:h.length:h.length]
	d.in = d.in[h.size+h.length:]
	return content, nil
}

// collect gives the pieces of a constructed OCTET STRING to add. Like libcrypto
// it does not care what tags the pieces have.
func (d *decoder) collect(depth int, add func(piece []byte)) error {
	for !d.end() {
		if endOfContents(d.in) {
			return ErrTag // of an indefinite length that was never begun
		}
		h, err := parseHeader(d.in)
		if err != nil {
			return err
		}
		switch {
		case !h.constructed:
			add(d.in[h.size:][:h.length])
			d.in = d.in[h.size+h.length:]
		case depth >= maxStringNest:
			return ErrNested
		default:
			inner := d.enter(h)
			if err := inner.collect(depth+1, add); err != nil {
				return err
			}
			if err := d.leave(h, inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// integer reads an INTEGER as its low 64 bits in two's complement and its sign. An empty
// one is zero, as in libcrypto, for the sake of old encoders.
func (d *decoder) integer() (value uint64, negative bool, err error) {
	if in := d.in; len(in) >= 3 && in[0] == tagInteger && in[1]-1 < 8 && int(in[1]) <= len(in)-2 && in[2]-1 < 0x7f {
		n := 2 + int(in[1]) // positive, not padded
		for _, b := range in[2:n] {
			value = value<<8 | uint64(b)
		}
		d.in = in[n:]
		return value, false, nil
	}
	h, err := d.header(classUniversal, tagInteger)
	if err != nil {
		return 0, false, err
	}
	if h.constructed {
		return 0, false, ErrConstructed
	}
	content := d.in[h.size:][:h.length]
	d.in = d.in[h.size+h.length:]
	if len(content) == 0 {
		return 0, false, nil
	}
	negative = content[0]&0x80 != 0
	if padded(content) {
		if content[0]&0x80 == content[1]&0x80 {
			return 0, false, ErrPadding
		}
		content = content[1:]
	}
	if len(content) > 8 {
		return 0, false, ErrRange
	}
	if negative {
		value = ^uint64(0)
	}
	for _, b := range content {
		value = value<<8 | uint64(b)
	}
	return value, negative, nil
}

// padded reports whether the first byte of an INTEGER carries only its sign. Of ff 00 it
// does not: without the ff nothing of the value would be left.
func padded(content []byte) bool {
	if len(content) < 2 {
		return false
	}
	if content[0] == 0xff {
		for _, b := range content[1:] {
			if b != 0 {
				return true
			}
		}
	}
	return content[0] == 0
}

func (d *decoder) int64() (int64, error) {
	value, negative, err := d.integer()
	if err != nil {
		return 0, err
	}
	// A negative value of 65 bits loses its sign, in libcrypto as here.
	if !negative && value > 1<<63-1 {
		return 0, ErrRange
	}
	return int64(value), nil
}

func (d *decoder) int32() (int32, error) {
	value, negative, err := d.integer()
	if err != nil {
		return 0, err
	}
	if negative && -value > 1<<31 || !negative && value > 1<<31-1 {
		return 0, ErrRange
	}
	return int32(value), nil
}

func (d *decoder) uint64() (uint64, error) {
	value, negative, err := d.integer()
	if err == nil && negative {
		err = ErrNegative
	}
	return value, err
}

func (d *decoder) uint32() (uint32, error) {
	value, err := d.uint64()
	if err == nil && value > 1<<32-1 {
		err = ErrRange
	}
	return uint32(value), err
}
