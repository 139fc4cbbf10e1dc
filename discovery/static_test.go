package discovery

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/discovery/discoverytest"
	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

func configOf(targets []gateway.Target) []TargetConfig {
	configs := make([]TargetConfig, len(targets))
	for i, t := range targets {
		configs[i] = TargetConfig{Address: t.Addr, Weight: &t.Weight, Zone: t.Zone, Tags: t.Tags, Meta: t.Meta}
	}
	return configs
}

func TestStaticConformance(t *testing.T) {
	discoverytest.Run(t, func(t *testing.T, targets []gateway.Target, _ func(error)) discoverytest.Bench {
		source, err := newStatic(StaticConfig{Targets: configOf(targets)}, Env{})
		if err != nil {
			t.Fatal(err)
		}
		return discoverytest.Bench{Source: source}
	})
}

// The age of a static set must not look like that of a dead registry.
func TestStaticIsConfirmedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, err := newStatic(StaticConfig{Targets: []TargetConfig{{Address: "10.0.0.7:9000"}}}, Env{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 35*time.Second)
		defer cancel()
		published := 0
		if err := source.Watch(ctx, func([]gateway.Target) { published++ }); err != nil || published != 4 {
			t.Errorf("published %d times in 35 s, want 4; %v", published, err)
		}
	})
}

func TestStaticValidate(t *testing.T) {
	f := func(want string, targets ...TargetConfig) {
		t.Helper()
		err := StaticConfig{Targets: targets}.Validate()
		var got []string
		for _, e := range kind.SettingErrors(err) {
			got = append(got, e.Error())
		}
		if diff := cmp.Diff(want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%v: errors (-want +got):\n%s", targets, diff)
		}
	}
	weight := func(w int) *int { return &w }

	f("", TargetConfig{Address: "10.0.0.7:9000"}, TargetConfig{Address: "[2001:db8::1]:9000"}, TargetConfig{Address: "Orders.internal.:80", Weight: weight(100)})
	f("targets: must hold at least one address")
	f("targets[0].address: is missing; write host:port", TargetConfig{})
	f(`targets[0].address: "10.0.0.7" is not host:port`, TargetConfig{Address: "10.0.0.7"})
	f(`targets[0].address: "http" is no port from 1 to 65535`, TargetConfig{Address: "10.0.0.7:http"})
	f(`targets[1].weight: must be 1 to 100, not 0; targets[2].weight: must be 1 to 100, not 101`,
		TargetConfig{Address: "a:1"}, TargetConfig{Address: "b:1", Weight: weight(0)}, TargetConfig{Address: "c:1", Weight: weight(101)})
	f(`targets[1].address: orders:80 is also targets[0]`, TargetConfig{Address: "orders:80"}, TargetConfig{Address: "ORDERS.:80"})
}

func TestTargetConfigText(t *testing.T) {
	var c TargetConfig
	if err := c.UnmarshalText([]byte("10.0.0.7:9000")); err != nil || c.Address != "10.0.0.7:9000" {
		t.Errorf("the short form became %+v, %v", c, err)
	}
}

func TestParseAddress(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		got, err := parseAddress(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("parseAddress(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	f("10.0.0.7:9000", "10.0.0.7:9000")
	f("[::ffff:10.0.0.7]:9000", "10.0.0.7:9000")
	f("[2001:DB8:0::1]:9000", "[2001:db8::1]:9000")
	f("My_Service.example.com.:1", "my_service.example.com:1")
	f("7eleven.example:65535", "7eleven.example:65535")

	t.Run("D02 hosts that are none", func(t *testing.T) {
		for _, host := range []string{
			"", ".", "a..b", "-a.b", "a-.b", "10.0.0.1:80/..", "/run/app.sock", "unix:/run/app.sock", "user@host", "a b", "a\r\nb", "ä.example",
			"127.1", "0x7f.1", "2130706433", "0177.0.0.1", "1.2.3.4.5", "10.0.0.256", "fe80::1%eth0", "a.0x7f",
			strings.Repeat("a", 64) + ".example", strings.Repeat("abcdefg.", 32) + "example",
		} {
			if got, err := parseHost(host); err == nil {
				t.Errorf("%q was accepted as %q", host, got)
			}
		}
	})
	t.Run("D03 ports that are none", func(t *testing.T) {
		for _, addr := range []string{"a:0", "a:65536", "a:70000", "a:-1", "a:+1", "a:", "a:1e3", "a:0x50", "a: 80"} {
			f(addr, "")
		}
	})
}

func TestKindsAreDocumented(t *testing.T) {
	docs, err := kind.ReadDocs(Kinds.Source())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range Kinds.Names() {
		k, _ := Kinds.Get(name)
		if _, example := kind.Example(docs[k.Type().Name()]); !strings.HasPrefix(example, name+":") {
			t.Errorf("the comment of %s has no example", name)
		}
		for field := range k.Type().Fields() {
			if docs[k.Type().Name()+"."+field.Name] == "" {
				t.Errorf("%s.%s has no comment", k.Type().Name(), field.Name)
			}
		}
	}
}
