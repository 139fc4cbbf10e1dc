package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
)

// Whatever a client does wrong in its body is its own fault: 400, and nothing
// that could count against the upstream. Without requestBody's report these are
// 502 by the upstream's fault.
func TestMalformedChunksAreTheClients(t *testing.T) {
	for name, chunks := range map[string]string{
		"F30 hex prefix":        "0x1\r\nx\r\n0\r\n\r\n",
		"F30 minus":             "-1\r\nx\r\n0\r\n\r\n",
		"F30 plus":              "+1\r\nx\r\n0\r\n\r\n",
		"F30 underscore":        "0_2e\r\nx\r\n0\r\n\r\n",
		"F30 empty":             "\r\nx\r\n0\r\n\r\n",
		"F30 leading blank":     " 1\r\nx\r\n0\r\n\r\n",
		"F31 17 digits":         "10000000000000001\r\nx\r\n0\r\n\r\n",
		"F33 leading zeros":     "0000000000000000000001\r\nx\r\n0\r\n\r\n",
		"F34 bare LF":           "1\nx\r\n0\r\n\r\n",
		"F35 LF in extension":   "1;\nxx\r\n0\r\n\r\n",
		"F35 CR in extension":   "1;\rxx\r\n0\r\n\r\n",
		"F37 long extension":    "1;" + strings.Repeat("a", 64<<10) + "\r\nx\r\n0\r\n\r\n",
		"F37 many extensions":   strings.Repeat("1;"+strings.Repeat("a", 2000)+"\r\nx\r\n", 40) + "0\r\n\r\n",
		"F38 no end of data":    "1\r\nx0\r\n\r\n",
		"F38 wrong end of data": "1\r\nxyz0\r\n\r\n",
		"F39 last chunk":        "0\n\r\n",
		"F30 in a later chunk":  "3\r\nabc\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			up := &seen{}
			d := open(t, newCluster(t, serve(t, up), false), nil)
			c := dial(t, d.addr)
			// A client that gets its answer early may see its writing fail.
			go func() {
				_, _ = c.Write([]byte(crlf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + chunks))
			}()
			res, b := c.answer(t, "POST")
			if res.StatusCode != http.StatusBadRequest || !res.Close {
				t.Errorf("status %d, close %v, want 400 and close", res.StatusCode, res.Close)
			}
			if !strings.Contains(b, `"reason":"bad_body"`) {
				t.Errorf("body %s", b)
			}
			c.wantClosed(t)
			d.wantErr(t, 400, "bad_body", gateway.CauseClient)
		})
	}
}

func TestF36ValidExtension(t *testing.T) {
	up := &seen{}
	d := open(t, newCluster(t, serve(t, up), false), nil)
	c := dial(t, d.addr)
	for range 2 { // the connection stays usable
		c.send(t, crlf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked")+"1;a=b\r\nx\r\n2\r\nyz\r\n0\r\n\r\n")
		res, _ := c.answer(t, "POST")
		up.request(t)
		if res.StatusCode != http.StatusOK || res.Close || up.body != "xyz" {
			t.Errorf("status %d, close %v, upstream got %q", res.StatusCode, res.Close, up.body)
		}
		if x := d.exchange(t); x.Err != nil {
			t.Errorf("error %v", x.Err)
		}
	}
}

// A body that ends too early is a client that left. Half-closed clients must not
// see a success.
func TestF40ShortBody(t *testing.T) {
	for name, head := range map[string]string{
		"length":  crlf("POST / HTTP/1.1", "Host: a", "Content-Length: 10") + "abc",
		"chunked": crlf("POST / HTTP/1.1", "Host: a", "Transfer-Encoding: chunked") + "a\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, newCluster(t, serve(t, &seen{}), false), nil)
			c := dial(t, d.addr)
			c.send(t, head)
			if err := c.Conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			c.wantClosed(t)
			d.wantErr(t, gateway.StatusClientClosed, "client_closed", gateway.CauseClient)
		})
	}
}
