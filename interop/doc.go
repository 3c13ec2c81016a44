// Package interop holds tests of reprise against programs that others wrote:
// each resumes sessions that the other side made, in both directions, and both
// sides are asked whether they did. It has no code of its own and the tests use
// the public API only.
//
// A test whose peer is not installed is skipped and says which program it
// wanted; with REPRISE_REQUIRE_INTEROP=1 in the environment it fails.
package interop
