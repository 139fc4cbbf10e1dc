// Package splice carries bytes from one socket to another inside the kernel: they
// go through a pipe, by reference, where a copy would bring them into this process
// and out again.
//
//	left := source.Piped()
//	if sink := splice.SinkOf(w); left > 0 && sink != nil && sink.TakesPipe(left) {
//		if p := splice.Get(); p != nil {
//			defer p.Free()
//			n, err := source.ReadPipe(p) // waits for bytes, as Read does
//			_, err = sink.WritePipe(p)   // passes on all of them
//
// Only Linux can do it; elsewhere Get returns nil, and its caller copies.
package splice

import "net/http"

// Worth is how many bytes must be left for a pipe to be cheaper than a copy.
const Worth = 128 << 10

// Source is a reader whose bytes lie in a socket.
type Source interface {
	// Piped is how many bytes there are up to the end, if ReadPipe may bring them and
	// is worth it; otherwise 0. Once begun, ReadPipe takes the place of all Reads.
	Piped() int64
	// ReadPipe is Read with an empty pipe for a buffer.
	ReadPipe(p *Pipe) (int, error)
}

// Sink is a writer whose bytes go to a socket as they are.
type Sink interface {
	// TakesPipe says whether WritePipe may bring n bytes, the last of the body.
	TakesPipe(n int64) bool
	// WritePipe is Write of all that a pipe holds.
	WritePipe(p *Pipe) (int, error)
}

// SinkOf finds the sink below w; nil when there is none. A writer that changes
// nothing but heads says by a method
//
//	BodyWriter() http.ResponseWriter
//
// who gets the bytes of the body. (Unwrap does not say that.)
func SinkOf(w http.ResponseWriter) Sink {
	for {
		switch t := w.(type) {
		case Sink:
			return t
		case interface{ BodyWriter() http.ResponseWriter }:
			w = t.BodyWriter()
		default:
			return nil
		}
	}
}
