package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/limitview"
)

const limitsPath = "/-/limits"

// limitsWait bounds how long stores are asked what a caller has left.
const limitsWait = time.Second

func (h *handlers) limits(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	for word := range query {
		if word != "name" && word != "key" {
			gateway.Fail(w, r, refuse(http.StatusBadRequest, "limits_request", "takes name=NAME and key=PART=VALUE, as in ?name=fair&key=client=203.0.113.7"))
			return
		}
	}
	var who limitview.Facts
	if err == nil {
		who, err = limitview.ParseFacts(query["key"])
	}
	if err != nil {
		gateway.Fail(w, r, refuse(http.StatusBadRequest, "limits_request", err.Error()))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), limitsWait)
	defer cancel()
	name := query.Get("name")
	report := h.o.Limits(ctx, name, who)
	if name != "" && report.Empty() {
		gateway.Fail(w, r, refuse(http.StatusNotFound, "no_limit", "there is no limit of this name; GET /-/limits lists those in use"))
		return
	}
	writeJSON(w, report)
}

// Limits asks for the limit called name, or for all of them for "". keys are what is
// known of a caller, as client=203.0.113.7; with some, the report says what it has left.
func (c *Client) Limits(ctx context.Context, name string, keys []string) (report limitview.Report, err error) {
	query := make(url.Values)
	if name != "" {
		query.Set("name", name)
	}
	for _, key := range keys {
		query.Add("key", key)
	}
	path := limitsPath
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return report, c.json(ctx, http.MethodGet, path, nil, &report)
}
