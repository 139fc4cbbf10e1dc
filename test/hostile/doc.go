// Package hostile proves what the whole gateway does with hostile bytes. It has
// no code of its own, only tests: each starts a gateway with a configuration
// file, in front of an upstream that records what reaches it byte by byte, and
// talks to it over raw sockets.
//
// A test is a table of rows: the bytes that go in, the status that comes out,
// whether the connection is closed, and what the upstream has seen. A row is named
// after the class of attack and its number, so that the same row has the same
// name wherever it is tested: F is the framing of HTTP/1, T the request line and
// the target, H header fields, I identity and Connection, P paths, H2 HTTP/2, U
// upgrades and trailers, S what is slow or big, X answers of upstreams, A logs.
//
// Everything that reaches the upstream, in any test, goes through a parser that
// accepts only what is beyond doubt. What fails there fails the test, unless the
// row says that it is known.
//
// To add a row, add it to the table of its class, and run
//
//	go test -race ./test/hostile/ -run 'TestPaths/P01'
package hostile
