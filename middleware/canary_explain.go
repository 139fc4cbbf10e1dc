package middleware

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/pithead/pithead/gateway"
)

// explain says which arm r would get and why, and why not the one it asks for.
func (m *canary) explain(r *http.Request, x *gateway.Exchange) string {
	arm, first := m.apply(r, x)
	if arm == nil {
		x.Status = errNoArm.Status
		return fmt.Sprintf("%sanswers %d: all weights of the split are 0", m.ignored(r, x), x.Status)
	}
	where := arm.cluster.Name()
	if arm.subset != "" {
		where += ", subset " + arm.subset
	}
	why := m.why(first, r)
	if x.ArmBy == byFallback {
		why = fmt.Sprintf("fallback: arm %s, by %s, has no healthy endpoint", first.arm.name, why)
	}
	text := fmt.Sprintf("arm %s (%s), by %s", arm.name, where, why)
	if first.by != byHeader {
		text = m.ignored(r, x) + text
	}
	if edits := editsOf(arm.request, arm.response); edits != "" {
		text += "; " + edits
	}
	return text
}

func (m *canary) why(first choice, r *http.Request) string {
	switch first.by {
	case byHeader:
		return fmt.Sprintf("header %s: %s", strings.ToLower(m.header), r.Header.Get(m.header))
	case byCookie:
		if first.vary != "" {
			value, _ := onlyCookie(r.Header, m.forceCookie)
			return fmt.Sprintf("cookie %s: %s", m.forceCookie, value)
		}
		return "cookie " + m.cookie.name
	case bySplit:
		return fmt.Sprintf("split %s by %s", m.split, m.sticky)
	case byRandom:
		text := fmt.Sprintf("split %s at random", m.split)
		if m.sticky.From != "" {
			text += fmt.Sprintf(", for want of %s", m.sticky)
		}
		return text
	default:
		return "default: there is no split"
	}
}

// ignored says why the header of r decided nothing; "" if it has none.
func (m *canary) ignored(r *http.Request, x *gateway.Exchange) string {
	values := r.Header[m.header]
	if len(values) == 0 {
		return ""
	}
	what, why := strings.ToLower(m.header), ""
	switch {
	case len(values) > 1:
		why = fmt.Sprintf("it is given %d times", len(values))
	case m.asked(values[0]) == nil:
		what, why = what+": "+values[0], "it means no arm"
	case !m.mayForce(x.Client):
		what, why = what+": "+values[0], fmt.Sprintf("%s is not in allow_from", x.Client)
	default:
		what, why = what+": "+values[0], "the cookie comes first"
	}
	return fmt.Sprintf("%s is ignored, %s; ", what, why)
}
