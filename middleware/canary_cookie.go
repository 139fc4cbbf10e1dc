package middleware

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
)

// pinMaxAge is how long a client stays with its arm before it is drawn again.
const pinMaxAge = 30 * 24 * time.Hour

// pinCookie remembers the arm of a client. It pins every arm, not only the
// canary: a cookie that is set on canary answers alone gathers all clients
// there in time. There are so few arms that all cookies are made beforehand.
type pinCookie struct {
	name string // "" is no cookie
	pins []pin
}

// pin is the cookie of one arm.
type pin struct {
	arm           *canaryArm
	value         string // with the signature, if there is one
	plain, secure string // Set-Cookie for http and https
}

// newPinCookie makes the cookies of all arms that can be drawn; those of others
// pin nobody. The salt is part of what is signed, so that a cookie of one split
// is worth nothing to another.
func newPinCookie(name string, secret gateway.Secret, salt string, arms []*canaryArm) pinCookie {
	c := pinCookie{name: name}
	if name == "" {
		return c
	}
	for _, arm := range arms {
		if arm.weight == 0 {
			continue
		}
		p := pin{arm: arm, value: arm.name}
		if secret != "" {
			p.value += "~" + sign(secret.Reveal(), salt+"\x00"+arm.name)
		}
		cookie := http.Cookie{ //nolint:gosec // Secure below, on HTTPS; a browser would not send it back otherwise
			Name: name, Value: p.value, Path: "/", MaxAge: int(pinMaxAge / time.Second),
			HttpOnly: true, SameSite: http.SameSiteLaxMode,
		}
		p.plain = cookie.String()
		cookie.Secure = true
		p.secure = cookie.String()
		c.pins = append(c.pins, p)
	}
	return c
}

func sign(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// read is the arm that a request is pinned to, or nil. A cookie that is forged
// or sent twice counts as absent.
func (c *pinCookie) read(h http.Header) *canaryArm {
	if c.name == "" {
		return nil
	}
	value, ok := onlyCookie(h, c.name)
	if !ok {
		return nil
	}
	for i := range c.pins {
		if subtle.ConstantTimeCompare([]byte(value), []byte(c.pins[i].value)) == 1 {
			return c.pins[i].arm
		}
	}
	return nil
}

// set makes the answer with header h pin its client to arm.
func (c *pinCookie) set(h http.Header, arm *canaryArm, scheme string) {
	for i := range c.pins {
		if c.pins[i].arm != arm {
			continue
		}
		cookie := c.pins[i].plain
		if scheme == "https" {
			cookie = c.pins[i].secure
		}
		h.Add("Set-Cookie", cookie)
		h.Add("Cache-Control", noCacheSetCookie)
	}
}

// noCacheSetCookie keeps caches from giving the cookie of one client to all their
// readers with the answer that set it (RFC 9111, 7.3).
const noCacheSetCookie = `no-cache="Set-Cookie"`

// onlyCookie is the value of a cookie; ok is false when there is none, or more
// than one. It takes the value as it stands, and allocates nothing.
func onlyCookie(h http.Header, name string) (value string, ok bool) {
	for _, line := range h["Cookie"] {
		for pair := range strings.SplitSeq(line, ";") {
			key, v, _ := strings.Cut(strings.Trim(pair, " \t"), "=")
			if strings.TrimRight(key, " \t") != name {
				continue
			}
			if ok {
				return "", false
			}
			value, ok = v, true
		}
	}
	return value, ok
}
