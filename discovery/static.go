package discovery

import (
	"context"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// StaticConfig takes the endpoints that stand in the configuration itself. They
// change when it is reloaded.
//
//	static:
//	  targets:
//	    - 10.0.0.7:9000
//	    - {address: "10.0.0.8:9000", weight: 3, zone: b, tags: [canary], meta: {version: v2}}
type StaticConfig struct {
	// Targets are the endpoints: `host:port`, or a mapping. Required.
	Targets []TargetConfig `yaml:"targets"`
}

func init() { kind.Add(Kinds, "static", StaticConfig{}, newStatic) }

// Validate checks the settings.
func (c StaticConfig) Validate() error {
	if len(c.Targets) == 0 {
		return kind.At("targets", "must hold at least one address")
	}
	_, err := parseTargets("targets", c.Targets)
	return err
}

type staticSource StaticConfig

func newStatic(c StaticConfig, _ Env) (gateway.Source, error) {
	return staticSource(c), c.Validate()
}

// staticConfirm is how often a static set is confirmed. It cannot change before
// the next reload, but an age that grows for ever would look like a dead registry.
const staticConfirm = 10 * time.Second

// Watch publishes the same set again and again.
func (s staticSource) Watch(ctx context.Context, publish func([]gateway.Target)) error {
	targets, err := parseTargets("targets", s.Targets)
	if err != nil {
		return err
	}
	tick := time.NewTicker(staticConfirm)
	defer tick.Stop()
	for {
		publish(targets)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
