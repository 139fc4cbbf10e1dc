package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// CacheInfo is a cache of answers at work.
type CacheInfo struct {
	Name     string            `json:"name"`
	URLs     int64             `json:"urls"`
	Answers  int64             `json:"answers"`
	Bytes    int64             `json:"bytes"`
	MaxBytes int64             `json:"max_bytes"`
	Evicted  uint64            `json:"evicted"`  // URLs that had to make room
	Requests map[string]uint64 `json:"requests"` // by result
}

// CachePurge is what a cache is to forget: one of these.
type CachePurge struct {
	URL    string `json:"url,omitempty"`    // with scheme, host and query, as it is after key.sort_query and key.query
	Prefix string `json:"prefix,omitempty"` // of URLs
	Tag    string `json:"tag,omitempty"`
	All    bool   `json:"all,omitempty"`
}

// CachePurged is what came of a purge.
type CachePurged struct {
	Name      string `json:"name"`
	Forgotten int    `json:"forgotten"` // answers
}

const (
	cachesPath  = "/-/cache"
	purgeSuffix = "/purge"
)

// The errors of a purge.
var (
	ErrNoCache = errors.New("there is no cache of this name; GET /-/cache lists those in use")
	ErrNoPurge = errors.New(`a purge says one of url, prefix, tag and all, as in {"all": true}`)
)

func (p *CachePurge) check() error {
	n := 0
	for _, given := range []bool{p.URL != "", p.Prefix != "", p.Tag != "", p.All} {
		if given {
			n++
		}
	}
	if n != 1 {
		return ErrNoPurge
	}
	return nil
}

func (h *handlers) caches(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, list(h.o.Caches()))
}

// purgeCache finds the name of the cache in the middle of the path, of which the
// slashes are part.
func (h *handlers) purgeCache(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.EscapedPath(), cachesPath+"/"), purgeSuffix)
	if !ok {
		gateway.Fail(w, r, errNoPath)
		return
	}
	name, err := url.PathUnescape(rest)
	var asked CachePurge
	if err == nil {
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		if err = d.Decode(&asked); err == nil || errors.Is(err, io.EOF) {
			err = asked.check() // without a body it is told what to send
		}
	}
	if err != nil {
		gateway.Fail(w, r, refuse(http.StatusBadRequest, "purge_request", err.Error()))
		return
	}
	forgotten, err := h.o.PurgeCache(name, asked, r.RemoteAddr)
	if err != nil {
		gateway.Fail(w, r, refuse(http.StatusNotFound, "no_cache", err.Error()))
		return
	}
	writeJSON(w, CachePurged{name, forgotten})
}

// Caches asks for the caches of answers.
func (c *Client) Caches(ctx context.Context) (caches []CacheInfo, err error) {
	return caches, c.json(ctx, http.MethodGet, cachesPath, nil, &caches)
}

// PurgeCache takes answers out of a cache.
func (c *Client) PurgeCache(ctx context.Context, name string, what CachePurge) (purged CachePurged, err error) {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return purged, c.json(ctx, http.MethodPost, cachesPath+"/"+strings.Join(parts, "/")+purgeSuffix, what, &purged)
}
