package middleware

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

// pinMaxAge is how long a client stays with its arm without a visit.
const pinMaxAge = 30 * 24 * time.Hour

// pinCookie remembers the arm of a client. It pins every arm, not only the
// canary: a cookie that is set on canary answers alone gathers all clients
// there in time.
type pinCookie struct {
	name   string // "" is no cookie
	secret []byte // nil: not signed
	salt   string // part of what is signed, so that a cookie of one split is worth nothing to another
}

func newPinCookie(name string, secret gateway.Secret, salt string) pinCookie {
	c := pinCookie{name: name, salt: salt}
	if secret != "" {
		c.secret = []byte(secret.Reveal())
	}
	return c
}

func (c pinCookie) signed() bool { return c.secret != nil }

// read is the arm's name in the cookie. A cookie that is forged or sent twice
// counts as absent.
func (c pinCookie) read(r *http.Request) (arm string, ok bool) {
	cookies := r.CookiesNamed(c.name)
	if len(cookies) != 1 {
		return "", false
	}
	if c.secret == nil {
		return cookies[0].Value, true
	}
	arm, sig, found := strings.Cut(cookies[0].Value, "~")
	return arm, found && hmac.Equal([]byte(sig), []byte(c.sign(arm)))
}

func (c pinCookie) write(x *gateway.Exchange) string {
	value := x.Arm
	if c.secret != nil {
		value += "~" + c.sign(x.Arm)
	}
	cookie := http.Cookie{ //nolint:gosec // Secure on HTTPS; a browser would not send it back otherwise
		Name: c.name, Value: value, Path: "/", MaxAge: int(pinMaxAge / time.Second),
		HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: x.Scheme == "https",
	}
	return cookie.String()
}

func (c pinCookie) sign(arm string) string {
	mac := hmac.New(sha256.New, c.secret)
	mac.Write([]byte(c.salt + "\x00" + arm))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
