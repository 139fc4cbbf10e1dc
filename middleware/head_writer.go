package middleware

import "net/http"

// headWriter has the head of an answer edited at the last moment, whoever writes
// it: the upstream's, that of a middleware further on, the gateway's own error.
// Interim answers (1xx) and the handshake of an upgrade pass as they are.
type headWriter struct {
	http.ResponseWriter
	edit func(http.Header)
	done bool
}

// finish is for the end of the handler: if nothing was written, net/http is about
// to send an empty answer.
func (w *headWriter) finish() {
	if !w.done {
		w.done = true
		w.edit(w.Header())
	}
}

// Unwrap is for http.ResponseController.
func (w *headWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// BodyWriter is for splice.SinkOf: nothing but heads is changed here.
func (w *headWriter) BodyWriter() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader implements http.ResponseWriter.
func (w *headWriter) WriteHeader(status int) {
	if status >= http.StatusOK {
		w.finish()
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *headWriter) Write(p []byte) (int, error) {
	w.finish()
	return w.ResponseWriter.Write(p)
}

// FlushError is for http.ResponseController.
func (w *headWriter) FlushError() error {
	w.finish()
	return http.NewResponseController(w.ResponseWriter).Flush()
}
