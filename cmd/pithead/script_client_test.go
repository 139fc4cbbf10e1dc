package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// exchange is a request of a script and what has come of its answer.
type exchange struct {
	client *http.Client
	req    *http.Request
	body   *io.PipeWriter // for say; nil without -stream
	cancel context.CancelFunc
	done   chan struct{} // closed at the end

	mu   sync.Mutex
	head string
	text bytes.Buffer

	status int // these are whole when done is closed
	err    error
}

// newExchange reads FLAG... METHOD URL [HEADER...]. The flags are
//
//	-body TEXT    body of the request
//	-stream       the body comes by `say`
//	-h2, -h2c     HTTP/2, over TLS or without
//	-ca FILE      trust these authorities
//	-to ADDRESS   connect there, whatever the URL says
func newExchange(s *script, flags *flag.FlagSet, args []string) (*exchange, error) {
	body := flags.String("body", "", "")
	stream := flags.Bool("stream", false, "")
	h2 := flags.Bool("h2", false, "")
	h2c := flags.Bool("h2c", false, "")
	ca := flags.String("ca", "", "")
	to := flags.String("to", "", "")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	args = flags.Args()
	if flags.Name() == "http" {
		args = args[min(1, len(args)):]
	}
	if len(args) < 2 {
		return nil, errUsage
	}
	x := &exchange{done: make(chan struct{})}
	transport, err := newClientTransport(s, *h2, *h2c, *ca, *to)
	if err != nil {
		return nil, err
	}
	x.client = &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var reader io.Reader
	switch {
	case *stream:
		reader, x.body = io.Pipe()
	case *body != "":
		reader = strings.NewReader(*body)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	x.cancel = cancel
	x.req, err = http.NewRequestWithContext(ctx, args[0], args[1], reader)
	if err != nil {
		cancel()
		return nil, err
	}
	for _, line := range args[2:] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if name == "Host" {
			x.req.Host = value
		} else {
			x.req.Header[name] = append(x.req.Header[name], value) // as it is written
		}
	}
	return x, nil
}

func newClientTransport(s *script, h2, h2c bool, ca, to string) (*http.Transport, error) {
	t := &http.Transport{DisableKeepAlives: true, DisableCompression: true, Protocols: new(http.Protocols)}
	t.Protocols.SetHTTP1(!h2 && !h2c)
	t.Protocols.SetHTTP2(h2)
	t.Protocols.SetUnencryptedHTTP2(h2c)
	if to != "" {
		t.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, to)
		}
	}
	if ca != "" {
		pem, err := os.ReadFile(s.MkAbs(ca))
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	return t, nil
}

// run does the exchange.
func (x *exchange) run() {
	defer close(x.done)
	defer x.cancel()
	defer x.client.CloseIdleConnections()
	resp, err := x.client.Do(x.req)
	if err != nil {
		x.err = err
		return
	}
	defer resp.Body.Close()
	x.mu.Lock()
	x.head = headOf(resp)
	x.mu.Unlock()
	_, x.err = io.Copy(x, resp.Body)
	x.mu.Lock()
	x.head += linesOf("Trailer ", resp.Trailer)
	x.mu.Unlock()
	x.status = resp.StatusCode
}

// Write gathers the body.
func (x *exchange) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.text.Write(p)
}

func headOf(resp *http.Response) string {
	head := fmt.Sprintf("%s %s\n", resp.Proto, resp.Status) + linesOf("", resp.Header)
	if resp.TLS != nil {
		head += fmt.Sprintf("Certificate %s, %s, %s\n", strings.Join(resp.TLS.PeerCertificates[0].DNSNames, " "),
			tls.VersionName(resp.TLS.Version), resp.TLS.CurveID)
	}
	return head
}

func linesOf(before string, h http.Header) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			fmt.Fprintf(&b, "%s%s: %s\n", before, name, value)
		}
	}
	return b.String()
}

func (x *exchange) output() output {
	x.mu.Lock()
	defer x.mu.Unlock()
	return output{stdout: x.text.String(), stderr: x.head}
}

// expect waits for the end and compares.
func (x *exchange) expect(status string) (output, error) {
	<-x.done
	got := strconv.Itoa(x.status)
	switch {
	case errors.Is(x.err, syscall.ECONNREFUSED):
		got = "refused"
	case x.err != nil:
		got = "broken"
	}
	if got != status {
		return x.output(), errors.Join(fmt.Errorf("%s %s: got %s, want %s", x.req.Method, x.req.URL, got, status), x.err)
	}
	return x.output(), nil
}

func httpCommand(s *script, args []string) (output, error) {
	flags := flag.NewFlagSet("http", flag.ContinueOnError)
	x, err := newExchange(s, flags, args)
	if err != nil {
		return output{}, err
	}
	x.run()
	return x.expect(flags.Arg(0))
}

func begin(s *script, args []string) (output, error) {
	if s.request != nil {
		return output{}, errors.New("a request is in the background")
	}
	x, err := newExchange(s, flag.NewFlagSet("begin", flag.ContinueOnError), args)
	if err != nil {
		return output{}, err
	}
	s.request = x
	go x.run()
	return output{}, nil
}

func say(s *script, args []string) (output, error) {
	if len(args) != 1 || s.request == nil || s.request.body == nil {
		return output{}, errUsage
	}
	_, err := io.WriteString(s.request.body, args[0])
	return output{}, err
}

func partial(s *script, args []string) (output, error) {
	if len(args) != 1 || s.request == nil {
		return output{}, errUsage
	}
	out := s.request.output()
	if !regexp.MustCompile("(?m)" + args[0]).MatchString(out.stdout) {
		return out, fmt.Errorf("no match for %q yet", args[0])
	}
	return out, nil
}

func finish(s *script, args []string) (output, error) {
	if len(args) != 1 || s.request == nil {
		return output{}, errUsage
	}
	x := s.request
	s.request = nil
	if x.body != nil {
		_ = x.body.Close() // it never fails
	}
	return x.expect(args[0])
}

func leave(s *script, args []string) (output, error) {
	if len(args) != 0 || s.request == nil {
		return output{}, errUsage
	}
	s.request.cancel()
	return finish(s, []string{"broken"})
}

func raw(s *script, args []string) (output, error) {
	if len(args) != 2 {
		return output{}, errUsage
	}
	text, err := os.ReadFile(s.MkAbs(args[1]))
	if err != nil {
		return output{}, err
	}
	conn, err := net.Dial("tcp", args[0])
	if err != nil {
		return output{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return output{}, err
	}
	if _, err := conn.Write(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))); err != nil {
		return output{}, err
	}
	answer, err := io.ReadAll(conn)
	return output{stdout: strings.ReplaceAll(string(answer), "\r", "")}, err
}

func webSocket(_ *script, args []string) (out output, err error) {
	if len(args) < 2 {
		return output{}, errUsage
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	c, resp, err := websocket.Dial(ctx, args[0], &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return output{}, err
	}
	defer c.CloseNow()
	out.stderr = headOf(resp)
	for _, text := range args[1:] {
		if err := c.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			return out, err
		}
		_, back, err := c.Read(ctx)
		if err != nil {
			return out, err
		}
		if string(back) != text {
			return out, fmt.Errorf("%q came back as %q", text, back)
		}
		out.stdout += string(back) + "\n"
	}
	return out, c.Close(websocket.StatusNormalClosure, "")
}
