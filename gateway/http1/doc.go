// Package http1 speaks HTTP/1.1, to servers and to clients, with the types of
// net/http and without its transport and server.
//
//	t := &http1.Transport{Dial: dial, IdleTimeout: 4 * time.Second, MaxIdlePerHost: 100}
//	resp, err := t.RoundTrip(req)
//
//	s := &http1.Server{Handler: h, HeaderTimeout: 10 * time.Second, IdleTimeout: 75 * time.Second}
//	s.Serve(conn) // until its end
//
// # Towards servers
//
// A request without a body is written, and its answer read, by the goroutine that
// asks; there are no others, and an idle connection has neither a goroutine nor a
// buffer. A body is sent by a goroutine of its own, so that an answer may come
// before its end.
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
//
// # Towards clients
//
// One goroutine reads a request, calls the handler and writes the answer, head and
// body with one write if they are small. Whether the client is still there is looked
// at only when a handler takes longer than a few milliseconds. Handlers find all that
// net/http's writers can do: Flush, Hijack, deadlines, trailers, interim answers.
// Some things are otherwise: reading and writing go on at the same time
// (EnableFullDuplex changes nothing), and the rest of a request that nobody has read
// is read after its answer, not before; no Content-Type is guessed.
//
// A request is refused (ClientError) for all that an answer is refused for, and
// further for lines that end in LF alone, folded lines, two lengths even if they are
// equal, a Host that is missing or there twice, and space where the request line has
// none. Whoever reads in front of the gateway may
// see another request in it.
package http1
