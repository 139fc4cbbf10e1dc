// Package http1 speaks HTTP/1.1 to servers: the engine of plain upstream
// connections, with the types of net/http and without its transport.
//
//	t := &http1.Transport{Dial: dial, IdleTimeout: 4 * time.Second, MaxIdlePerHost: 100}
//	resp, err := t.RoundTrip(req)
//
// A request without a body is written, and its answer read, by the goroutine that
// asks; there are no others, and an idle connection has neither a goroutine nor a
// buffer. A body is sent by a goroutine of its own, so that an answer may come
// before its end.
//
// # Strictness
//
// An answer is refused (AnswerError) where readers could disagree about where it
// ends: a length beside a transfer coding, lengths that differ, a coding that is not
// chunked, one in HTTP/1.0, space in or behind a field name, control bytes, chunks
// and trailers that are not as RFC 9112 section 7.1 has them. So is a 101 that nobody
// has asked for, and a head of more than 1000 lines. Lines of the head may end in LF
// alone, and may be folded (RFC 9112 sections 2.2 and 5.2), because servers do so
// and nobody misreads it: what goes on is written anew.
//
// Bytes that come after an answer belong to no request. They end the connection,
// even those that arrive while it rests: it is looked at before it is used again. (A
// connection that is no socket, and all of those outside of Unix, cannot be looked
// at.)
package http1
