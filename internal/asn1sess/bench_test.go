package asn1sess

import "testing"

// benchmarkSession is what a server of TLS 1.3 keeps: no ticket, no certificate.
const benchmarkSession = "307f020101020203040402130204205648b9cb63d097a180b0eee3d3a5027881af671bce1a94ebcda82302b3085f23" +
	"0430a2f5c46d15b030e14da6124023f72083495adf0f768bf0b9a56d6d54f2a5fdc8dc4df69714d259703f62fb7fcb3a2189" +
	"a10602046b01eddca20402021c20a4020400ae07020500ef545dd6b30302011d"

func BenchmarkParse(b *testing.B) {
	der := unhex(b, benchmarkSession)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Parse(der, 7); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s, _, err := Parse(unhex(b, benchmarkSession), 7)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendInPlace(b *testing.B) {
	s, _, err := Parse(unhex(b, benchmarkSession), 7)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Append(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKnownSuite(b *testing.B) {
	for b.Loop() {
		KnownSuite(0xc030)
	}
}
