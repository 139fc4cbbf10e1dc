package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const patience = 30 * time.Second

// script writes a program that stands in for a Consul binary.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "consul")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestConsulThatDoesNotStart(t *testing.T) {
	f := func(name, binary string, timeout time.Duration, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			var out bytes.Buffer
			c, err := StartConsul(ctx, binary, &out)
			if c != nil || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			if err != nil && strings.Contains(err.Error(), "already finished") {
				t.Errorf("the error is about the end of it: %v", err)
			}
		})
	}
	f("no such program", filepath.Join(t.TempDir(), "nothing"), patience, "start consul: fork/exec")
	f("one that ends", script(t, "echo no config; exit 3\n"), patience, "consul ended: exit status 3")
	f("one that never gets a leader", script(t, "exec sleep 60\n"), 300*time.Millisecond, "consul has no leader: context deadline exceeded")
}

func TestFreePorts(t *testing.T) {
	ports, err := freePorts(4)
	if err != nil || len(ports) != 4 {
		t.Fatal(ports, err)
	}
	slices.Sort(ports)
	if len(slices.Compact(ports)) != 4 {
		t.Errorf("a port is there twice: %v", ports)
	}
}

// The services are in the catalogue of a real agent, tagged with their arms.
func TestConsul(t *testing.T) {
	binary := os.Getenv("PITHEAD_CONSUL")
	if binary == "" {
		t.Skip("set PITHEAD_CONSUL to a consul binary, or run make test")
	}
	services, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := Stop(services); err != nil {
			t.Error(err)
		}
	}()
	var out bytes.Buffer
	c, err := StartConsul(t.Context(), binary, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range services {
		if err := c.Register(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	text, err := c.call(t.Context(), http.MethodGet, "/v1/health/service/orders?passing=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct {
		Service struct {
			ID, Address string
			Port        int
			Tags        []string
		}
	}
	if err := json.Unmarshal([]byte(text), &entries); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Service.ID+" "+strings.Join(e.Service.Tags, ","))
	}
	slices.Sort(got)
	if want := []string{"canary-1 canary", "stable-1 stable", "stable-2 stable"}; !slices.Equal(got, want) {
		t.Errorf("the catalogue holds %q", got)
	}
	t.Run("a refused registration says why", func(t *testing.T) {
		for _, addr := range []string{"127.0.0.1", "127.0.0.1:http"} {
			if err := c.Register(t.Context(), &Service{Name: "bad", Arm: "stable", Addr: addr}); err == nil {
				t.Errorf("%s was taken", addr)
			}
		}
	})
	if err := c.Stop(); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	if _, err := c.call(t.Context(), http.MethodGet, "/v1/status/leader", nil); err == nil {
		t.Error("the agent still answers")
	}
	if err := c.Stop(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}
