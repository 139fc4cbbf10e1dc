package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

// limiter has a setting of every sort that a plug-in may have.
type limiter struct {
	Burst    int               `yaml:"burst"`
	Ratio    float64           `yaml:"ratio"`
	Window   time.Duration     `yaml:"window"`
	Body     kind.Size         `yaml:"body"`
	Dry      bool              `yaml:"dry"`
	Key      string            `yaml:"key"`
	Secret   gateway.Secret    `yaml:"secret"`
	Split    map[string]uint32 `yaml:"split"`
	Rules    []rule            `yaml:"rules"`
	Store    *store            `yaml:"store"`
	Inner    inner             `yaml:"inner"`
	Targets  []target          `yaml:"targets"`
	Labels   map[string]string `yaml:"labels"`
	Networks []netip.Addr      `yaml:"networks"`
	shared
}

type shared struct {
	Name string `yaml:"name"`
}

type rule struct {
	CIDR   netip.Prefix `yaml:"cidr,required"`
	Weight int          `yaml:"weight"`
}

func (r *rule) SetDefaults() { r.Weight = 1 }

type store struct {
	Address string `yaml:"address"`
	Timeout time.Duration
}

type inner struct {
	Level int `yaml:"level"`
}

func (i *inner) Validate() error {
	if i.Level > 9 {
		return kind.At("level", "%d is more than 9", i.Level)
	}
	return nil
}

// target may be written as text or as a map.
type target struct {
	Addr string `yaml:"address"`
	Port int    `yaml:"port"`
}

func (t *target) UnmarshalText(text []byte) error {
	addr, ok := strings.CutPrefix(string(text), "tcp:")
	if !ok {
		return fmt.Errorf("%q has no tcp: in front", text)
	}
	t.Addr = addr
	return nil
}

func (l *limiter) Validate() error {
	var errs []error
	if l.Burst < 0 {
		errs = append(errs, kind.At("burst", "%d is negative", l.Burst))
	}
	if n := l.Split["canary"]; n > 100 {
		errs = append(errs, kind.At("split.canary", "%d is more than 100", n))
	}
	for i, r := range l.Rules {
		if r.Weight == 0 {
			errs = append(errs, kind.At(fmt.Sprintf("rules[%d].weight", i), "must not be 0"))
		}
	}
	if l.Key == "whole" {
		errs = append(errs, errors.New("the block is wrong"))
	}
	if l.Key == "missing" {
		errs = append(errs, kind.At("store.address", "is needed by this key"))
	}
	return errors.Join(errs...)
}

// blockOf is the first block of the first route's chain.
func blockOf(t *testing.T, settings string) *Block {
	t.Helper()
	c, err := Parse(FilesOf("dir/x.yaml", []byte(shortest+"    # below\n    # \n"+"middleware:\n  m:\n    limit: "+settings+"\n")))
	if err != nil {
		t.Fatal(err)
	}
	return c.Middleware["m"]
}

func TestBlockDecode(t *testing.T) {
	b := blockOf(t, `
      burst: 5
      ratio: 0.5
      window: 1m
      body: 2KiB
      dry: true
      key: 8080
      secret: ${PITHEAD_NOT_SET:-hush}
      split: {stable: 95, canary: 5}
      rules: [{cidr: 10.0.0.0/8}, {cidr: 192.0.2.1, weight: 3}]
      store: {address: "redis:6379"}
      targets: ["tcp:a", {address: b, port: 9}]
      labels: {a: true, b: 010}
      networks: ["::1"]
      name: embedded`)
	got := limiter{Inner: inner{Level: 7}}
	if err := b.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := limiter{
		Burst: 5, Ratio: 0.5, Window: time.Minute, Body: 2 * kind.KiB, Dry: true, Key: "8080", Secret: "hush",
		Split: map[string]uint32{"stable": 95, "canary": 5},
		Rules: []rule{{netip.MustParsePrefix("10.0.0.0/8"), 1}, {netip.MustParsePrefix("192.0.2.1/32"), 3}},
		Store: &store{Address: "redis:6379"}, Inner: inner{Level: 7},
		Targets: []target{{Addr: "a"}, {Addr: "b", Port: 9}},
		Labels:  map[string]string{"a": "true", "b": "010"}, Networks: []netip.Addr{netip.IPv6Loopback()},
		shared: shared{Name: "embedded"},
	}
	comparers := cmp.Options{cmp.AllowUnexported(limiter{}), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}
	if diff := cmp.Diff(want, got, comparers); diff != "" {
		t.Error(diff)
	}
	if b.Kind != "limit" || b.Ref || b.Dir() != "dir" || b.Pos().String() != "dir/x.yaml:8:5" {
		t.Errorf("%q %v %q %v", b.Kind, b.Ref, b.Dir(), b.Pos())
	}
}

// The defaults of a kind are one value for all blocks: decoding must not write
// through its pointers and maps.
func TestBlockDecodeKeepsDefaults(t *testing.T) {
	defaults := limiter{Store: &store{Address: "a"}, Split: map[string]uint32{"x": 1}, Rules: []rule{{Weight: 5}}}
	got := defaults
	if err := blockOf(t, `{store: {address: b}, split: {y: 2}, rules: [{cidr: 10.0.0.0/8}]}`).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if defaults.Store.Address != "a" || len(defaults.Split) != 1 || defaults.Split["x"] != 1 || defaults.Rules[0].Weight != 5 {
		t.Errorf("the defaults are now %+v", defaults)
	}
	if got.Store.Address != "b" || got.Split["y"] != 2 || len(got.Split) != 1 || got.Rules[0].Weight != 1 {
		t.Errorf("decoded %+v", got)
	}
}

func TestBlockErrors(t *testing.T) {
	f := func(settings string, wants ...string) {
		t.Helper()
		err := blockOf(t, settings).Decode(&limiter{})
		errs, _ := errors.AsType[Errors](err)
		if len(errs) != len(wants) {
			t.Fatalf("%s: got %v", settings, err)
		}
		for i, e := range errs {
			if got := fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg); !strings.HasPrefix(got, wants[i]) {
				t.Errorf("got  %s\nwant %s", got, wants[i])
			}
		}
	}
	f("{brst: 1}", `8:13: unknown key "brst" (did you mean "burst"?)`)
	f("{burst: x, ratio: .5, dry: 1}", `8:20: "x" is no whole number`, `8:30: ".5" is no decimal number`, `8:39: "1" is no truth value; write true`)
	f("{rules: [{weight: 1}]}", `8:21: rules[0]: "cidr" is required`)
	f("{rules: [{cidr: 10.0.0.0/8, weight: 0}]}", `8:48: must not be 0`)
	f("{split: {canary: 101}, burst: -1}", `8:29: 101 is more than 100`, `8:42: -1 is negative`)
	f("{split: {canary: -1}}", `8:29: -1 is negative`)
	f("{key: whole}", `8:5: the block is wrong`)
	f("{key: missing}", `8:5: store.address: is needed by this key`)
	f("{key: missing, store: {}}", `8:27: address: is needed by this key`)
	f("{inner: {level: 10}}", `8:28: 10 is more than 9`)
	f("{targets: [udp]}", `8:23: "udp" has no tcp: in front`)
	f("{targets: [{port: x}]}", `8:30: "x" is no whole number`)
	f("{dry: x, split: {canary: 101}, rules: [{cidr: y, weight: 0}, {cidr: 10.0.0.0/8, weight: 0}], burst: -1}",
		`8:18: "x" is no truth value`, `8:37: 101 is more than 100`, `8:58: "y" is no network`, `8:69: must not be 0`,
		`8:100: must not be 0`, `8:112: -1 is negative`)
	f("{key: whole, dry: x}", `8:30: "x" is no truth value`) // the whole may be wrong only because of it
	f("{secret: {a: b}}", `8:13: secret: want a secret, not a map`)
	f("[]", `8:5: want a map of settings, not a list`)
}

// consul: at the top holds defaults for what an upstream says of its own.
func TestBlockOver(t *testing.T) {
	text := "upstreams:\n  a:\n    discover: {consul: {key: own, burst: 2}}\nroutes: [{match: {prefix: /}, to: a}]\nconsul: {burst: 1, split: {canary: 101}}\n"
	c, err := Parse(FilesOf("x.yaml", []byte(text)))
	if err != nil {
		t.Fatal(err)
	}
	over := c.Upstreams["a"].Discover.Over(c.Consul)
	got := limiter{}
	err = over.Decode(&got)
	if errs, _ := errors.AsType[Errors](err); len(errs) != 1 || errs[0].Pos != (Pos{"x.yaml", 5, 36}) {
		t.Errorf("a mistake that comes from the defaults: %v", err)
	}
	if got.Key != "own" || got.Burst != 2 || got.Split["canary"] != 101 {
		t.Errorf("decoded %+v", got)
	}
	if err := c.Consul.DecodePart(&limiter{}); err != nil {
		t.Errorf("a part is not validated, but: %v", err)
	}
	if over.Fingerprint() == c.Upstreams["a"].Discover.Fingerprint() {
		t.Error("the defaults make no difference")
	}
	if same := over.Over(nil); same != over {
		t.Error("no defaults make another block")
	}
	errs := over.Errors(errors.Join(kind.At("burst", "low"), kind.At("split.canary", "high"), errors.New("bad")))
	want := "x.yaml:3:16 bad, x.yaml:3:42 low, x.yaml:5:36 high"
	var parts []string
	for _, e := range errs {
		parts = append(parts, fmt.Sprintf("%v %s", e.Pos, e.Msg))
	}
	if got := strings.Join(parts, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestBlockRef(t *testing.T) {
	c, err := Parse(FilesOf("x.yaml", []byte("upstreams: {a: {discover: {static: {}}, balance: least_request}}\nroutes:\n- {match: {prefix: /}, use: [partner, cors: {}], to: a}\n")))
	if err != nil {
		t.Fatal(err)
	}
	b := c.Upstreams["a"].Balance
	if b.Kind != "least_request" || !b.Ref || b.Pos() != (Pos{"x.yaml", 1, 50}) {
		t.Errorf("%q %v %v", b.Kind, b.Ref, b.Pos())
	}
	if err := b.Decode(&limiter{}); err != nil {
		t.Error(err)
	}
	err = b.Decode(&rule{})
	if err == nil || !strings.Contains(err.Error(), `x.yaml:1:50: "cidr" is required`) {
		t.Errorf("got %v", err)
	}
	use := c.Routes[0].Use
	if !use[0].Ref || use[0].Kind != "partner" || use[1].Ref || use[1].Kind != "cors" || use[1].Pos() != (Pos{"x.yaml", 3, 39}) {
		t.Errorf("%+v %+v", use[0], use[1])
	}
	if got := c.Pos(&c.Routes[0].Use[0]); got != (Pos{"x.yaml", 3, 30}) {
		t.Errorf("the first step stands at %v", got)
	}
}
