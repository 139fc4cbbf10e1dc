package gateway

import "net/http"

// Pages are what an operator wants error answers to say.
type Pages interface {
	// Page is for the answer with an error status to r. reason is that of the
	// gateway's own error; "" says that the upstream has given the answer.
	Page(r *http.Request, status int, reason string) Page
}

// Page is the body of an error answer in the form that the client prefers.
type Page struct {
	MediaType string // "" keeps the body that there would be without pages
	Body      []byte
	Vary      bool // another Accept might have got another body
}
