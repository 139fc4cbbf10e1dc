package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"time"
)

// transcodeCase is an order with so many items, and what Pithead is to reach: its
// requests in a CPU second to those of grpc-gateway.
type transcodeCase struct {
	name  string
	items int
	conns int
	goal  float64
}

var transcodeCases = []transcodeCase{
	{"1 KB", 4, 32, 1},
	{"32 KB", 230, 16, 1.5},
}

const transcodePath = "/v1/orders"

// transcodeSample is one round of one gateway in one case.
type transcodeSample struct {
	cpu  time.Duration // of the gateway, for each request
	rate float64       // requests a second
	p50  time.Duration
}

// transcodeResults are samples by the name of the gateway and of the case, round by round.
type transcodeResults map[string]map[string][]transcodeSample

// transcodeCommand measures Pithead and grpc-gateway, whose clients are in this process:
// it is to be kept off the core of the gateways.
func transcodeCommand(ctx context.Context, flags *flag.FlagSet, args []string, out io.Writer) error {
	bin := flags.String("bin", "../.bin", "folder of pithead, and of peers/grpc-gateway")
	schema := flags.String("proto", "peers/grpc-gateway/orders.proto", "the service")
	path := flags.String("out", "results/transcode.md", "the table")
	o := runOptions{}
	flags.IntVar(&o.rounds, "rounds", 7, "how often each gateway is measured")
	flags.DurationVar(&o.time, "time", 2*time.Second, "time of one measuring")
	flags.DurationVar(&o.warm, "warm", time.Second/2, "time before it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for _, p := range []*string{bin, schema} { // the gateways run elsewhere
		var err error
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	o.peers = transcodePeers(*bin)
	all, err := transcodeRounds(ctx, o, *schema, out)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	writeTranscode(&text, o, all)
	return os.WriteFile(*path, text.Bytes(), 0o644) //nolint:gosec // it is to be read by everybody
}

func transcodePeers(bin string) []peer {
	pithead := filepath.Join(bin, "pithead")
	return []peer{
		{
			name: "pithead", files: []string{"transcode.yaml"},
			args: func(dir string, _ setup) []string {
				return []string{pithead, "run", filepath.Join(dir, "transcode.yaml")}
			},
		},
		{
			name: "grpc-gateway",
			args: func(_ string, s setup) []string {
				return []string{filepath.Join(bin, "peers", "grpc-gateway"), "gateway", s.Addr, s.H2C}
			},
		},
	}
}

// transcodeRounds starts, measures and stops each gateway in every round, the other one first
// every other time.
func transcodeRounds(ctx context.Context, o runOptions, schema string, out io.Writer) (transcodeResults, error) {
	dir, err := os.MkdirTemp("", "pithead-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary folder
	s := setup{Dir: dir, Proto: schema}
	if s.H2C, err = freeAddr(ctx); err != nil {
		return nil, err
	}
	program := o.peers[1].args("", s)[0]
	service, err := startOn(otherCore, dir, program, "service", s.H2C)
	if err != nil {
		return nil, err
	}
	defer func() { _ = service.stop() }() // it has nothing to lose
	if err := accepts(ctx, s.H2C, service.ended); err != nil {
		return nil, fmt.Errorf("service: %w\n%s", err, service.out)
	}
	all := transcodeResults{}
	for _, p := range o.peers {
		all[p.name] = map[string][]transcodeSample{}
	}
	for round := range o.rounds {
		for i := range o.peers {
			p := &o.peers[(i+round)%len(o.peers)]
			if err := transcodeMeasured(ctx, o, p, s, all[p.name]); err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			for _, c := range transcodeCases {
				one := all[p.name][c.name][round]
				fmt.Fprintf(out, "round %d: %s, %s: %v CPU for each request, %.0f requests/s\n", round+1, p.name, c.name, one.cpu, one.rate)
			}
		}
	}
	return all, nil
}

func transcodeMeasured(ctx context.Context, o runOptions, p *peer, s setup, to map[string][]transcodeSample) error {
	for _, addr := range []*string{&s.Addr, &s.Admin} {
		var err error
		if *addr, err = freeAddr(ctx); err != nil {
			return err
		}
	}
	gateway, err := p.start(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = gateway.stop() }() // it is not needed any more
	for _, c := range transcodeCases {
		body, err := json.Marshal(newTranscodeOrder(c.items))
		if err != nil {
			return err
		}
		size, err := echoed(ctx, s.Addr, body)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, gateway.out)
		}
		clients := make([]client, c.conns)
		for i := range clients {
			clients[i] = &h1Client{addr: s.Addr, test: testCase{size: size}, request: orderRequest(s.Addr, body)}
		}
		var before, after time.Duration
		load, err := runClients(ctx, loadOptions{warm: o.warm, time: o.time}, clients,
			func() (err error) { before, err = gateway.cpu(); return err },
			func() (err error) { after, err = gateway.cpu(); return err })
		switch {
		case err != nil:
			return err
		case load.Errors > 0 || load.Requests == 0:
			return fmt.Errorf("%d of %d requests failed: %s", load.Errors, load.Requests, load.First)
		}
		to[c.name] = append(to[c.name], transcodeSample{
			cpu: (after - before) / time.Duration(load.Requests), rate: float64(load.Requests) / load.Time.Seconds(), p50: load.P50,
		})
	}
	return nil
}

func orderRequest(addr string, body []byte) []byte {
	head := "POST " + transcodePath + " HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(len(body)) + "\r\n\r\n"
	return append([]byte(head), body...)
}

// echoed asks once and makes sure that all of the order has come back. It returns how
// long that answer is, since not all write the same white space.
func echoed(ctx context.Context, addr string, body []byte) (size int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+transcodePath, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }() // it is only read
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("answered %s: %s", resp.Status, answer)
	}
	return len(answer), sameJSON(body, answer)
}

func sameJSON(a, b []byte) error {
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &y); err != nil {
		return fmt.Errorf("the answer is no JSON: %w", err)
	}
	if !reflect.DeepEqual(x, y) {
		return errors.New("the answer is not the order that was sent")
	}
	return nil
}
