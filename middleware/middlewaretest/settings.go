package middlewaretest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/middleware"
)

// frame is a whole configuration around a block. above lines and left columns
// of it come before the block.
const (
	frame = "middleware:\n  block:\n%s\nupstreams:\n  up: {discover: {static: {targets: [\"192.0.2.9:80\"]}}}\nroutes:\n  - {match: {prefix: /}, to: up}\n"
	above = 2
	left  = 4
)

// Build makes a step out of a block as it stands in a `use:` list, without the
// dash: "header_guard: {max: 64}". It fails the test on any mistake.
func Build(t testing.TB, env middleware.Env, block string) gateway.Step {
	t.Helper()
	step, err := build(env, block)
	if err != nil {
		t.Fatalf("build %s: %v", block, err)
	}
	if step.Wrap == nil {
		t.Fatalf("build %s: the step has no Wrap", block)
	}
	return step
}

// Mistakes builds a block that must not build, and returns what the operator is
// told, as "line:column: message" with places inside the block.
func Mistakes(t testing.TB, env middleware.Env, block string) []string {
	t.Helper()
	_, err := build(env, block)
	if err == nil {
		t.Fatalf("build %s: want mistakes, found none", block)
	}
	all, ok := errors.AsType[config.Errors](err)
	if !ok {
		t.Fatalf("build %s: the mistake has no place: %v", block, err)
	}
	var told []string
	for _, e := range all {
		told = append(told, fmt.Sprintf("%d:%d: %s", e.Line-above, e.Column-left, e.Msg))
	}
	return told
}

func build(env middleware.Env, block string) (gateway.Step, error) {
	indented := strings.Repeat(" ", left) + strings.ReplaceAll(strings.TrimRight(block, "\n"), "\n", "\n"+strings.Repeat(" ", left))
	c, err := config.Parse(config.FilesOf("block.yaml", fmt.Appendf(nil, frame, indented)))
	if err != nil {
		return gateway.Step{}, err
	}
	b := c.Middleware["block"]
	k, ok := middleware.Kinds.Get(b.Kind)
	if !ok {
		return gateway.Step{}, fmt.Errorf("no middleware is called %q", b.Kind)
	}
	settings, err := k.Decode(b.Decode)
	if err != nil {
		return gateway.Step{}, err
	}
	step, err := settings.Build(env)
	if err != nil {
		return gateway.Step{}, b.Errors(err)
	}
	return step, nil
}
