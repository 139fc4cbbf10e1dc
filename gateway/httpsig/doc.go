// Package httpsig verifies HTTP message signatures (RFC 9421) of requests, and
// the digests of their bodies (RFC 9530). It knows no policy: which components
// must be covered, how old a signature may be and whose key is whose is decided
// by those who call it.
//
// It is stricter than the RFC where two readers could understand a message in
// two ways: fields must be written in the canonical form of RFC 9651, so that a
// label or a parameter that is there twice is seen; a component that cannot be
// computed without doubt, and a parameter that nobody knows, is an error. The key
// decides on the algorithm, and a message that says another one is wrong.
package httpsig
