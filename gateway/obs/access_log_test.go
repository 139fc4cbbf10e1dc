package obs

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

func logged() (*http.Request, *gateway.Exchange, time.Time) {
	r := &http.Request{
		Method: "GET", Proto: "HTTP/1.1", Host: "api.example.com",
		URL:    &url.URL{Path: "/v1/orders/7", RawQuery: "a=1&token=s3cret&b=2"},
		Header: http.Header{"User-Agent": {"curl/8"}, "Referer": {"https://example.com/x?y=z"}},
	}
	x := exchange()
	x.ID, x.Client, x.Listener, x.Scheme = "id1", netip.MustParseAddr("192.0.2.1"), "web", "https"
	x.Route, x.ArmBy, x.Subject = "orders", "header", "alice"
	x.Endpoint = &gateway.Endpoint{Target: gateway.Target{Addr: "10.0.0.7:9000"}}
	x.Err = &gateway.Error{Status: 502, Reason: "upstream_reset", Cause: gateway.CauseUpstream, Err: errors.New("read: reset")}
	return r, x, epoch.Add(4 * time.Millisecond)
}

func TestJSONLine(t *testing.T) {
	r, x, end := logged()
	want := `{"time":"2026-01-02T03:04:05.682Z","id":"id1","client":"192.0.2.1","listener":"web","proto":"HTTP/1.1","scheme":"https",` +
		`"method":"GET","host":"api.example.com","path":"/v1/orders/7","query":"a=1&token=[redacted]&b=2",` +
		`"status":200,"bytes_in":3,"bytes_out":5,"duration_ms":4.000,"gateway_ms":1.000,"upstream_ms":3.000,"ttfb_ms":1.900,` +
		`"route":"orders","upstream":"orders","arm":"canary","arm_by":"header","endpoint":"10.0.0.7:9000","attempts":1,"subject":"alice",` +
		`"user_agent":"curl/8","referer":"https://example.com/x","reason":"upstream_reset","cause":"upstream","error":"read: reset"}`
	if diff := cmp.Diff(want, string(appendJSON(nil, r, x, end))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = `{"time":"2026-01-02T03:04:05.678Z","status":0,"bytes_in":0,"bytes_out":0,"duration_ms":0.000,"gateway_ms":0.000}`
	empty := &http.Request{URL: &url.URL{}}
	if diff := cmp.Diff(want, string(appendJSON(nil, empty, &gateway.Exchange{Start: epoch}, epoch))); diff != "" {
		t.Errorf("empty (-want +got):\n%s", diff)
	}
}

func TestTextLine(t *testing.T) {
	r, x, end := logged()
	want := `2026-01-02T03:04:05.682Z 200 GET         4.000ms api.example.com/v1/orders/7?a=1&token=[redacted]&b=2 orders/canary 10.0.0.7:9000` +
		` client=192.0.2.1 subject=alice id=id1 reason=upstream_reset cause=upstream error="read: reset"`
	if diff := cmp.Diff(want, string(appendText(nil, r, x, end))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want = `2026-01-02T03:04:05.678Z 0             0.000ms  -`
	empty := &http.Request{URL: &url.URL{}}
	if diff := cmp.Diff(want, string(appendText(nil, empty, &gateway.Exchange{Start: epoch}, epoch))); diff != "" {
		t.Errorf("empty (-want +got):\n%s", diff)
	}
}

var hostile = []string{
	"\n{\"level\":\"info\",\"user\":\"admin\"}", "\r\n200 GET /", "\x1b[31mred\x1b[0m", "\x9b31m", "\u009b31m", "\xff\xfe\xc0\xaf",
	"\u2028", "\u2029", "\u202eevil", "\u2066a\u2069\u061c\u200e\u200f", "\x00", "\x7f", `"}{"`, `\`, `\u0022`, "\t\b\f\v", "a b", "\ud7ff\U0001f600", "\xed\xa0\x80", "<script>",
}

func TestInjection(t *testing.T) {
	t.Run("A16", func(t *testing.T) {
		for _, evil := range hostile {
			r := &http.Request{
				Method: evil, Proto: evil, Host: evil, URL: &url.URL{Path: evil, RawQuery: "q=" + evil},
				Header: http.Header{"User-Agent": {evil}, "Referer": {evil}},
			}
			x := &gateway.Exchange{
				ID: evil, Start: epoch, Listener: evil, Scheme: evil, Route: evil, Upstream: evil, Arm: evil, Subject: evil,
				Endpoint: &gateway.Endpoint{Target: gateway.Target{Addr: evil}},
				Err:      &gateway.Error{Reason: evil, Err: errors.New(evil)},
			}
			line := appendJSON(nil, r, x, epoch)
			var fields map[string]any
			if err := json.Unmarshal(line, &fields); err != nil {
				t.Errorf("%q: %v in %s", evil, err, line)
			}
			for _, key := range []string{"id", "listener", "proto", "scheme", "method", "host", "path", "route", "upstream", "arm", "subject", "endpoint", "user_agent", "reason", "error"} {
				if want := string([]rune(evil)); fields[key] != want {
					t.Errorf("%s of %q: %q", key, evil, fields[key])
				}
			}
			harmless(t, line)
			text := appendText(nil, r, x, epoch)
			harmless(t, text)
			columns := strings.Fields(string(appendText(nil, &http.Request{Method: "GET", Host: "h", URL: &url.URL{Path: evil}}, &gateway.Exchange{Start: epoch}, epoch)))
			if len(columns) != 6 {
				t.Errorf("%q makes columns %q", evil, columns)
			}
		}
	})
	t.Run("long fields", func(t *testing.T) {
		for _, unit := range []string{"a", "\x00", "é", "\xff", "&token=x", ";"} {
			long := strings.Repeat(unit, 100_000)
			r := &http.Request{Method: "GET", URL: &url.URL{Path: long, RawQuery: long}, Header: http.Header{"User-Agent": {long}}}
			line := appendJSON(nil, r, &gateway.Exchange{Start: epoch, Err: &gateway.Error{Err: errors.New(strings.Repeat("?", 100_000))}}, epoch)
			if !json.Valid(line) || len(line) > 10*maxField {
				t.Errorf("%q: %d bytes, valid: %v", unit, len(line), json.Valid(line))
			}
			if query := appendQuery(nil, long, appendEscaped); bytes.Contains(query, []byte("token=x")) {
				t.Errorf("secret behind the cut: %s", query)
			}
		}
	})
}

// harmless fails if a terminal or a line reader would act upon the line.
func harmless(t *testing.T, line []byte) {
	t.Helper()
	for _, c := range string(line) {
		if unicode.In(c, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) || c == '\uFFFD' && !strings.Contains(string(line), `\ufffd`) {
			t.Errorf("%q in %q", c, line)
		}
	}
}

func TestRedaction(t *testing.T) {
	query := func(in, want string) {
		t.Helper()
		if got := string(appendQuery(nil, in, appendEscaped)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	t.Run("A17", func(t *testing.T) {
		query("", "")
		query("a=1&b=2", "a=1&b=2")
		query("token=x", "token=[redacted]")
		query("code=x&a=1", "code=[redacted]&a=1")
		query("a=1&ACCESS_TOKEN=x&id_token=y", "a=1&ACCESS_TOKEN=[redacted]&id_token=[redacted]")
		query("api-key=x&api_key=y&apiKey=z", "api-key=[redacted]&api_key=[redacted]&apiKey=[redacted]")
		query("user[password]=x&client_secret=y", "user[password]=[redacted]&client_secret=[redacted]")
		query("X-Amz-Signature=x&sig=y", "X-Amz-Signature=[redacted]&sig=[redacted]")
		query("tok%65n=x&%74oken=y&to%6", "tok%65n=[redacted]&%74oken=[redacted]&to%6")
		query("a=1;token=x;y&b=2", "a=1;token=[redacted]&b=2")
		query("token=x;a=1", "token=[redacted]")
		query("token=x=y", "token=[redacted]")
		query("token", "token")
		query("&&token=x&&", "&&token=[redacted]&&")
		query("tokenizer=gpt&codec=av1&encode=1", "tokenizer=gpt&codec=av1&encode=1")
		query(strings.Repeat("k", 65)+"=x", strings.Repeat("k", 65)+"=[redacted]")

		r, x, end := logged()
		const secret = "s3cret"
		for _, name := range []string{"Authorization", "Cookie", "Proxy-Authorization", "X-Api-Key"} {
			r.Header.Set(name, secret)
		}
		r.Header.Set("Referer", "https://user:"+secret+"@example.com/p?token="+secret+"#access_token="+secret)
		x.Err.Err = &url.Error{Op: "Get", URL: "http://10.0.0.7/?token=" + secret + "&a=1", Err: errors.New("refused")}
		for _, line := range [][]byte{appendJSON(nil, r, x, end), appendText(nil, r, x, end)} {
			if bytes.Contains(line, []byte(secret)) {
				t.Errorf("secret in %s", line)
			}
			if !bytes.Contains(line, []byte(`token=[redacted]&a=1\": refused`)) {
				t.Errorf("error lost in %s", line)
			}
		}
	})
}

func FuzzJSONLine(f *testing.F) {
	for _, evil := range hostile {
		f.Add(evil, "a="+evil+"&token="+evil, evil)
	}
	f.Fuzz(func(t *testing.T, path, query, agent string) {
		r := &http.Request{Method: "GET", URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{"User-Agent": {agent}}}
		line := appendJSON(nil, r, &gateway.Exchange{Start: epoch}, epoch)
		var got struct {
			Path  string `json:"path"`
			Query string `json:"query"`
			Agent string `json:"user_agent"`
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		harmless(t, line)
		harmless(t, appendText(nil, r, &gateway.Exchange{Start: epoch}, epoch))
		same := func(in, out string) {
			in = string([]rune(in))
			if out != in && (len(in) < maxField/6 || !strings.HasSuffix(out, ellipsis)) {
				t.Errorf("%q became %q", in, out)
			}
		}
		same(path, got.Path)
		same(agent, got.Agent)
		if !strings.Contains(got.Query, redacted) {
			same(query, got.Query)
		}
		if values, err := url.ParseQuery(query); err == nil && len(query) < maxField/6 && values.Get("token") != "" && !strings.Contains(got.Query, redacted) {
			t.Errorf("token of %q in %q", query, got.Query)
		}
	})
}
