package reprise

import (
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// goodUntil returns until when a certificate is good (RFC 5280, section 4.1). All
// else in it is left unread: crypto/x509, which takes much longer, has read it
// when the connection was made and will when it is resumed.
func goodUntil(certificate []byte) (t time.Time, ok bool) {
	in := cryptobyte.String(certificate)
	var cert, tbs, validity, notBefore cryptobyte.String
	ok = in.ReadASN1(&cert, asn1.SEQUENCE) &&
		cert.ReadASN1(&tbs, asn1.SEQUENCE) &&
		tbs.SkipOptionalASN1(asn1.Tag(0).Constructed().ContextSpecific()) && // version
		tbs.SkipASN1(asn1.INTEGER) && // serial number
		tbs.SkipASN1(asn1.SEQUENCE) && // signature algorithm
		tbs.SkipASN1(asn1.SEQUENCE) && // issuer
		tbs.ReadASN1(&validity, asn1.SEQUENCE) &&
		validity.ReadAnyASN1(&notBefore, new(asn1.Tag))
	if !ok {
		return t, false
	}
	notAfter := validity
	var when cryptobyte.String
	var tag asn1.Tag
	if !notAfter.ReadAnyASN1(&when, &tag) || tag != asn1.UTCTime && tag != asn1.GeneralizedTime {
		return t, false
	}
	if t, ok = inDigits(when, tag); ok {
		return t, true
	}
	if tag == asn1.UTCTime {
		ok = validity.ReadASN1UTCTime(&t)
	} else {
		ok = validity.ReadASN1GeneralizedTime(&t)
	}
	return t, ok
}

// inDigits reads a time as certificates are to have it (RFC 5280, section
// 4.1.2.5). A client that keeps sessions in a store does so for each, and
// cryptobyte, which knows other forms too, would parse and format it.
func inDigits(b []byte, tag asn1.Tag) (t time.Time, ok bool) {
	n := 4 // digits of the year
	if tag == asn1.UTCTime {
		n = 2
	}
	if len(b) != n+len("0102150405Z") || b[len(b)-1] != 'Z' {
		return t, false
	}
	var v [6]int // from year to second
	for i, c := range b[:len(b)-1] {
		if c < '0' || c > '9' {
			return t, false
		}
		field := max(i-n+2, 0) / 2
		v[field] = 10*v[field] + int(c-'0')
	}
	if tag == asn1.UTCTime {
		v[0] += 1900
		if v[0] < 1950 {
			v[0] += 100
		}
	}
	t = time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], 0, time.UTC)
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	return t, v == [6]int{year, int(month), day, hour, minute, second}
}
