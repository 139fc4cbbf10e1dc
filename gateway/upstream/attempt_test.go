package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
)

func TestRoundTrip(t *testing.T) {
	type seen struct{ Method, URI, Host, Proto, Coding, Body string }
	var got seen
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = seen{r.Method, r.RequestURI, r.Host, r.Proto, r.Header.Get("Accept-Encoding"), string(body)}
		w.Header().Set("Location", "http://internal:8080/")
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(http.StatusFound) // X20: must not be followed
		_, _ = io.WriteString(w, "there")
		w.Header().Set("X-Sum", "5")
	}
	f := func(protocol, host string, server func(*http.Server), want seen) {
		t.Helper()
		t.Run(protocol, func(t *testing.T) {
			addr := serve(t, handler, server)
			c := start(t, at(addr), func(o *Options) {
				o.Protocol, o.Host, o.TLS = protocol, host, &tls.Config{RootCAs: roots(t), ServerName: "example.com"}
			})
			r, x := request(t, "POST", strings.NewReader("body"))
			r.URL.Path, r.URL.RawPath = "/a/b", "/a%2Fb"
			before, url := *r, *r.URL
			resp, err := c.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := read(t, resp)
			if err != nil || body != "there" || resp.StatusCode != http.StatusFound || resp.Trailer.Get("X-Sum") != "5" {
				t.Errorf("%d %q %v, %v", resp.StatusCode, body, resp.Trailer, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the endpoint saw (-want +got):\n%s", diff)
			}
			if r.Host != before.Host || r.Body != before.Body || *r.URL != url {
				t.Error("the request was modified")
			}
			if x.Endpoint == nil || x.Endpoint.Addr != addr || x.Attempts != 1 {
				t.Errorf("endpoint %v, %d attempts", x.Endpoint, x.Attempts)
			}
			if x.UpstreamStart.IsZero() || x.UpstreamHeaders.Before(x.UpstreamStart) || x.UpstreamEnd.Before(x.UpstreamHeaders) {
				t.Errorf("times %v, %v, %v", x.UpstreamStart, x.UpstreamHeaders, x.UpstreamEnd)
			}
			wantStats(t, c, 1, 0)
			if c.HTTP2() != (protocol != "http") {
				t.Errorf("HTTP2: %v", c.HTTP2())
			}
		})
	}
	f("http", "", nil, seen{"POST", "/a%2Fb?x=1", "api.example.com", "HTTP/1.1", "", "body"})
	f("h2c", "orders.internal", unencryptedHTTP2, seen{"POST", "/a%2Fb?x=1", "orders.internal", "HTTP/2.0", "", "body"})
	f("https", "", withTLS(t), seen{"POST", "/a%2Fb?x=1", "api.example.com", "HTTP/2.0", "", "body"})
}

func unencryptedHTTP2(s *http.Server) {
	s.Protocols = new(http.Protocols)
	s.Protocols.SetUnencryptedHTTP2(true)
}

// certificate is the one that net/http/httptest brings along.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return s.TLS.Certificates[0], pool
}

func roots(t testing.TB) *x509.CertPool {
	t.Helper()
	_, pool := certificate(t)
	return pool
}

func withTLS(t testing.TB) func(*http.Server) {
	t.Helper()
	cert, _ := certificate(t)
	return func(s *http.Server) { s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}} }
}

func TestTLSFailures(t *testing.T) {
	handler := func(http.ResponseWriter, *http.Request) { t.Error("the request went through") }
	f := func(name string, server func(*http.Server), client *tls.Config) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := start(t, at(serve(t, handler, server)), func(o *Options) { o.Protocol, o.TLS = "https", client })
			r, _ := request(t, "GET", nil)
			_, err := c.RoundTrip(r)
			wantError(t, err, http.StatusBadGateway, "upstream_tls", gateway.CauseNetwork)
			wantStats(t, c, 1, 1)
		})
	}
	f("fault 44: unknown authority", withTLS(t), nil)
	f("fault 44: another name", withTLS(t), &tls.Config{RootCAs: roots(t), ServerName: "other.test"})
	f("no common version", func(s *http.Server) {
		withTLS(t)(s)
		s.TLSConfig.MinVersion = tls.VersionTLS10
		s.TLSConfig.MaxVersion = tls.VersionTLS11
	}, &tls.Config{RootCAs: roots(t)})
	f("client certificate missing", func(s *http.Server) {
		withTLS(t)(s)
		s.TLSConfig.MaxVersion = tls.VersionTLS12 // with 1.3 the alert follows the handshake, and is a reset
		s.TLSConfig.ClientAuth = tls.RequireAnyClientCert
	}, &tls.Config{RootCAs: roots(t)})
	f("no TLS at all", nil, &tls.Config{RootCAs: roots(t)})
}

func TestHTTP2Failures(t *testing.T) {
	f := func(name string, handler http.HandlerFunc, change func(*http.Request), status int, reason string, cause gateway.Cause, failures uint64) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c := start(t, at(serve(t, handler, func(s *http.Server) {
				unencryptedHTTP2(s)
				s.MaxHeaderBytes = 8 << 10
			})), func(o *Options) { o.Protocol = "h2c" })
			r, _ := request(t, "GET", nil)
			resp, err := c.RoundTrip(r) // so that the endpoint's settings are known
			if err == nil {
				_, err = read(t, resp)
			}
			if err == nil {
				r, _ = request(t, "GET", nil)
				change(r)
				_, err = c.RoundTrip(r)
			}
			wantError(t, err, status, reason, cause)
			if s := c.Endpoints()[0]; s.Failures != failures || s.Active != 0 {
				t.Errorf("%d failures, %d active", s.Failures, s.Active)
			}
		})
	}
	fine := func(http.ResponseWriter, *http.Request) {}
	f("stream reset before the head", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, nil,
		http.StatusBadGateway, "upstream_reset", gateway.CauseUpstream, 1)
	f("stream reset in the answer", func(w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}, nil, http.StatusBadGateway, "upstream_truncated", gateway.CauseUpstream, 1)
	f("more header than the endpoint takes", fine, func(r *http.Request) { r.Header.Set("X", strings.Repeat("x", 1<<20)) },
		http.StatusRequestHeaderFieldsTooLarge, "header_too_large", gateway.CauseClient, 0)
	f("an upgrade", fine, func(r *http.Request) {
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
	}, http.StatusNotImplemented, "upgrade_unsupported", gateway.CauseClient, 0)
}

func TestRequestsThatCannotBeSent(t *testing.T) {
	c := start(t, at("127.0.0.1:1"), nil)
	f := func(name string, change func(*http.Request)) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			r, _ := request(t, "POST", strings.NewReader("x"))
			change(r)
			_, err := c.RoundTrip(r)
			wantError(t, err, http.StatusBadRequest, "bad_request", gateway.CauseClient)
			if n := c.Endpoints()[0].Failures; n != 0 {
				t.Errorf("the endpoint is blamed %d times", n)
			}
		})
	}
	f("trailer name", func(r *http.Request) { r.Trailer = http.Header{"A B": nil} })
	f("header name", func(r *http.Request) { r.Header["A B"] = []string{""} })
	f("header value", func(r *http.Request) { r.Header["A"] = []string{"\x00"} })
	f("method", func(r *http.Request) { r.Method = "G T" })
}

func TestUpgrade(t *testing.T) {
	c := start(t, at(listen(t, func(conn net.Conn) {
		br := bufio.NewReader(conn)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_, _ = io.Copy(conn, br) // echo until the other side has no more to say
		_, _ = io.WriteString(conn, "bye")
	})), nil)
	r, _ := request(t, "GET", nil)
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	conn, ok := resp.Body.(interface {
		io.ReadWriteCloser
		CloseWrite() error
	})
	if !ok {
		t.Fatalf("the body is a %T", resp.Body)
	}
	if _, err := io.WriteString(conn, "ping "); err != nil {
		t.Error(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != "ping bye" {
		t.Errorf("read %q, %v", got, err)
	}
	if n := c.Endpoints()[0].Active; n != 1 {
		t.Errorf("%d active before the tunnel is closed", n)
	}
	conn.Close()
	wantStats(t, c, 1, 0)
}

func TestBodylessAnswersEndAtOnce(t *testing.T) {
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "5")
		if r.Method != http.MethodHead {
			w.Header().Del("Content-Length")
			w.WriteHeader(http.StatusNoContent)
		}
	}, nil)
	c := start(t, at(addr), nil)
	for i, method := range []string{"HEAD", "GET"} {
		r, x := request(t, method, nil)
		resp, err := c.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if x.UpstreamEnd.IsZero() {
			t.Errorf("%s: the exchange does not know that it has ended", method)
		}
		wantStats(t, c, uint64(i+1), 0)
		resp.Body.Close()
	}
}

func TestRequestWithoutExchange(t *testing.T) {
	c := start(t, at(serve(t, func(http.ResponseWriter, *http.Request) {}, nil)), nil)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestSecondAttemptKeepsTheStart(t *testing.T) {
	c := start(t, at(serve(t, func(http.ResponseWriter, *http.Request) {}, nil)), nil)
	r, x := request(t, "GET", nil)
	x.UpstreamStart, x.Attempts = time.Unix(1, 0), 1
	resp, err := c.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !x.UpstreamStart.Equal(time.Unix(1, 0)) || x.Attempts != 2 {
		t.Errorf("start %v, %d attempts", x.UpstreamStart, x.Attempts)
	}
}

// What an attempt costs beside the transport: the attempt itself, its context
// (the cancelable one and its cancel function), the copy of the request, the
// timer and the method value that it calls.
func TestAllocationsOfAnAttempt(t *testing.T) {
	c := start(t, at("10.0.0.1:80"), nil)
	r, x := request(t, "POST", strings.NewReader("body"))
	inner := io.NopCloser(&endless{})
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}}}
	buf := make([]byte, 64)
	n := testing.AllocsPerRun(200, func() {
		ep, err := c.acquire(t.Context(), x)
		if err != nil {
			t.Fatal(err)
		}
		a, _ := c.begin(x, ep, r)
		resp.Body = inner
		if err := a.take(r, resp); err != nil {
			t.Fatal(err)
		}
		for range 100 { // reading costs none
			_, _ = resp.Body.Read(buf)
		}
		_ = resp.Body.Close()
	})
	if n > 6 {
		t.Errorf("an attempt allocates %v times, want at most 6", n)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func BenchmarkRoundTrip(b *testing.B) {
	addr := serve(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }, nil)
	run := func(name string, rt http.RoundTripper) {
		b.Run(name, func(b *testing.B) {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+addr+"/", http.NoBody)
			if err != nil {
				b.Fatal(err)
			}
			r = gateway.WithExchange(r, &gateway.Exchange{})
			b.ReportAllocs()
			for b.Loop() {
				resp, err := rt.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	c := start(b, at(addr), nil)
	run("transport", c.pool.current.Load())
	run("cluster", c)
}

// BenchmarkAttempt is what the cluster adds to a transport.
func BenchmarkAttempt(b *testing.B) {
	c := start(b, at("10.0.0.1:80", "10.0.0.2:80"), func(o *Options) { o.Subsets = map[string]Selector{"all": {}} })
	r, x := request(b, "GET", http.NoBody)
	x.Subset = "all"
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/plain"}}}
	inner := io.NopCloser(strings.NewReader(""))
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		ep, err := c.acquire(b.Context(), x)
		if err != nil {
			b.Fatal(err)
		}
		a, _ := c.begin(x, ep, r)
		resp.Body = inner
		if err := a.take(r, resp); err != nil {
			b.Fatal(err)
		}
		_, _ = resp.Body.Read(buf)
		_ = resp.Body.Close()
	}
}
