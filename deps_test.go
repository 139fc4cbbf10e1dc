// Package pithead_test holds the tests of the house as a whole: who may import
// whom, what every document must hold, what every kind must have.
package pithead_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pithead/pithead/"

// rooms lists for every package which other packages of this module it may
// import. A package that is missing here may not exist.
var rooms = map[string][]string{
	"gateway":                     {},
	"gateway/kind":                {},
	"gateway/keep":                {},
	"gateway/siphash":             {},
	"gateway/pace":                {},
	"gateway/sealed":              {},
	"gateway/jwks":                {"gateway"},
	"gateway/breaker":             {"gateway"},
	"gateway/concurrency":         {"gateway"},
	"gateway/overload":            {},
	"gateway/httpsig":             {},
	"gateway/httpcache":           {"gateway", "gateway/grammar"},
	"gateway/limiter":             {},
	"gateway/limiter/shared":      {"gateway/limiter", "gateway/store"},
	"gateway/store":               {"gateway/obs"},
	"gateway/limitview":           {},
	"gateway/unixsocket":          {},
	"gateway/anatomy":             {"gateway"},
	"bpf":                         {"gateway/anatomy", "test/cable"},
	"cmd/pithead-probe":           {"bpf", "gateway/anatomy", "test/cable"},
	"gateway/grpcweb":             {"gateway/transcode"},
	"gateway/transcode":           {"gateway", "gateway/transcode/wire"},
	"gateway/transcode/wire":      {},
	"gateway/openapi":             {"gateway", "gateway/transcode"},
	"gateway/demo":                {"gateway/demo/ordersv1"},
	"gateway/demo/ordersv1":       {},
	"gateway/canon":               {"gateway", "gateway/grammar"},
	"gateway/obs":                 {"gateway"},
	"gateway/config":              {"gateway", "gateway/kind", "gateway/pace"},
	"gateway/secrets":             {"gateway", "gateway/config"},
	"gateway/route":               {"gateway", "gateway/grammar", "gateway/pace"},
	"gateway/balance":             {"gateway", "gateway/kind", "gateway/siphash"},
	"gateway/balance/balancetest": {"gateway"},
	"gateway/splice":              {},
	"gateway/grammar":             {},
	"gateway/http1":               {"gateway/grammar", "gateway/splice"},
	"gateway/upstream":            {"gateway", "gateway/anatomy", "gateway/http1", "gateway/keep", "gateway/splice"},
	"gateway/proxy":               {"gateway", "gateway/canon", "gateway/grammar", "gateway/splice"},
	"middleware":                  {"gateway", "gateway/breaker", "gateway/canon", "gateway/concurrency", "gateway/grammar", "gateway/grpcweb", "gateway/httpcache", "gateway/httpsig", "gateway/jwks", "gateway/keep", "gateway/kind", "gateway/limiter", "gateway/limiter/shared", "gateway/limitview", "gateway/obs", "gateway/openapi", "gateway/sealed", "gateway/siphash", "gateway/store", "gateway/transcode"},
	"middleware/middlewaretest":   {"gateway", "gateway/config", "gateway/keep", "gateway/kind", "gateway/obs", "middleware"},
	"discovery":                   {"gateway", "gateway/keep", "gateway/kind"},
	"discovery/discoverytest":     {"gateway", "discovery"},

	"gateway/transcode/wire/internal/testpb": {},

	"gateway/build": {
		"discovery", "gateway", "gateway/anatomy", "gateway/balance", "gateway/breaker", "gateway/canon", "gateway/config", "gateway/httpcache", "gateway/keep", "gateway/kind", "gateway/limitview",
		"gateway/obs", "gateway/pace", "gateway/proxy", "gateway/route", "gateway/upstream", "middleware",
	},
	"gateway/server": {"gateway", "gateway/anatomy", "gateway/build", "gateway/config", "gateway/http1", "gateway/keep", "gateway/obs", "gateway/overload", "gateway/pace", "gateway/splice", "gateway/unixsocket"},
	"gateway/admin":  {"gateway", "gateway/anatomy", "gateway/limitview", "gateway/unixsocket"},
	"configs":        {},
	"cmd/pithead": {
		"configs", "discovery", "gateway", "gateway/admin", "gateway/breaker", "gateway/build", "gateway/config", "gateway/demo", "gateway/httpcache", "gateway/keep",
		"gateway/kind", "gateway/limitview", "gateway/obs", "gateway/secrets", "gateway/server", "gateway/transcode",
	},
	"test/browser":    {},
	"test/cable":      {},
	"test/certtest":   {},
	"test/consultest": {"test/freeport"},
	"test/freeport":   {},
	"test/gatewayapi": {},
	"test/hostile":    {},
	"test/oidc":       {},
	"test/redistest":  {"test/freeport"},
}

// outside lists modules that only one room may import.
var outside = map[string]string{
	"github.com/gorilla/mux":              "gateway/route",
	"github.com/goccy/go-yaml":            "gateway/config discovery",
	"github.com/hashicorp/consul":         "discovery",
	"github.com/prometheus/client_golang": "gateway/obs cmd/pithead-probe",
	"github.com/redis/go-redis":           "gateway/store test/redistest",
	"github.com/spf13/cobra":              "cmd/pithead cmd/pithead-probe",
	"github.com/invopop/jsonschema":       "gateway/config",
	"github.com/golang-jwt/jwt":           "gateway/jwks",
	"github.com/dunglas/httpsfv":          "gateway/httpsig",
	"filippo.io/age":                      "gateway/secrets",
	"golang.org/x/oauth2":                 "middleware",
	"github.com/chromedp/chromedp":        "test/oidc test/browser",
	"github.com/sony/gobreaker":           "middleware gateway/breaker gateway/upstream gateway/store",
	"github.com/klauspost/compress":       "middleware",
	"github.com/andybalholm/brotli":       "middleware",
	"github.com/coreos/go-systemd":        "gateway/server",
	"github.com/fsnotify/fsnotify":        "gateway/server discovery",
	"github.com/pires/go-proxyproto":      "gateway/server gateway/upstream",
	"github.com/cilium/ebpf":              "bpf",
	"github.com/bufbuild/protocompile":    "gateway/transcode",
	"github.com/getkin/kin-openapi":       "gateway/transcode gateway/openapi",
	"net/http/pprof":                      "",
}

func TestImportsGoOneWay(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		room, ours := strings.CutPrefix(pkg.ImportPath, module)
		if !ours {
			continue // the root, which is tests only
		}
		allowed, known := rooms[room]
		if !known {
			t.Errorf("package %s has no line in rooms", room)
		}
		for _, imported := range pkg.Imports {
			checkImport(t, room, imported, allowed)
		}
	}
}

func checkImport(t *testing.T, room, imported string, allowed []string) {
	t.Helper()
	if inner, ours := strings.CutPrefix(imported, module); ours {
		if !slices.Contains(allowed, inner) {
			t.Errorf("%s imports %s; it may import %v", room, inner, allowed)
		}
		return
	}
	for prefix, owners := range outside {
		if strings.HasPrefix(imported, prefix) && !slices.Contains(strings.Fields(owners), room) {
			t.Errorf("%s imports %s; only %q may", room, imported, owners)
		}
	}
	if room == "gateway" && strings.Contains(strings.Split(imported, "/")[0], ".") {
		t.Errorf("gateway imports %s; it may import only the standard library", imported)
	}
}
