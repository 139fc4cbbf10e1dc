package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pithead/pithead/gateway/config"
)

func TestGenerations(t *testing.T) {
	h := prepare(t, settings(2, web+ending), say("hello")).open()
	first := h.Generations()
	if len(first) != 1 || first[0].Number != 1 || first[0].Trigger != TriggerStart || !first[0].Changes.None() {
		t.Errorf("after the start: %+v", first)
	}
	if err := h.edit(strings.Replace(settings(3, web+ending), "/r1}", "/other}", 1)); err != nil {
		t.Fatal(err)
	}
	if err := h.edit("nonsense"); err == nil {
		t.Fatal("nonsense was accepted")
	}
	got := h.Generations()
	want := config.Changes{
		Routes: config.Change{Added: []string{"r2"}, Changed: []string{"r1"}},
		Files:  config.Change{Changed: []string{h.path}},
	}
	if len(got) != 2 || got[0].Number != 2 || got[0].Trigger != TriggerAdmin || got[0].Routes != 3 {
		t.Fatalf("after a change and a refused one: %+v", got)
	}
	if diff := cmp.Diff(want, got[0].Changes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range 2 * maxHistory {
		if err := h.edit(settings(3+i%2*500, web+ending)); err != nil {
			t.Fatal(err)
		}
	}
	got = h.Generations()
	if n := len(got[0].Changes.Routes.Added); len(got) != maxHistory || got[0].Number != 2+2*maxHistory || n != maxNamed+1 {
		t.Errorf("%d generations, the last is %d and has %d names", len(got), got[0].Number, n)
	}
	if status := h.Status(); status.LoadedBy != TriggerAdmin || status.Generation != got[0].Number {
		t.Errorf("status %+v", status)
	}
}

// TestGenerationOfACertificate: what changed need not stand in the configuration.
func TestGenerationOfACertificate(t *testing.T) {
	h, dir := secure(t, say("hello"))
	certify(t, dir, 2)
	if _, err := h.Reload(t.Context(), TriggerAdmin); err != nil {
		t.Fatal(err)
	}
	want := config.Changes{Files: config.Change{Changed: []string{dir + "/cert.pem", dir + "/key.pem"}}}
	for _, g := range h.Generations() {
		if g.Number > 1 && fmt.Sprint(g.Changes) == fmt.Sprint(want) {
			return
		}
	}
	t.Errorf("%+v has no %+v", h.Generations(), want)
}
