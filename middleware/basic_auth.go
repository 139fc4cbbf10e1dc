package middleware

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
)

func init() {
	kind.Add(Kinds, "basic_auth", BasicAuthConfig{Realm: "restricted", Cache: time.Minute}, newBasicAuth)
}

// BasicAuthConfig lets through who gives the name and the password of a user that is
// listed (RFC 7617). The name is the proven subject for what comes after the block
// in `use`.
//
//	basic_auth:
//	  users:
//	    ada: $2a$10$thupCp/P/KrYBkuwuFggU.mNTuQ/F81nQPR8HpvkNmXfGFaAwbVWy
//	  header: x-user
//
// Passwords are kept as bcrypt (`htpasswd -nB -C 12 ada`) or Argon2id in the PHC form
// (`$argon2id$v=19$m=65536,t=3,p=4$...`). MD5, SHA-1, crypt and plain text are refused.
// Of bcrypt passwords only the first 72 bytes count, so longer ones never fit.
//
// To check a password takes a core for some 50 ms, on purpose. What has been found
// right is remembered for `cache`, and the process checks on half of its cores at
// most: when the line for them is full, the answer is 503 with Retry-After. A limit
// for each client before the block keeps guessers from filling the line.
type BasicAuthConfig struct {
	// Users are names with the hashes of their passwords, beside those of the file.
	// Default: none.
	Users map[string]gateway.Secret `yaml:"users"`
	// File is in the form of htpasswd: a line for each user, `name:hash`; lines that
	// begin with # are comments. The configuration is reloaded when it changes, and
	// one with a mistake is refused. At most 8MiB. Default: none.
	File kind.Path `yaml:"file"`
	// Realm is what browsers show when they ask for the password. Default: restricted.
	Realm string `yaml:"realm"`
	// Header tells the upstream the name of the user under the name of this header.
	// Nobody else can set it, on any route. Default: none.
	Header string `yaml:"header"`
	// Cache is how long a password that was right need not be checked again, at most
	// 1h; 0s checks with every request. A changed password counts at once. Default: 1m.
	Cache time.Duration `yaml:"cache"`
	// Forward passes Authorization on to the upstream. Default: false.
	Forward bool `yaml:"forward"`
}

// Files implements kind.Filer.
func (c BasicAuthConfig) Files() []string { return filesOf(c.File) }

const maxBasicCache = time.Hour

// Validate checks everything but the file.
func (c BasicAuthConfig) Validate() error {
	var errs []error
	if len(c.Users) == 0 && c.File == "" {
		errs = append(errs, kind.At("", "knows nobody; list users, or name a file"))
	}
	for _, name := range sortedKeys(c.Users) {
		at := "users." + name
		if err := validateUser(name); err != nil {
			errs = append(errs, kind.At(at, "%w", err))
		}
		if _, err := parsePasswordHash(c.Users[name].Reveal()); err != nil {
			errs = append(errs, kind.At(at, "%w", err))
		}
	}
	errs = append(errs, validateRealm(c.Realm))
	if c.Header != "" {
		errs = append(errs, validateHeaderName("header", c.Header))
		if strings.EqualFold(c.Header, "authorization") {
			errs = append(errs, kind.At("header", "is where the password stands"))
		}
	}
	if c.Cache > maxBasicCache {
		errs = append(errs, kind.At("cache", "is longer than 1h, in which a password could not be taken away"))
	}
	return errors.Join(errs...)
}

// validateUser refuses names that nobody can send, or that no header can hold.
func validateUser(name string) error {
	switch {
	case name == "" || !isVisible(name):
		return fmt.Errorf("%q is no name; write printable ASCII", name)
	case strings.Contains(name, ":"):
		return fmt.Errorf("%q holds a colon, which ends a name", name)
	}
	return nil
}

// basicAuth is the running middleware.
type basicAuth struct {
	users     *userTable
	passwords *passwordChecker
	cache     time.Duration
	header    string // canonical; "" for none
	forward   bool
	challenge string
}

func newBasicAuth(c BasicAuthConfig, env Env) (gateway.Step, error) {
	users, err := usersOf(c, env)
	if err != nil {
		return gateway.Step{}, err
	}
	passwords, err := keep.Get(env.Keep, "basic_auth/passwords", func() (*passwordChecker, error) {
		return newPasswordChecker(checkingCores()), nil
	})
	if err != nil {
		return gateway.Step{}, err
	}
	m := &basicAuth{
		users: users, passwords: passwords, cache: c.Cache, forward: c.Forward,
		challenge: `Basic realm="` + c.Realm + `", charset="UTF-8"`,
	}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, Proves: []gateway.Identity{gateway.Subject}}
	if c.Header != "" {
		m.header = http.CanonicalHeaderKey(c.Header)
		step.Owns = []string{m.header}
	}
	return step, nil
}

// usersOf makes the table of a block. Blocks and reloads share one for equal files.
func usersOf(c BasicAuthConfig, env Env) (*userTable, error) {
	if c.File == "" {
		return newUserTable(c.Users, "", nil)
	}
	text, err := readAccounts(string(c.File))
	if err != nil {
		return nil, kind.At("file", "%w", err)
	}
	if len(c.Users) > 0 {
		return newUserTable(c.Users, string(c.File), text)
	}
	return keep.Get(env.Keep, fileKey("basic_auth", string(c.File), text), func() (*userTable, error) {
		return newUserTable(nil, string(c.File), text)
	})
}

func (m *basicAuth) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var buf [maxBasic]byte
		c, password, err := m.read(r, buf[:])
		if err == nil {
			err = m.check(r.Context(), c, password)
		}
		if err != nil {
			gateway.Fail(w, r, err)
			return
		}
		m.tell(gateway.ExchangeOf(r), c.user)
		next.ServeHTTP(w, r)
	})
}

// maxBasic bounds what is decoded and hashed for a caller who has not proven anything.
const maxBasic = 1 << 10

// read finds out who r claims to come from. The password is part of buf.
func (m *basicAuth) read(r *http.Request, buf []byte) (c claim, password []byte, err *gateway.Error) {
	lines := r.Header["Authorization"]
	if len(lines) == 0 {
		return c, nil, m.refuse("no_credentials", "a name and a password are required")
	}
	decoded, ok := decodeBasic(buf, lines)
	colon := bytes.IndexByte(decoded, ':')
	if !ok || colon < 0 {
		return c, nil, m.refuse("bad_credentials", "the credentials are not Basic ones")
	}
	c.user, c.known = m.users.find(decoded[:colon])
	if c.name = c.user.name; !c.known {
		c.name = string(decoded[:colon])
	}
	return c, decoded[colon+1:], nil
}

// decodeBasic decodes the one credential of an Authorization header.
func decodeBasic(into []byte, lines []string) ([]byte, bool) {
	const scheme = "Basic "
	if len(lines) != 1 || len(lines[0]) < len(scheme) || !strings.EqualFold(lines[0][:len(scheme)], scheme) {
		return nil, false
	}
	encoded := strings.TrimLeft(lines[0][len(scheme):], " ")
	var src [maxBasic]byte
	if len(encoded) > len(src) || base64.StdEncoding.DecodedLen(len(encoded)) > len(into) {
		return nil, false
	}
	n, err := base64.StdEncoding.Decode(into, src[:copy(src[:], encoded)])
	return into[:n], err == nil
}

// check says what is wrong with a password, and takes its turn to find out.
func (m *basicAuth) check(ctx context.Context, c claim, password []byte) *gateway.Error {
	fits, err := m.passwords.check(ctx, c, password, m.cache)
	switch {
	case errors.Is(err, errTooManyPasswords):
		return &gateway.Error{
			Status: http.StatusServiceUnavailable, Reason: "auth_busy", Msg: "too many passwords are being checked",
			Cause: gateway.CauseGateway, RetryAfter: time.Second,
		}
	case err != nil:
		return &gateway.Error{Status: gateway.StatusClientClosed, Reason: "client_closed", Msg: "the client left", Cause: gateway.CauseClient, Err: err}
	case !fits:
		return m.wrong()
	}
	return nil
}

func (m *basicAuth) wrong() *gateway.Error {
	return m.refuse("bad_credentials", "name or password is wrong")
}

func (m *basicAuth) refuse(reason, msg string) *gateway.Error {
	return &gateway.Error{
		Status: http.StatusUnauthorized, Reason: reason, Msg: msg, Cause: gateway.CauseClient, Challenge: m.challenge,
	}
}

// tell says to later steps and to the upstream who it is.
func (m *basicAuth) tell(x *gateway.Exchange, u *user) {
	x.Subject = u.name
	if m.header != "" {
		x.SetUpstreamHeader(m.header, u.name)
	}
	if !m.forward {
		x.DropUpstreamHeader("Authorization")
	}
}

func (m *basicAuth) explain(r *http.Request, x *gateway.Exchange) string {
	c, password, err := m.read(r, make([]byte, maxBasic))
	if err == nil {
		if fits := c.user.hash.fits(password); !fits || !c.known {
			err = m.wrong()
		}
	}
	if err != nil {
		x.Status = err.Status
		return fmt.Sprintf("answers %d: %s", err.Status, err.Msg)
	}
	m.tell(x, c.user)
	return fmt.Sprintf("the password proves the subject %q", c.user.name)
}
