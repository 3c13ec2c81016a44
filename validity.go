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
	switch {
	case !ok:
		return t, false
	case validity.PeekASN1Tag(asn1.UTCTime):
		ok = validity.ReadASN1UTCTime(&t)
	default:
		ok = validity.ReadASN1GeneralizedTime(&t)
	}
	return t, ok
}
