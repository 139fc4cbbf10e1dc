package middleware

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

// maxDate of claims is the year 36812: whatever is beyond it is no time, and some
// of it overflows.
const maxDate = 1 << 40

// claimAt finds a claim. A claim that has just this name comes before one to which
// its dots lead.
func claimAt(claims map[string]any, path string) (v any, ok bool) {
	if v, ok = claims[path]; ok {
		return v, v != nil
	}
	first, rest, nested := strings.Cut(path, ".")
	if inner, isObject := claims[first].(map[string]any); nested && isObject {
		return claimAt(inner, rest)
	}
	return nil, false
}

// date reads a NumericDate, RFC 7519, 2. ok is false for what is none; there is
// whether the claim is there at all.
func date(claims map[string]any, name string) (seconds float64, there, ok bool) {
	v, there := claims[name]
	n, isNumber := v.(json.Number)
	if !isNumber {
		return 0, there, false
	}
	seconds, err := strconv.ParseFloat(string(n), 64)
	return seconds, true, err == nil && seconds > 0 && seconds < maxDate
}

// validity is from when to when a token is good, leeway included, in Unix seconds.
type validity struct{ from, to float64 }

func (v validity) holds(now time.Time) bool {
	at := unix(now)
	return v.from <= at && at <= v.to
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// times checks exp, nbf and iat.
func (m *jwtAuth) times(claims map[string]any, now time.Time) (validity, *gateway.Error) {
	exp, _, ok := date(claims, "exp")
	if !ok {
		return validity{}, m.refuse.exp
	}
	nbf, hasNbf, nbfOK := date(claims, "nbf")
	iat, hasIat, iatOK := date(claims, "iat")
	if hasNbf && !nbfOK || hasIat && !iatOK {
		return validity{}, m.refuse.claims
	}
	at, leeway, lifetime := unix(now), m.leeway.Seconds(), m.maxLifetime.Seconds()
	v := validity{from: max(nbf, iat) - leeway, to: exp + leeway}
	switch {
	case at > v.to:
		return v, m.refuse.expired
	case exp-at > lifetime+leeway, hasIat && exp-iat > lifetime:
		return v, m.refuse.lifetime
	case at < v.from:
		return v, m.refuse.early
	}
	return v, nil
}

// audience checks aud, which is a text or a list of texts.
func (i *jwtIssuer) audience(claims map[string]any) bool {
	if i.anyAudience {
		return true
	}
	switch aud := claims["aud"].(type) {
	case string:
		return slices.Contains(i.audiences, aud)
	case []any:
		found := false
		for _, one := range aud {
			text, isText := one.(string)
			if !isText {
				return false
			}
			found = found || slices.Contains(i.audiences, text)
		}
		return found
	}
	return false
}

// demands checks what the route wants of a token that is good.
func (m *jwtAuth) demands(claims map[string]any) *gateway.Error {
	if len(m.scopes) > 0 {
		granted := scopesOf(claims)
		for _, scope := range m.scopes {
			if !slices.Contains(granted, scope) {
				return m.refuse.scope
			}
		}
	}
	for _, c := range m.claims {
		if !c.met(claims) {
			return m.refuse.denied
		}
	}
	return nil
}

// scopesOf are the scopes of a token: words in scope (RFC 8693, 4.2), or the list
// scp of other providers.
func scopesOf(claims map[string]any) (all []string) {
	for _, name := range []string{"scope", "scp"} {
		switch v := claims[name].(type) {
		case string:
			all = append(all, strings.Fields(v)...)
		case []any:
			for _, one := range v {
				if text, isText := one.(string); isText {
					all = append(all, text)
				}
			}
		}
	}
	return all
}

// met says whether a claim is what is demanded of it.
func (c JWTClaim) met(claims map[string]any) bool {
	v, ok := claimAt(claims, c.Claim)
	if !ok {
		return false
	}
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	return slices.ContainsFunc(list, func(v any) bool {
		text, ok := plain(v)
		return ok && (len(c.OneOf) == 0 && text == c.Equals || slices.Contains(c.OneOf, text))
	})
}

// plain is a text, number or truth value as text.
func plain(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
