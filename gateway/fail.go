package gateway

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// StatusClientClosed is logged and counted for a client that left before its
// answer. It is never sent.
const StatusClientClosed = 499

// problem is an RFC 9457 problem+json document.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Reason string `json:"reason"`
	ID     string `json:"request_id,omitempty"`

	Errors []Violation `json:"errors,omitempty"`
}

// Fail answers r with err and records it in the exchange. It is the only place
// that writes an error answer: trailers-only with a gRPC code for gRPC
// requests, the page of the exchange or problem+json for all others. Once the
// head of an answer has been written, the caller must abort the exchange instead.
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	e, x := AsError(err), ExchangeOf(r)
	x.Err = e
	if e.Status == StatusClientClosed {
		x.Status = e.Status
		return
	}
	h := w.Header()
	clear(h)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if e.Allow != "" {
		h.Set("Allow", e.Allow)
	}
	if e.Challenge != "" {
		h.Set("WWW-Authenticate", e.Challenge)
	}
	// Of a connection over HTTP/2 one bad stream says nothing, but 421 is about all of them.
	if e.Close && (r.ProtoMajor == 1 || e.Status == http.StatusMisdirectedRequest) {
		h.Set("Connection", "close")
	}
	if IsGRPC(r) {
		failGRPC(w, e)
		return
	}
	page := pageOf(r, x, e)
	if page.Vary {
		h.Set("Vary", "Accept")
	}
	h.Set("Content-Type", page.MediaType)
	h.Set("Content-Length", strconv.Itoa(len(page.Body)))
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(page.Body) // a client that left is noticed by the server
	}
}

// pageOf is the operator's page for e, or a problem document.
func pageOf(r *http.Request, x *Exchange, e *Error) (page Page) {
	if x.Pages != nil {
		page = x.Pages.Page(r, e.Status, e.Reason)
	}
	if page.MediaType == "" {
		body, _ := json.Marshal(problem{ // strings and ints: cannot fail
			Type: "about:blank", Title: http.StatusText(e.Status), Status: e.Status,
			Detail: e.Msg, Reason: e.Reason, ID: x.ID, Errors: e.Violations,
		})
		body = append(body, '\n')
		page.MediaType, page.Body = "application/problem+json", body
	}
	return page
}

// failGRPC writes a Trailers-Only answer: status and message are in the one
// HEADERS frame that also ends the stream.
func failGRPC(w http.ResponseWriter, e *Error) {
	h := w.Header()
	h.Set("Content-Type", "application/grpc")
	h.Set("Grpc-Status", strconv.Itoa(cmp.Or(e.GRPC, grpcCode(e.Status))))
	h.Set("Grpc-Message", strings.ReplaceAll(url.QueryEscape(e.Msg), "+", " "))
	w.WriteHeader(http.StatusOK)
}

// grpcCode is the table of gRPC's "HTTP to gRPC Status Code Mapping", extended
// by the statuses that the gateway itself gives.
func grpcCode(status int) int {
	switch status {
	case http.StatusBadRequest:
		return 13 // INTERNAL
	case http.StatusUnauthorized:
		return 16 // UNAUTHENTICATED
	case http.StatusForbidden:
		return 7 // PERMISSION_DENIED
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return 12 // UNIMPLEMENTED
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return 4 // DEADLINE_EXCEEDED
	case http.StatusRequestEntityTooLarge:
		return 8 // RESOURCE_EXHAUSTED
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable:
		return 14 // UNAVAILABLE
	default:
		return 2 // UNKNOWN
	}
}
