package main

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway/demo"
	"github.com/pithead/pithead/gateway/server"
)

var requestID = regexp.MustCompile(`"request_id":"[^"]*"`)

// The commands of the page about transcoding do what the page says, against the
// configuration that `pithead demo` runs.
func TestTranscodeDocs(t *testing.T) {
	shop, err := demo.StartOrders("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := shop.Stop(); err != nil {
			t.Error(err)
		}
	})
	listen := startDocsGateway(t, shop.Addr)
	page, err := os.ReadFile("../../docs/howto/transcode.md")
	if err != nil {
		t.Fatal(err)
	}
	commands := 0
	for i, fence := range strings.Split(string(page), "```sh\n")[1:] {
		text, _, _ := strings.Cut(fence, "```")
		for block := range strings.SplitSeq(strings.TrimPrefix(text, "$ "), "\n$ ") {
			command, want, _ := strings.Cut(block, "\n")
			commands++
			// testscript has a curl of its own on the path.
			script := "PATH=/usr/local/bin:/usr/bin:/bin\ncurl() { command curl -sS --max-time 10 \"$@\"; }\n" + strings.ReplaceAll(command, "localhost:8080", listen)
			out, err := exec.CommandContext(t.Context(), "bash", "-c", script).CombinedOutput()
			got := requestID.ReplaceAllString(string(out), `"request_id":"..."`)
			if strings.TrimSpace(got) != strings.TrimSpace(want) || err != nil {
				t.Errorf("fence %d: %s\ngot  %s\nwant %s\n%v", i+1, command, got, want, err)
			}
		}
	}
	if commands < 12 {
		t.Errorf("only %d commands found", commands)
	}
}

// startDocsGateway runs the gateway with demo.yaml and says where it listens.
func startDocsGateway(t *testing.T, shop string) string {
	t.Helper()
	t.Setenv("DEMO_LISTEN", "127.0.0.1:0")
	t.Setenv("DEMO_ADMIN", "127.0.0.1:0")
	t.Setenv(demo.OrdersEnv, shop)
	ctx, stop := context.WithCancel(context.Background())
	listen, done := make(chan string, 1), make(chan error, 1)
	go func() {
		done <- serve(ctx, "../../configs/demo.yaml", slog.New(slog.DiscardHandler), func(s *server.Server) { listen <- s.Addrs()["web"].String() })
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case addr := <-listen:
		return addr
	case err := <-done:
		done <- nil
		t.Fatal(err)
		return ""
	}
}
