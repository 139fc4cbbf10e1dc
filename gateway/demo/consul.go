package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Consul is a running development agent.
type Consul struct {
	Address string // http://host:port of its API

	cmd   *exec.Cmd
	ended chan struct{}
}

// StartConsul starts `binary agent -dev` on free loopback ports, and waits until
// it has a leader. out gets what the agent prints.
func StartConsul(ctx context.Context, binary string, out io.Writer) (*Consul, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, fmt.Errorf("find ports for consul: %w", err)
	}
	c := &Consul{Address: "http://127.0.0.1:" + ports[0], ended: make(chan struct{})}
	c.cmd = exec.Command(binary, "agent", "-dev", "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=error", //nolint:noctx,gosec // it must outlive ctx until Stop; the operator names the binary
		"-disable-host-node-id", "-node=demo", "-http-port="+ports[0], "-server-port="+ports[1], "-serf-lan-port="+ports[2],
		"-serf-wan-port="+ports[3], "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1")
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = endWithParent()
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start consul: %w", err)
	}
	go func() {
		_ = c.cmd.Wait() // ProcessState tells the same
		close(c.ended)
	}()
	if err := c.waitForLeader(ctx); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *Consul) waitForLeader(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("consul has no leader: %w", ctx.Err())
		case <-c.ended:
			return fmt.Errorf("consul ended: %s", c.cmd.ProcessState)
		case <-tick.C:
		}
		if text, err := c.call(ctx, http.MethodGet, "/v1/status/leader", nil); err == nil && strings.Contains(text, ":") {
			return nil
		}
	}
}

// Register enters a service under the name `orders`, tagged with its arm and
// checked every second.
func (c *Consul) Register(ctx context.Context, s *Service) error {
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	_, err = c.call(ctx, http.MethodPut, "/v1/agent/service/register", map[string]any{
		"ID": s.Name, "Name": "orders", "Address": host, "Port": number, "Tags": []string{s.Arm},
		"Check": map[string]string{"HTTP": "http://" + s.Addr + "/healthz", "Interval": "1s", "Timeout": "1s", "Status": "passing"},
	})
	return err
}

func (c *Consul) call(ctx context.Context, method, path string, body any) (string, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Address+path, bytes.NewReader(content))
	if err != nil {
		return "", err
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }() // it is read to the end
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("consul answers %s: %s", resp.Status, text)
	}
	return string(text), err
}

// Stop ends the agent, if it has not ended by itself.
func (c *Consul) Stop() error {
	err := c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
		return nil
	case <-time.After(5 * time.Second):
	}
	err = errors.Join(err, errors.New("consul does not end, it is killed"), c.cmd.Process.Kill())
	<-c.ended
	return err
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // it only held the port until all are found
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports, nil
}
