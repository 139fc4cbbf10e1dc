package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

// maxBody is more than any request to be explained has.
const maxBody = 64 << 10

type handlers struct{ o Options }

// alive tells nothing but that the process answers: a probe is often let
// through where the rest is not.
func (h *handlers) alive(w http.ResponseWriter, _ *http.Request) { writeText(w, "ok\n") }

func (h *handlers) ready(w http.ResponseWriter, r *http.Request) {
	ok, why := h.o.Ready()
	if !ok {
		gateway.Fail(w, r, &gateway.Error{
			Status: http.StatusServiceUnavailable, Reason: "not_ready", Msg: strings.Join(why, "; "),
		})
		return
	}
	lines := []string{"ready"}
	for _, what := range why {
		lines = append(lines, "degraded: "+what)
	}
	writeText(w, strings.Join(lines, "\n")+"\n")
}

func (h *handlers) config(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") == "json" {
		writeJSON(w, h.o.Status())
		return
	}
	w.Header().Set("Content-Type", "application/yaml")
	now := h.o.Status()
	head := fmt.Sprintf("# generation %d, in use since %s, loaded by: %s\n", now.Generation, now.LoadedAt.UTC().Format(time.RFC3339), now.LoadedBy)
	_, _ = w.Write(append([]byte(head), h.o.Config()...)) // a client that left misses nothing
}

func (h *handlers) generations(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, list(h.o.History()))
}

func (h *handlers) status(w http.ResponseWriter, _ *http.Request) { writeJSON(w, h.o.Status()) }
func (h *handlers) routes(w http.ResponseWriter, _ *http.Request) { writeJSON(w, list(h.o.Routes())) }

func (h *handlers) labels(w http.ResponseWriter, _ *http.Request) { writeJSON(w, list(h.o.Labels())) }

func (h *handlers) endpoints(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, list(h.o.Endpoints()))
}

// list makes nothing an empty list in JSON, not null.
func list[T any](items []T) []T {
	if items == nil {
		return []T{}
	}
	return items
}

// reload answers with the whole text of the error: this is the one error
// answer whose reader owns the files that it quotes.
func (h *handlers) reload(w http.ResponseWriter, r *http.Request) {
	result, err := h.o.Reload(r.Context())
	if err != nil {
		gateway.Fail(w, r, &gateway.Error{
			Status: http.StatusUnprocessableEntity, Reason: "reload_refused", Msg: err.Error(), Cause: gateway.CauseClient,
		})
		return
	}
	writeJSON(w, result)
}

func (h *handlers) explainQuery(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	headers := make(http.Header)
	for _, line := range q["header"] {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			gateway.Fail(w, r, refuse(http.StatusBadRequest, "explain_request", fmt.Sprintf("header %q has no colon", line)))
			return
		}
		headers.Add(name, strings.TrimSpace(value))
	}
	h.explain(w, r, ExplainRequest{Method: q.Get("method"), URL: q.Get("url"), Headers: headers})
}

func (h *handlers) explainBody(w http.ResponseWriter, r *http.Request) {
	var asked ExplainRequest
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(&asked)
	if err == nil && d.More() {
		err = errors.New("more than one JSON value")
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		gateway.Fail(w, r, refuse(http.StatusRequestEntityTooLarge, "body_too_large", "the body is larger than 64 KiB"))
		return
	}
	if err != nil && !errors.Is(err, io.EOF) {
		gateway.Fail(w, r, refuse(http.StatusBadRequest, "explain_request", err.Error()))
		return
	}
	h.explain(w, r, asked)
}

func (h *handlers) explain(w http.ResponseWriter, r *http.Request, asked ExplainRequest) {
	made, err := asked.Request(r.Context(), r.RemoteAddr) // it comes from whoever asks
	if err != nil {
		gateway.Fail(w, r, refuse(http.StatusBadRequest, "explain_request", err.Error()))
		return
	}
	writeJSON(w, h.o.Explain(made))
}

// Request makes the request that a server would see when it comes from
// client, host:port.
func (e *ExplainRequest) Request(ctx context.Context, client string) (*http.Request, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("url %q is not absolute; write for example https://api.example.com/v1", e.URL)
	}
	r, err := http.NewRequestWithContext(ctx, e.Method, e.URL, http.NoBody)
	if err != nil {
		return nil, err
	}
	for name, values := range e.Headers {
		for _, value := range values {
			r.Header.Add(name, value)
		}
	}
	if host := r.Header.Get("Host"); host != "" {
		r.Host, r.URL.Host = host, host
		r.Header.Del("Host")
	}
	r.RequestURI, r.RemoteAddr = u.RequestURI(), client
	return r, nil
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text) // a client that left misses nothing
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // strings, numbers and times: only the connection can fail
}
