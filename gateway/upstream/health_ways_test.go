package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wellAfterAMinute runs checks against one endpoint in memory.
func wellAfterAMinute(t *testing.T, name string, h HealthOptions, want bool, change func(*Options), handle func(net.Conn)) {
	t.Helper()
	bubble(t, name, func(t *testing.T) {
		c := piped(t, handle, func(o *Options) {
			o.Health = &h
			change(o)
		})
		after(time.Minute)
		if got := c.Healthy("") == 1; got != want {
			t.Errorf("healthy: %v", got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestHealthOverGRPC(t *testing.T) {
	var asked atomic.Value
	answer := func(message, status string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			asked.Store([]string{r.Method, r.RequestURI, r.Proto, r.Header.Get("Content-Type"), r.Header.Get("Te"), r.Header.Get("Grpc-Timeout"), r.Host, string(body)})
			w.Header().Set("Content-Type", "application/grpc")
			if message == "" {
				w.Header().Set("Grpc-Status", status) // trailers only
				return
			}
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = io.WriteString(w, message)
			w.Header().Set("Grpc-Status", status)
		}
	}
	f := func(name, message, status string, want bool) {
		t.Helper()
		wellAfterAMinute(t, name, HealthOptions{GRPC: &GRPCOptions{"shop.Orders"}, Host: "orders.internal"}, want, h2(answer(message, status)), nil)
	}
	f("SERVING", "\x00\x00\x00\x00\x02\x08\x01", "0", true)
	if diff := asked.Load().([]string); !slices.Equal(diff, []string{
		"POST", "/grpc.health.v1.Health/Check", "HTTP/2.0", "application/grpc", "trailers", "3000m", "orders.internal",
		"\x00\x00\x00\x00\x0d\x0a\x0bshop.Orders",
	}) {
		t.Errorf("asked %q", diff)
	}
	f("SERVING with fields of a later version", "\x00\x00\x00\x00\x18\x12\x03abc\x1d1234\x218digits.\x28\x96\x01\x08\x01", "0", true)
	f("NOT_SERVING", "\x00\x00\x00\x00\x02\x08\x02", "0", false)
	f("no status is UNKNOWN", "\x00\x00\x00\x00\x00", "0", false)
	f("an unknown service", "", "5", false)
	f("an error after SERVING", "\x00\x00\x00\x00\x02\x08\x01", "13", false)
	f("a frame that is cut off", "\x00\x00\x00\x00\x03\x08\x01", "0", false)
	f("a compressed frame", "\x01\x00\x00\x00\x02\x08\x01", "0", false)
	f("garbage", "\x00\x00\x00\x00\x02\x12\x7f", "0", false)
	f("a number without end", "\x00\x00\x00\x00\x02\x08\xff", "0", false)
	f("no gRPC at all", "hello", "", false)
	wellAfterAMinute(t, "the server as a whole", HealthOptions{GRPC: &GRPCOptions{}}, true, h2(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) == "\x00\x00\x00\x00\x00" {
			answer("\x00\x00\x00\x00\x02\x08\x01", "0")(w, r)
		}
	}), nil)
}

func TestWhyAnEndpointIsNotServing(t *testing.T) {
	for status, want := range map[string]string{
		"12": "no health service", "5": "does not know the service", "": "no answer of gRPC", "14": `grpc status "14"`,
	} {
		bubble(t, "status "+status, func(t *testing.T) {
			var log strings.Builder
			c := piped(t, nil, func(o *Options) {
				o.Health, o.Log = &HealthOptions{GRPC: &GRPCOptions{}}, slog.New(slog.NewTextHandler(&log, nil))
				h2(func(w http.ResponseWriter, _ *http.Request) {
					if w.Header().Set("Content-Type", "application/grpc"); status != "" {
						w.Header().Set("Grpc-Status", status)
					}
				})(o)
			})
			after(time.Minute)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if !strings.Contains(strings.ReplaceAll(log.String(), `\"`, `"`), want) {
				t.Errorf("the log does not say %s:\n%s", want, &log)
			}
		})
	}
}

// Over TLS an endpoint may speak HTTP/1.1 only, which no gRPC server does.
func TestHealthOverGRPCNeedsHTTP2(t *testing.T) {
	wellAfterAMinute(t, "HTTP/1.1", HealthOptions{GRPC: &GRPCOptions{}}, false, func(*Options) {}, respond(ok))
}

func FuzzGRPCStatus(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x0e\x12\x03abc\x1d1234\x08\x01"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if status, err := grpcStatus(frame); err != nil && status != 0 {
			t.Errorf("%d with %v", status, err)
		}
	})
}

func TestHealthOverTCP(t *testing.T) {
	silent := func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }
	wellAfterAMinute(t, "a server that says nothing", HealthOptions{TCP: true}, true, func(*Options) {}, silent)
	wellAfterAMinute(t, "nobody", HealthOptions{TCP: true}, false, func(o *Options) {
		o.dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("refused") }
	}, nil)
	t.Run("an address that is denied", func(t *testing.T) {
		addr := listen(t, func(net.Conn) { t.Error("a connection to a denied address") })
		feed := NewFeed("orders", stranger{newRegistry(at(addr)...), false}, quiet)
		defer feed.Close()
		c := New(Options{Name: "orders", Feed: feed, Policy: turns, Log: quiet, Health: &HealthOptions{TCP: true}})
		defer c.Close()
		k := &checker{checks: c.checks, target: addr}
		if _, denied := errors.AsType[*deniedError](k.check(t.Context())); !denied {
			t.Error("a check went where requests may not go")
		}
	})
	t.Run("with the PROXY protocol, for nobody", func(t *testing.T) {
		header := make(chan string, 1)
		addr := listen(t, func(conn net.Conn) {
			line, _ := bufio.NewReader(conn).ReadString('\n')
			select {
			case header <- line:
			default:
			}
		})
		start(t, at(addr), func(o *Options) {
			o.Health, o.ProxyProtocol = &HealthOptions{TCP: true, Interval: 10 * time.Millisecond}, 1
		})
		if got := <-header; got != "PROXY UNKNOWN\r\n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestHealthAtAnotherPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, admin := status(500), status(200)
		c := ward(t, Options{Host: "orders.internal", Health: &HealthOptions{Path: "/", Port: 9}}, newRegistry(at("a:1")...),
			map[string]http.Handler{"a:1": service, "a:9": admin})
		after(time.Minute)
		synctest.Wait()
		if c.Healthy("") != 1 || len(service.checks()) != 0 || admin.host != "orders.internal" {
			t.Errorf("%d healthy, %d checks of the service, host %q", c.Healthy(""), len(service.checks()), admin.host)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := status(200)
		ward(t, Options{Host: "orders.internal", Health: &HealthOptions{Path: "/", Host: "health.internal"}}, newRegistry(at("a:1")...),
			map[string]http.Handler{"a:1": p})
		after(time.Minute)
		synctest.Wait()
		if p.host != "health.internal" {
			t.Errorf("host %q", p.host)
		}
	})
}

// A thousand upstreams that begin together are not felt as a wave.
func TestChecksAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, slots = 1000, 10
		addrs := make([]string, n)
		for i := range addrs {
			addrs[i] = "10.0." + strings.Repeat("0", i%100+1) + string(rune('a'+i/100)) + ":1"
		}
		var mu sync.Mutex
		var count [6 * slots]int
		began := time.Now()
		start(t, at(addrs...), func(o *Options) {
			o.Health = &HealthOptions{TCP: true}
			o.dial = func(context.Context, string, string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				if slot := int(time.Since(began) / (500 * time.Millisecond)); slot < len(count) {
					count[slot]++
				}
				return nil, errors.New("refused")
			}
		})
		after(30 * time.Second)
		mu.Lock()
		defer mu.Unlock()
		for slot, got := range count {
			if got > 2*n/slots {
				t.Errorf("%d checks in half a second after %v, %d would be even", got, time.Duration(slot)*500*time.Millisecond, n/slots)
			}
		}
	})
}
