package pithead_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/middleware"
	"github.com/pithead/pithead/middleware/middlewaretest"
)

const forged = "forged-by-the-client"

// proofs are what the examples of kinds let through, and what the upstream is then
// told. A kind that is not here is tried without: its own tests know what passes.
var proofs = map[string]struct {
	lines string
	told  map[string]string
}{
	"api_key":          {"X-Api-Key: an-example-key-that-nobody-should-use\r\n", map[string]string{"X-Plan": "gold"}},
	"basic_auth":       {"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("ada:open sesame")) + "\r\n", map[string]string{"X-User": "ada"}},
	"jwt":              {"Authorization: Bearer " + token() + "\r\n", map[string]string{"X-User": "ada"}},
	"forward_auth":     {"", map[string]string{"X-User": "ada"}},
	"http_signature":   {signature(), map[string]string{"X-User": "ada"}},
	"security_headers": {"", map[string]string{}}, // a nonce, which nobody can foretell
}

// owning are blocks of kinds whose examples own no header, though the kind can.
var owning = map[string]string{
	"grpc_transcode":       `grpc_transcode: {openapi: orders.openapi.yaml, base_path: /protected, descriptors: {protos: [orders.proto]}, subject: x-caller}`,
	"jwt":                  `jwt: {issuer: "https://id.example.com", audience: orders, secret: "` + tokenSecret + `", algorithms: [HS256], headers: {x-user: sub, X-Roles: roles}}`,
	"http_signature":       `http_signature: {keys: [{id: k, secret: "` + tokenSecret + `", subject: ada}], components: ["@method"], headers: {x-user: subject}}`,
	"oidc":                 `oidc: {issuer: "https://127.0.0.1:1", client_id: a, client_secret: b, redirect_path: /protected/callback, cookie: {keys: ["a secret that is 32 bytes or longer"]}, headers: {x-user: sub}}`,
	"oauth2_introspection": `oauth2_introspection: {endpoint: "https://127.0.0.1:1/check", client: {id: a, secret: b}, audience: orders, headers: {x-user: sub}}`,
}

// answered are paths of blocks that do not answer all of their route.
var answered = map[string]string{"grpc_transcode": "/protected/orders/7"}

// Every header that a middleware says it owns, under every alias of its name, on
// routes with the middleware and on those without: what a client sends there
// never reaches an upstream. Kinds are found by their examples and their source: a
// new one joins by itself if its example owns a header, and is missed if nothing does.
func TestIdentityHeadersCannotBeForged(t *testing.T) {
	infos, err := build.Kinds()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if info.Table != "middleware" {
			continue
		}
		block := owning[info.Name]
		if block == "" {
			_, block = kind.Example(info.Docs[info.Type.Name()])
		}
		owned := ownedBy(t, info.Name, block)
		if _, named := proofs[info.Name]; len(owned) == 0 && (named || canOwn(t, info.Name)) {
			t.Errorf("%s can own headers: give its example one, or write a block with one under owning", info.Name)
		}
		if len(owned) > 0 {
			t.Run(info.Name, func(t *testing.T) { walkIdentity(t, info.Name, block, owned) })
		}
	}
}

// canOwn says whether the source of a kind speaks of headers that it owns.
func canOwn(t *testing.T, name string) bool {
	t.Helper()
	source := middleware.Kinds.Source()
	files, err := fs.Glob(source, name+"*.go")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := fs.ReadFile(source, file)
		if err != nil {
			t.Fatal(err)
		}
		return !strings.HasSuffix(file, "_test.go") && strings.Contains(string(text), "Owns")
	})
}

// exampleWithRoutes is a configuration with the example on one route of two. auth is
// the service that some of them ask.
func exampleWithRoutes(example, upstream, auth string) string {
	whole := wholeConfig("middleware", example)
	whole = strings.Replace(whole, "127.0.0.1:9000", upstream, 1)
	whole = strings.Replace(whole, "{prefix: /}", "{prefix: /protected}", 1)
	if i := strings.Index(whole, "\n  auth: "); i >= 0 { // one that asks nobody
		_, rest, _ := strings.Cut(whole[i+1:], "\n")
		whole = whole[:i+1] + rest
	}
	whole = strings.Replace(whole, "upstreams:\n", "upstreams:\n  auth: {discover: {static: {targets: [\""+auth+"\"]}}}\n", 1)
	return whole + "  - {match: {prefix: /public}, to: orders}\n"
}

// ownedBy builds the step of an example to see what it owns.
func ownedBy(t *testing.T, name, example string) []string {
	t.Helper()
	cfg, err := config.Parse(config.FilesOf(exampleFile, []byte(exampleWithRoutes(example, "127.0.0.1:9000", "127.0.0.1:9001"))))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	k, _ := middleware.Kinds.Get(name)
	settings, err := k.Decode(cfg.Routes[0].Use[0].Decode)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	orders := middlewaretest.NewCluster("orders", "stable", "canary")
	env := middlewaretest.Env(t, orders)
	env.Match = middleware.Match{Prefix: "/protected"}
	env.Upstream = func(string) (gateway.Cluster, bool) { return orders, true }
	step, err := settings.Build(env)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return step.Owns
}

const tokenSecret = "a-secret-of-at-least-thirty-two-bytes"

// token is what the block of jwt lets through.
func token() string {
	encode := base64.RawURLEncoding.EncodeToString
	now := time.Now().Unix()
	signed := encode([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." +
		encode(fmt.Appendf(nil, `{"iss":"https://id.example.com","aud":"orders","sub":"ada","iat":%d,"exp":%d}`, now, now+3600))
	mac := hmac.New(sha256.New, []byte(tokenSecret))
	mac.Write([]byte(signed))
	return signed + "." + encode(mac.Sum(nil))
}

// signature is what the block of http_signature lets through.
func signature() string {
	params := fmt.Sprintf(`("@method");created=%d;keyid="k"`, time.Now().Unix())
	mac := hmac.New(sha256.New, []byte(tokenSecret))
	mac.Write([]byte("\"@method\": GET\n\"@signature-params\": " + params))
	return "Signature-Input: s=" + params + "\r\nSignature: s=:" + base64.StdEncoding.EncodeToString(mac.Sum(nil)) + ":\r\n"
}

// aliasesOf are spellings that some server takes for name, as lines of a request.
func aliasesOf(name string) map[string]string {
	line := func(name string) string { return name + ": " + forged + "\r\n" }
	odd := []byte(strings.ToLower(name))
	for i := 1; i < len(odd); i += 2 {
		odd[i] = strings.ToUpper(string(odd[i]))[0]
	}
	return map[string]string{
		"canonical":               line(name),
		"I16 lower case":          line(strings.ToLower(name)),
		"I16 upper case":          line(strings.ToUpper(name)),
		"I16 odd case":            line(string(odd)),
		"underscores":             line(strings.ReplaceAll(name, "-", "_")),
		"one underscore":          line(strings.Replace(name, "-", "_", 1)),
		"lower with underscores":  line(strings.ToLower(strings.ReplaceAll(name, "-", "_"))),
		"dots":                    line(strings.ReplaceAll(name, "-", ".")),
		"other token bytes":       line(strings.ReplaceAll(name, "-", "~")),
		"twice":                   line(name) + line(strings.ToLower(name)),
		"empty, then forged":      name + ":\r\n" + line(name),
		"space before the colon":  name + " : " + forged + "\r\n",
		"folded":                  "X-Harmless: a\r\n " + name + ": " + forged + "\r\n",
		"I02 named in Connection": line(name) + "Connection: " + name + "\r\n",
		"I03 named in odd case":   line(name) + "connection: close, " + strings.ToLower(name) + "\r\n",
		"named by an alias":       line(name) + "Connection: " + strings.ReplaceAll(name, "-", "_") + "\r\n",
		"I01 named, not sent":     "Connection: " + name + ", X-Forwarded-For\r\n",
		"announced as a trailer":  line(name) + "Trailer: " + name + "\r\n",
	}
}

// walkIdentity sends every alias of every owned header to both routes.
func walkIdentity(t *testing.T, name, example string, owned []string) {
	got := make(chan http.Header, 10) // more than ever come
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		for name, values := range r.Trailer {
			r.Header["Trailer "+name] = values
		}
		got <- r.Header
	}))
	upstream.Config.Protocols = new(http.Protocols)
	upstream.Config.Protocols.SetHTTP1(true)
	upstream.Config.Protocols.SetUnencryptedHTTP2(true)
	upstream.Start()
	defer upstream.Close()
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-User", "ada") }))
	defer auth.Close()
	web := serveExample(t, exampleWithRoutes(example, upstream.Listener.Addr().String(), auth.Listener.Addr().String()))
	proof, path := proofs[name], cmp.Or(answered[name], "/protected")
	for _, header := range owned {
		for alias, lines := range aliasesOf(header) {
			for _, r := range []struct{ row, path, lines string }{
				{"I12 with a proof", path, proof.lines + lines}, {"without a proof", path, lines}, {"I13 public route", "/public", lines},
			} {
				t.Run(header+"/"+alias+"/"+r.row, func(t *testing.T) {
					status := askRaw(t, web, r.path, r.lines)
					select {
					case h := <-got:
						checkNotForged(t, h)
						if r.path == path && r.lines == proof.lines+lines {
							checkTold(t, h, proof.told)
						}
					default:
						if status < 400 || status >= 500 {
							t.Errorf("%d, and the upstream got nothing", status)
						}
					}
				})
			}
		}
	}
	if proof.lines != "" {
		askRaw(t, web, path, proof.lines)
		checkTold(t, <-got, proof.told) // so that the walk has not only seen refusals
	}
}

func checkNotForged(t *testing.T, h http.Header) {
	t.Helper()
	for name, values := range h {
		if name != "X-Harmless" && slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, forged) }) {
			t.Errorf("the upstream got %s: %s", name, values)
		}
	}
}

func checkTold(t *testing.T, h http.Header, told map[string]string) {
	t.Helper()
	for name, value := range told {
		if all := h.Values(name); len(all) != 1 || all[0] != value {
			t.Errorf("the upstream was told %s: %q, want %q", name, all, value)
		}
	}
}

// serveExample serves a configuration as the server would.
func serveExample(t *testing.T, text string) string {
	t.Helper()
	cfg, err := config.Parse(config.FilesOf(exampleFile, []byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	metrics := obs.NewMetrics(obs.Build{})
	snap, err := build.Compile(cfg, build.Env{Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler), Metrics: metrics})
	if err != nil {
		t.Fatal(err)
	}
	snap.Start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // steps may wait for others' servers
	defer cancel()
	snap.Wait(ctx)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &gateway.Exchange{ID: "test", Start: time.Now(), Client: netip.MustParseAddr("192.0.2.1")}
		snap.ServeHTTP(w, gateway.WithExchange(r, x))
		if x.Route != "" {
			metrics.Route(x.Route).End(x, r.Method, time.Now())
		}
	}))
	t.Cleanup(func() {
		web.Close()
		if err := snap.Close(); err != nil {
			t.Error(err)
		}
	})
	return web.Listener.Addr().String()
}

// askRaw sends lines as they are, with a body in chunks when they announce trailers.
func askRaw(t *testing.T, addr, path, lines string) (status int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	request := "GET " + path + " HTTP/1.1\r\nHost: api.example.com\r\n" + lines
	if _, announced, ok := strings.Cut(lines, "Trailer: "); ok {
		name, _, _ := strings.Cut(announced, "\r\n")
		request += "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + name + ": " + forged + "\r\n"
	}
	if _, err := fmt.Fprint(conn, request, "\r\n"); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	return res.StatusCode
}
