package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

// BreakerInfo is a circuit breaker at work.
type BreakerInfo struct {
	Name        string    `json:"name"`
	State       string    `json:"state"` // closed, recovering, half_open, open
	Force       string    `json:"force"` // auto, or what an operator has said: open, closed
	Reason      string    `json:"reason,omitempty"`
	Since       time.Time `json:"since"`
	Until       time.Time `json:"until,omitzero"`   // when probes begin, or the recovery is over
	Opened      int       `json:"opened,omitempty"` // times in a row
	Probes      int       `json:"probes,omitempty"` // on their way
	Requests    uint64    `json:"requests"`         // attempts in the window
	Failures    uint64    `json:"failures"`
	Slow        uint64    `json:"slow"`
	Consecutive int64     `json:"consecutive"` // failures in a row
	Rejected    uint64    `json:"rejected"`    // since the beginning
}

// BreakerChange is what an operator wants of a breaker.
type BreakerChange struct {
	Force string `json:"force"` // open, closed or auto
}

const breakersPath = "/-/breakers"

// The errors of Options.ForceBreaker.
var (
	ErrNoBreaker = errors.New("there is no circuit breaker of this name; each begins with the first request that it guards")
	ErrNoForce   = errors.New(`force is none of open, closed, auto`)
)

func (h *handlers) breakers(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, list(h.o.Breakers()))
}

// forceBreaker finds the name of the breaker in the rest of the path, of which the
// slashes are part.
func (h *handlers) forceBreaker(w http.ResponseWriter, r *http.Request) {
	name, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), breakersPath+"/"))
	var asked BreakerChange
	if err == nil {
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		if err = d.Decode(&asked); errors.Is(err, io.EOF) {
			err = errors.New(`there is no body; send {"force": "open"}, "closed" or "auto"`)
		}
	}
	if err != nil {
		gateway.Fail(w, r, refuse(http.StatusBadRequest, "breaker_request", err.Error()))
		return
	}
	info, err := h.o.ForceBreaker(name, asked.Force, r.RemoteAddr)
	switch {
	case errors.Is(err, ErrNoBreaker):
		gateway.Fail(w, r, refuse(http.StatusNotFound, "no_breaker", err.Error()))
	case err != nil:
		gateway.Fail(w, r, refuse(http.StatusBadRequest, "breaker_request", err.Error()))
	default:
		writeJSON(w, info)
	}
}

// Breakers asks for the circuit breakers.
func (c *Client) Breakers(ctx context.Context) (breakers []BreakerInfo, err error) {
	return breakers, c.json(ctx, http.MethodGet, breakersPath, nil, &breakers)
}

// ForceBreaker opens or closes a circuit breaker by hand, or leaves it to itself again.
func (c *Client) ForceBreaker(ctx context.Context, name, force string) (info BreakerInfo, err error) {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return info, c.json(ctx, http.MethodPost, breakersPath+"/"+strings.Join(parts, "/"), BreakerChange{force}, &info)
}
