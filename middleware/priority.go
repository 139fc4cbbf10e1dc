package middleware

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/grammar"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "priority", PriorityConfig{Level: PriorityLevel(gateway.PriorityNormal)}, newPriority)
}

// PriorityConfig says which requests are given up first when not all can be served:
// `concurrency` and `adaptive_limit`, if they come after it in `use`, refuse those of low priority before the
// others, and let those of high priority pass first.
//
//	priority: {header: X-Priority, level: low}
//
// Of two blocks in `use`, the second one counts.
type PriorityConfig struct {
	// Level is `low`, `normal` or `high`. Default: normal.
	Level PriorityLevel `yaml:"level"`
	// Header is a request header with one of these words, which comes before `level`. It is believed only if the request
	// comes from one of `trusted_proxies`; of others, and with another word in it, it means nothing.
	// It goes on to the upstream. Default: none.
	Header string `yaml:"header"`
}

// PriorityLevel is a priority as configurations write it.
type PriorityLevel gateway.Priority

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *PriorityLevel) UnmarshalText(text []byte) error {
	p, ok := gateway.ParsePriority(string(text))
	if !ok {
		return fmt.Errorf("%q is none of low, normal, high", text)
	}
	*l = PriorityLevel(p)
	return nil
}

// MarshalText implements encoding.TextMarshaler.
func (l PriorityLevel) MarshalText() ([]byte, error) {
	return []byte(gateway.Priority(l).String()), nil
}

// Validate checks the name of the header.
func (c PriorityConfig) Validate() error {
	if c.Header != "" && !grammar.IsToken(c.Header) {
		return kind.At("header", "%q is no name of a header", c.Header)
	}
	return nil
}

func newPriority(c PriorityConfig, _ Env) (gateway.Step, error) {
	if c.Header == "" && c.Level == PriorityLevel(gateway.PriorityNormal) {
		return gateway.Step{}, kind.At("", "%w", errPriorityNothing)
	}
	name := http.CanonicalHeaderKey(c.Header)
	of := func(r *http.Request, x *gateway.Exchange) (p gateway.Priority, by string) {
		if values := r.Header[name]; name != "" && x.Trusted && len(values) == 1 {
			if p, ok := gateway.ParsePriority(values[0]); ok {
				return p, "by " + name
			}
		}
		return gateway.Priority(c.Level), "by level"
	}
	return gateway.Step{
		Wrap: func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				x := gateway.ExchangeOf(r)
				x.Priority, _ = of(r, x)
				next.ServeHTTP(w, r)
			})
		},
		Explain: func(r *http.Request, x *gateway.Exchange) string {
			p, by := of(r, x)
			x.Priority = p
			return p.String() + ", " + by
		},
	}, nil
}

var errPriorityNothing = errors.New("every request has a normal priority anyway; give level or header")
