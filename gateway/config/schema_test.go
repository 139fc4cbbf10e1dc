package config

import (
	"bytes"
	"embed"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pithead/pithead/gateway/kind"
)

//go:embed *_test.go
var noKinds embed.FS

// kindsForTest are tables as build has them, filled with what the good examples
// use.
func kindsForTest(t *testing.T) []KindInfo {
	t.Helper()
	var all []KindInfo
	fill := func(noun string, names ...string) {
		table := kind.NewTable[int, int](noun, noKinds)
		build := func(limiter, int) (int, error) { return 0, nil }
		for _, name := range names {
			kind.Add(table, name, limiter{Burst: 7}, build)
		}
		infos, err := KindsOf(table)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, infos...)
	}
	fill("balancing policy", "round_robin", "least_request")
	fill("discovery source", "consul")
	fill("middleware", "limit")
	return all
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema(kindsForTest(t))
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json") // checks it against the 2020-12 meta-schema
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestSchema(t *testing.T) {
	schema := compileSchema(t)
	f := func(text, want string) {
		t.Helper()
		err := schema.Validate(jsonOf(t, text))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s\n%v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
	f(`{upstreams: {a: {discover: {consul: {burst: 1}}, balance: least_request}}, routes: [{match: {prefix: /}, to: a}]}`, "")
	f(`{routes: [{match: {prefix: /}, to: a, use: [named, {limit: {window: 1m30s, body: 2KiB, targets: ["tcp:a", {port: 1}]}}]}]}`, "")
	f(`{consul: {key: 8080, dry: true, ratio: 0.5}}`, "")
	f(`{reload: {watch: "${WATCH}", poll: "${POLL:-5s}"}, listeners: {w: {address: ":1", limits: {streams: "${N}", header_bytes: 20000}}}}`, "")
	f(`{lissteners: {}}`, "additional properties 'lissteners' not allowed")
	f(`{routes: [{match: {prefx: /}, to: a}]}`, "additional properties 'prefx' not allowed")
	f(`{routes: [{match: {prefix: /}, use: [limit]}]}`, "")
	f(`{routes: [{to: a}]}`, "missing property 'match'")
	f(`{upstreams: {a: {}}}`, "missing property 'discover'")
	f(`{routes: [{match: {prefix: /}, to: a, use: [{limt: {}}]}]}`, "additional properties 'limt' not allowed")
	f(`{routes: [{match: {prefix: /}, to: a, use: [{limit: {brst: 1}}]}]}`, "additional properties 'brst' not allowed")
	f(`{routes: [{match: {prefix: /}, to: a, use: [{limit: {}, other: {}}]}]}`, "use/0")
	f(`{consul: {brst: 1}}`, "additional properties 'brst' not allowed")
	f(`{shutdown: {delay: 5}}`, "delay")
	f(`{shutdown: {delay: "5 s"}}`, "delay")
	f(`{reload: {watch: "yes"}}`, "watch")
	f(`{listeners: {w: {address: ":1", limits: {header_bytes: 10MB}}}}`, "header_bytes")
	f(`{listeners: []}`, "want object")
}

// Whatever the schema and the decoder both judge, they judge alike: the good
// examples, with kinds left out that the test's tables do not have.
func TestSchemaOfExamples(t *testing.T) {
	schema := compileSchema(t)
	for _, name := range []string{"shortest", "one_document", "anchors"} {
		data, err := os.ReadFile(filepath.Join("testdata", "good", name+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(data), `static: {targets: ["10.0.0.7:9000"]}`, `consul: {}`)
		if err := schema.Validate(jsonOf(t, text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSchemaTexts(t *testing.T) {
	text, err := Schema(kindsForTest(t))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Version    string `json:"$schema"`
		Properties map[string]struct {
			Description string
			Properties  map[string]struct {
				Description string
				Default     any
			}
		}
		Defs map[string]struct {
			Description string
			Properties  map[string]struct{ Default any }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	poll := doc.Properties["reload"].Properties["poll"]
	limit := doc.Defs["middleware.limit"]
	for _, one := range []struct{ got, want any }{
		{doc.Version, "https://json-schema.org/draft/2020-12/schema"},
		{doc.Properties["routes"].Description, "Routes say which requests go where."},
		{poll.Description, "Poll is how often the files are read even without a notice of the system. Default: 10s."},
		{poll.Default, "10s"},
		{doc.Properties["reload"].Properties["watch"].Default, true},
		{limit.Properties["burst"].Default, 7.0},
	} {
		if diff := cmp.Diff(one.want, one.got); diff != "" {
			t.Error(diff)
		}
	}
}

// jsonOf is a YAML text as a JSON Schema validator wants it.
func jsonOf(t *testing.T, text string) any {
	t.Helper()
	tree, errs := (&sourceFile{name: "x.yaml", data: []byte(text)}).resolve(expandNothing)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return jsonValue(tree)
}

func expandNothing(*node) error { return nil }

func jsonValue(n *node) any {
	switch n.kind {
	case mappingNode:
		m := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			m[e.key] = jsonValue(e.value)
		}
		return m
	case sequenceNode:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = jsonValue(item)
		}
		return list
	case nullNode:
		return nil
	}
	switch {
	case n.quoted:
		return n.raw
	case n.raw == "true" || n.raw == "false":
		return n.raw == "true"
	case decimal.MatchString(n.raw):
		return json.Number(n.raw)
	}
	return n.raw
}

func TestDescribe(t *testing.T) {
	docs := kind.Docs{"limiter.Burst": "Burst is a number.", "rule.CIDR": "CIDR is a network."}
	infos := kindsForTest(t)
	got := make(map[string]Setting)
	for _, s := range Describe(infos[0].Type, infos[0].Defaults, docs) {
		got[s.Name] = s
	}
	for _, want := range []Setting{
		{Name: "burst", Type: "a whole number", Default: "7", Doc: "Burst is a number."},
		{Name: "dry", Type: "true or false", Default: "false"},
		{Name: "window", Type: "a duration"},
		{Name: "body", Type: "a size"},
		{Name: "secret", Type: "a secret"},
		{Name: "split", Type: "a map of names to whole numbers"},
		{Name: "rules", Type: "a list of maps of settings"},
		{Name: "rules[].cidr", Type: "a network", Required: true, Doc: "CIDR is a network."},
		{Name: "rules[].weight", Type: "a whole number", Default: "1"},
		{Name: "store.address", Type: "text"},
		{Name: "targets", Type: "a list of text or a map of settings"},
		{Name: "targets[].port", Type: "a whole number"},
		{Name: "networks", Type: "a list of IP addresses"},
		{Name: "name", Type: "text"},
	} {
		if diff := cmp.Diff(want, got[want.Name]); diff != "" {
			t.Errorf("%s: %s", want.Name, diff)
		}
	}
}
