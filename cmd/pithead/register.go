package main

import (
	"context"
	"log/slog"

	"github.com/pithead/pithead/discovery"
	"github.com/pithead/pithead/gateway/server"
)

// announce keeps the gateway registered as its configuration says until ctx
// ends, which is when the shutdown begins: others have the delay of the shutdown
// to notice that it leaves.
func announce(ctx context.Context, s *server.Server, log *slog.Logger) {
	a := discovery.Announcer{
		Current: func() *discovery.Registration { return s.Snapshot().Registration() }, Ready: s.Ready, Log: log,
	}
	a.Run(ctx)
}
