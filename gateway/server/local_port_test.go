package server

import (
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// The port that a redirect names is the listener's, or the load balancer's if
// that is known.
func TestLocalPort(t *testing.T) {
	say := func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprint(w, gateway.ExchangeOf(r).LocalPort) }
	direct := prepare(t, settings(1, "listeners: {web: {address: \"127.0.0.1:0\"}}\n"+ending), say).open()
	addr := direct.Addrs()["web"]
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if got := askWith(t, addr); got != port {
		t.Errorf("the port is %s, want %s", got, port)
	}
	behind := prepare(t, settings(1, behindBalancer+ending), say).open()
	if got := askWith(t, behind.Addrs()["web"], "PROXY TCP4 192.0.2.7 192.0.2.1 4000 8443\r\n"); got != "8443" {
		t.Errorf("behind a load balancer the port is %s, want 8443", got)
	}
}
