package admin

import (
	"compress/gzip"
	"embed"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// openAPIPath is where documents are: the page, /-/openapi/routes with the names of the
// routes that have one, and /-/openapi/ROUTE.json.
const openAPIPath = "/-/openapi/"

// swagger is Swagger UI; swagger/README.md says which one.
//
//go:embed swagger/openapi.html swagger/openapi.js swagger/*.gz
var swagger embed.FS

// maxAsset is more than any unpacked file of the page has.
const maxAsset = 16 << 20

// swaggerPolicy lets the page load what the admin API itself has, and nothing else.
// Swagger UI draws its arrows from data URLs.
const swaggerPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// openAPI serves everything below openAPIPath.
func (h *handlers) openAPI(w http.ResponseWriter, r *http.Request) {
	rest := strings.TrimPrefix(r.URL.EscapedPath(), openAPIPath)
	if rest == "routes" {
		writeJSON(w, list(h.o.Documented()))
		return
	}
	if name, ok := strings.CutSuffix(rest, ".json"); ok && !strings.Contains(name, "/") {
		if route, err := url.PathUnescape(name); err == nil {
			h.document(w, r, route)
			return
		}
	}
	name, ok := strings.CutPrefix(rest, "ui/")
	if rest == "" {
		name, ok = "openapi.html", true
	}
	if !ok || !h.asset(w, r, name) {
		gateway.Fail(w, r, errNoPath)
	}
}

var errNoPath = &gateway.Error{Status: http.StatusNotFound, Reason: "not_found", Msg: "the admin API has no such path", Cause: gateway.CauseClient}

func (h *handlers) document(w http.ResponseWriter, r *http.Request, route string) {
	doc, err := h.o.OpenAPI(route)
	if errors.Is(err, ErrNoDocument) {
		gateway.Fail(w, r, refuse(http.StatusNotFound, "openapi_route", "there is no route of this name with an OpenAPI document"))
		return
	}
	if err != nil {
		gateway.Fail(w, r, &gateway.Error{Status: http.StatusServiceUnavailable, Reason: "openapi_document", Msg: err.Error(), Cause: gateway.CauseGateway})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(doc) // a client that left misses nothing
}

// ErrNoDocument is what Options.OpenAPI says of a route without a document.
var ErrNoDocument = errors.New("no OpenAPI document")

// asset serves a file of the page, and says whether there is one.
func (h *handlers) asset(w http.ResponseWriter, r *http.Request, name string) bool {
	var packed bool
	text, err := swagger.Open("swagger/" + name)
	if err != nil {
		text, err = swagger.Open("swagger/" + name + ".gz")
		packed = true
	}
	if err != nil || strings.HasSuffix(name, ".gz") {
		return false
	}
	defer func() { _ = text.Close() }() // it is in memory
	head := w.Header()
	head.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	head.Set("Content-Security-Policy", swaggerPolicy)
	head.Set("Referrer-Policy", "no-referrer")
	var from io.Reader = text
	if packed {
		head.Set("Vary", "Accept-Encoding")
		if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			head.Set("Content-Encoding", "gzip")
		} else if from, err = gzip.NewReader(text); err != nil {
			return false
		}
	}
	_, _ = io.CopyN(w, from, maxAsset) // a client that left misses nothing, and no file is as large
	return true
}
