//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pithead/pithead/gateway/anatomy"
)

const (
	namesAge     = 5 * time.Second // a new route has its name after this at the latest
	namesTimeout = time.Second
	maxNames     = 16 << 20
)

// names knows what labels stand for. Those of a gateway that does not answer stay
// as they were.
type names struct {
	url    string // empty without an admin API
	client *http.Client

	mu    sync.Mutex
	known map[uint32]anatomy.Named
	asked time.Time
	err   error
}

func newNames(admin string) *names {
	n := &names{known: map[uint32]anatomy.Named{}}
	if admin == "" {
		return n
	}
	transport := &http.Transport{MaxIdleConns: 1, IdleConnTimeout: time.Minute}
	n.url, n.client = "http://"+admin+"/-/labels", &http.Client{Transport: transport, Timeout: namesTimeout}
	if path, unix := strings.CutPrefix(admin, "unix:"); unix {
		n.url = "http://localhost/-/labels"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
	}
	return n
}

func (n *names) set(label uint32, route string) {
	n.known[label] = anatomy.Named{Label: label, Route: route}
}

// all are the names that are known now, which nobody changes.
func (n *names) all(ctx context.Context) map[uint32]anatomy.Named {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.url == "" || time.Since(n.asked) < namesAge {
		return n.known
	}
	n.asked = time.Now()
	var list []anatomy.Named
	if list, n.err = n.fetch(ctx); n.err != nil {
		return n.known
	}
	known := maps.Clone(n.known)
	for _, one := range list {
		known[one.Label] = one
	}
	n.known = known
	return known
}

// failure is why the names were not answered the last time.
func (n *names) failure() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

func (n *names) fetch(ctx context.Context) (list []anatomy.Named, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url, nil)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w", err)
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", n.url, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxNames)).Decode(&list); err != nil {
		return nil, fmt.Errorf("%s: %w", n.url, err)
	}
	return list, nil
}
