package asn1sess

import "errors"

// The reasons for which [Parse] and [Session.Append] refuse. They come wrapped in a
// [FieldError] where one field is to blame.
var (
	ErrTruncated   = errors.New("runs past the end of the data")
	ErrHeader      = errors.New("malformed tag or length")
	ErrTag         = errors.New("unknown, repeated or misplaced field")
	ErrMissing     = errors.New("mandatory field is missing")
	ErrTrailing    = errors.New("more data than the field holds")
	ErrNotExplicit = errors.New("not a constructed encoding")
	ErrConstructed = errors.New("integer in constructed encoding")
	ErrNested      = errors.New("octet string nested too deep, limit 5")
	ErrPadding     = errors.New("integer with superfluous leading bytes")
	ErrNegative    = errors.New("negative value, only unsigned allowed")
	ErrRange       = errors.New("integer out of range")
	ErrStructure   = errors.New("unknown structure version, want 1")
	ErrProtocol    = errors.New("unsupported protocol version, want 0x03xx, 0xfexx or 0x0100")
	ErrCipher      = errors.New("cipher suite is zero")
	ErrLength      = errors.New("wrong length")
	ErrTooLong     = errors.New("too long")
	ErrNUL         = errors.New("contains a NUL byte")
	ErrShape       = errors.New("not a single DER sequence of definite length")
)

// FieldError says which field of the session was refused, why, and what the limit is.
type FieldError struct {
	Field string // as in the ASN.1 above [Session]
	Limit string // empty, or what the field may hold
	Err   error  // one of the sentinels of this package
}

func (e *FieldError) Error() string {
	msg := "asn1sess: " + e.Field + ": " + e.Err.Error()
	if e.Limit != "" {
		msg += ", want " + e.Limit
	}
	return msg
}

func (e *FieldError) Unwrap() error { return e.Err }

// field is a position in the SEQUENCE: for the tagged fields the tag itself, for the
// five untagged ones a negative number.
type field int

const (
	fieldSequence field = iota - 6
	fieldStructure
	fieldVersion
	fieldCipher
	fieldID
	fieldMasterKey
	fieldKeyArg
	fieldTime
	fieldTimeout
	fieldPeer
	fieldIDContext
	fieldVerifyResult
	fieldHostname
	fieldPSKIdentityHint
	fieldPSKIdentity
	fieldLifetimeHint
	fieldTicket
	fieldCompression
	fieldSRPUsername
	fieldFlags
	fieldTicketAgeAdd
	fieldMaxEarlyData
	fieldALPN
	fieldMaxFragmentLen
	fieldTicketAppData
	fieldKexGroup
	fieldPeerRPK
)

var fieldNames = [...]string{
	"session", "version", "ssl_version", "cipher", "session_id", "master_key",
	"key_arg", "time", "timeout", "peer", "session_id_context", "verify_result", "hostname",
	"psk_identity_hint", "psk_identity", "lifetime_hint", "ticket", "compression", "srp_username",
	"flags", "ticket_age_add", "max_early_data", "alpn_selected", "max_fragment_len",
	"ticket_appdata", "kex_group", "peer_rpk",
}

var fieldLimits = map[field]string{
	fieldCipher:      "2 bytes",
	fieldID:          "at most 32 bytes",
	fieldMasterKey:   "at most 512 bytes",
	fieldIDContext:   "at most 32 bytes",
	fieldCompression: "1 byte",
}

func (f field) String() string { return fieldNames[f-fieldSequence] }

func (f field) wrap(err error) error {
	e := &FieldError{Field: f.String(), Err: err}
	if err == ErrLength || err == ErrTooLong {
		e.Limit = fieldLimits[f]
	}
	return e
}
