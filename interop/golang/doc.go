// Package golang holds tests of reprise with Go modules that many programs
// use: servers of gRPC, fasthttp, QUIC and HTTP/3, clients of Redis. It is a
// module of its own, so that nobody who uses reprise requires those. It has no
// code, and the tests use the public API only.
//
// A test whose peer is not installed is skipped and says which program it
// wanted; with REPRISE_REQUIRE_INTEROP=1 in the environment it fails.
package golang
