package build

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
	"github.com/pithead/pithead/gateway/obs"
)

// Whatever is wrong with a file, looking for more must not make it worse: all
// that Parse found is still told, and nothing is left behind.
func TestMistakesOfBadFiles(t *testing.T) {
	files, err := filepath.Glob("../config/testdata/bad/*.yaml")
	if err != nil || len(files) < 45 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		env := Env{Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler), Metrics: obs.NewMetrics(obs.Build{})}
		cfg, found := config.Parse(config.FilesOf("bad.yaml", text))
		all := Mistakes(cfg, found, env)
		if found == nil || all == nil {
			t.Errorf("%s: found %v, all %v", file, found, all)
			continue
		}
		errs, _ := errors.AsType[config.Errors](found)
		for _, e := range errs {
			if !strings.Contains(all.Error(), e.Msg) {
				t.Errorf("%s: %q got lost", file, e.Msg)
			}
		}
		if env.Pool.Len() != 0 {
			t.Errorf("%s: %d values are kept", file, env.Pool.Len())
		}
	}
}

func TestMistakesOfBothKinds(t *testing.T) {
	cfg, found := config.Parse(config.FilesOf("pithead.yaml", []byte(`
listeners: {web: {adddress: ":8080"}}
upstreams:
  app: {discover: {statik: {}}}
  other: {discover: {static: {targets: ["10.0.0.7"]}}}
routes:
  - match: {prefix: /}
    use: [{ratelimit: {}}, gone]
    to: other
`)))
	err := Mistakes(cfg, found, Env{Pool: keep.NewPool(), Log: slog.New(slog.DiscardHandler), Metrics: obs.NewMetrics(obs.Build{})})
	var places []string
	errs, _ := errors.AsType[config.Errors](err)
	for _, e := range errs {
		places = append(places, e.String())
	}
	if got, want := strings.Join(places, " "), "pithead.yaml:2:19 pithead.yaml:4:20 pithead.yaml:5:41 pithead.yaml:8:12 pithead.yaml:8:28"; got != want {
		t.Errorf("places %s\nwant   %s\n%v", got, want, err)
	}
}
