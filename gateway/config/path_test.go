package config

import (
	"testing"

	"github.com/pithead/pithead/gateway/kind"
)

// keyed has a file's name among its settings.
type keyed struct {
	Key   kind.Path `yaml:"key"`
	Store kind.Path `yaml:"store"`
	Name  string    `yaml:"name"`
}

// A path means the same whoever inherits it: it starts where it is written.
func TestPathsStartAtTheirFile(t *testing.T) {
	files := FilesOf("/etc/pithead/pithead.yaml", []byte("consul: {key: keys/a, store: /var/lib, name: keys/a}\n")).
		With("/etc/pithead/routes.d/a.yaml", []byte("upstreams: {a: {discover: {consul: {}}}, b: {discover: {consul: {key: b, store: \"\"}}}}\n"))
	c, err := Parse(files)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]keyed{
		"a": {Key: "/etc/pithead/keys/a", Store: "/var/lib", Name: "keys/a"},
		"b": {Key: "/etc/pithead/routes.d/b", Name: "keys/a"},
	} {
		var got keyed
		if err := c.Upstreams[name].Discover.Over(c.Consul).Decode(&got); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestBlockWithout(t *testing.T) {
	c, err := Parse(FilesOf("pithead.yaml", []byte("consul: {key: a, name: b}\n")))
	if err != nil {
		t.Fatal(err)
	}
	var got keyed
	less := c.Consul.Without("key")
	if err := less.DecodePart(&got); err != nil || got != (keyed{Name: "b"}) {
		t.Errorf("%+v, %v", got, err)
	}
	if less.Fingerprint() == c.Consul.Fingerprint() {
		t.Error("a block without a setting has the fingerprint of the whole")
	}
	if c.Consul.Without("nothing") != c.Consul || (*Block)(nil).Without("key") != nil {
		t.Error("a block that lacks nothing is another one")
	}
	if err := c.Consul.DecodePart(&got); err != nil || got.Key != "a" {
		t.Errorf("the whole block has become %+v, %v", got, err)
	}
}
