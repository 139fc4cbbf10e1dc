//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// errServing is a failure that is neither the operator's nor the kernel's.
var errServing = errors.New("cannot go on")

const (
	outlierTick  = time.Second
	rolloverTick = 10 * time.Minute // counts of the kernel have 32 bits and must be read before they run over twice
	shutdownTime = 2 * time.Second
	headerTime   = 5 * time.Second
)

// serve answers until ctx ends.
func serve(ctx context.Context, v *view, address string, logs io.Writer) error {
	log := slog.New(slog.NewTextHandler(logs, nil))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	for _, tier := range v.source.Tiers() {
		if tier.Active {
			log.Info("measuring", slog.String("what", tier.Name))
		} else {
			log.Warn("not measuring", slog.String("what", tier.Name), slog.String("reason", tier.Reason))
		}
	}
	log.Info("serving", slog.String("address", listener.Addr().String()))
	server := &http.Server{Handler: handler(v), ReadHeaderTimeout: headerTime}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	err = v.attend(ctx, ended)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if stopped := server.Shutdown(ctx); err == nil && stopped != nil {
		err = fmt.Errorf("%w: %w", errServing, stopped)
	}
	return err
}

// attend does what must be done regularly.
func (v *view) attend(ctx context.Context, ended <-chan error) error {
	second, rollover := time.NewTicker(outlierTick), time.NewTicker(rolloverTick)
	defer second.Stop()
	defer rollover.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case err = <-ended:
		case <-second.C:
			err = v.collect()
		case <-rollover.C:
			_, err = v.snapshot()
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errServing, err)
		}
	}
}

func handler(v *view) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(v))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if err := v.failure(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		writeJSON(w, map[string]any{"tiers": v.source.Tiers()})
	})
	mux.HandleFunc("GET /snapshot", func(w http.ResponseWriter, r *http.Request) {
		a, err := v.answer(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		writeJSON(w, a)
	})
	mux.HandleFunc("GET /outliers", func(w http.ResponseWriter, r *http.Request) { writeJSON(w, v.recent(r.Context())) })
	return mux
}

func writeJSON(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what) // a client that has gone away needs no answer
}
