// Package gotls turns a [crypto/tls.SessionState] into its fields and back, and
// reads a few other facts that crypto/tls and crypto/x509 keep to themselves.
//
// crypto/tls keeps most of a session's fields private and offers one way to
// them: the bytes of [tls.SessionState.Bytes], which [tls.ParseSessionState]
// reads. It calls that encoding opaque and free to change between Go releases;
// Go 1.25, for one, added a field. This package is therefore the only one that
// knows the layout, and it believes in it only after a self-check: [Check]
// sends sessions of every kind through crypto/tls once per process, and every
// conversion fails with [ErrLayout] if what comes back is not what the layout
// promises. A Go release that changes the layout costs resumption, and never
// gives a session a field that belongs to another.
//
// The other facts are the configuration that a connection uses ([ConfigOf]),
// whether the application gave it ticket keys ([HasTicketKeys]), what is in a
// certificate pool ([PoolContent]) and whether two functions are one
// ([SameFunc]). Reflection reads them, after a check of names and types once per
// process, and writes nothing.
package gotls
