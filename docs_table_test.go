package pithead_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pithead/pithead/gateway/config"
)

// row is a row of a table that says how something is written here.
type row struct {
	line   string
	fields []string // what is to be written
	here   []string // lines of YAML
	proof  []string // "TestX", "TestX/subtest", with the folder before it if it is not the table's
}

// The fields of the routes of the Gateway API, v1.5, experimental ones included, as
// apis/v1/httproute_types.go and grpcroute_types.go have them.
const (
	bothRouteFields = `parentRefs[].group parentRefs[].kind parentRefs[].namespace parentRefs[].name parentRefs[].sectionName parentRefs[].port
		useDefaultGateways hostnames rules[].name rules[].matches matches[].headers[].type matches[].headers[].name matches[].headers[].value
		filters[].type filters[].requestHeaderModifier.set filters[].requestHeaderModifier.add filters[].requestHeaderModifier.remove
		filters[].responseHeaderModifier.set filters[].responseHeaderModifier.add filters[].responseHeaderModifier.remove
		filters[].requestMirror.backendRef filters[].requestMirror.percent
		filters[].requestMirror.fraction.numerator filters[].requestMirror.fraction.denominator
		filters[].extensionRef.group filters[].extensionRef.kind filters[].extensionRef.name
		backendRefs[].group backendRefs[].kind backendRefs[].namespace backendRefs[].name backendRefs[].port backendRefs[].weight backendRefs[].filters
		sessionPersistence.sessionName sessionPersistence.absoluteTimeout sessionPersistence.idleTimeout sessionPersistence.type
		sessionPersistence.cookieConfig.lifetimeType`
	httpRouteFields = bothRouteFields + ` matches[].path.type matches[].path.value
		matches[].queryParams[].type matches[].queryParams[].name matches[].queryParams[].value matches[].method
		filters[].requestRedirect.scheme filters[].requestRedirect.hostname filters[].requestRedirect.port filters[].requestRedirect.statusCode
		filters[].requestRedirect.path.type filters[].requestRedirect.path.replaceFullPath filters[].requestRedirect.path.replacePrefixMatch
		filters[].urlRewrite.hostname
		filters[].urlRewrite.path.type filters[].urlRewrite.path.replaceFullPath filters[].urlRewrite.path.replacePrefixMatch
		filters[].cors.allowOrigins filters[].cors.allowCredentials filters[].cors.allowMethods filters[].cors.allowHeaders
		filters[].cors.exposeHeaders filters[].cors.maxAge
		filters[].externalAuth.protocol filters[].externalAuth.backendRef filters[].externalAuth.grpc filters[].externalAuth.http.path
		filters[].externalAuth.http.allowedHeaders filters[].externalAuth.http.allowedResponseHeaders filters[].externalAuth.forwardBody.maxSize
		timeouts.request timeouts.backendRequest retry.codes retry.attempts retry.backoff`
	grpcRouteFields   = bothRouteFields + ` matches[].method.type matches[].method.service matches[].method.method`
	backendTLSFields  = `targetRefs validation.caCertificateRefs validation.wellKnownCACertificates validation.hostname validation.subjectAltNames options`
	canaryAnnotations = `canary canary-by-header canary-by-header-value canary-by-header-pattern canary-by-cookie canary-weight canary-weight-total
		affinity affinity-canary-behavior`
)

// Every field of the Gateway API's routes has a line of YAML that compiles and a test
// that is there, or stands in the list of what is not there yet.
func TestGatewayAPITable(t *testing.T) {
	const doc = "docs/gateway-api.md"
	notYet := spans(section(t, doc, "## Not yet"))
	for heading, fields := range map[string]string{"## HTTPRoute": httpRouteFields, "## GRPCRoute": grpcRouteFields, "## BackendTLSPolicy": backendTLSFields} {
		t.Run(heading[3:], func(t *testing.T) {
			rows := tableRows(t, section(t, doc, heading))
			wantFields(t, rows, fields, notYet)
			for _, r := range rows {
				checkProof(t, r, "test/gatewayapi")
				compileRow(t, r, fieldConfig(r.here))
			}
		})
	}
}

// The same of ingress-nginx's canary annotations, whose lines are settings of canary.
func TestCanaryAnnotationsTable(t *testing.T) {
	rows := tableRows(t, section(t, "docs/howto/canary.md", "## Coming from ingress-nginx"))
	wantFields(t, rows, canaryAnnotations, nil)
	for _, r := range rows {
		checkProof(t, r, "middleware")
		settings := strings.Join(r.here, ", ")
		if !strings.Contains(settings, "split:") {
			settings += ", split: {stable: 1, canary: 1}"
		}
		compileRow(t, r, fieldConfig([]string{"use: [canary: {" + settings + "}]"}))
	}
}

// section is what stands under a heading of a document.
func section(t *testing.T, doc, heading string) string {
	t.Helper()
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut("\n"+string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no heading %q", doc, heading)
	}
	within, _, _ := strings.Cut(rest, "\n## ")
	return within
}

func spans(text string) (all []string) {
	for i, part := range strings.Split(text, "`") {
		if i%2 == 1 {
			all = append(all, part)
		}
	}
	return all
}

// fragment is a code span of YAML, not one that only names a setting.
var fragment = regexp.MustCompile(`^[a-z_]+: `)

func tableRows(t *testing.T, text string) (rows []row) {
	t.Helper()
	for line := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "| ") || cells[0] == "Field" || cells[0] == "Annotation" {
			continue
		}
		if len(cells) != 3 {
			t.Errorf("%d cells in %s", len(cells), line)
			continue
		}
		r := row{line: line, fields: spans(cells[0]), proof: spans(cells[2])}
		for _, span := range spans(cells[1]) {
			if fragment.MatchString(span) {
				r.here = append(r.here, span)
			}
		}
		if len(r.here) == 0 || len(r.proof) == 0 {
			t.Errorf("no YAML or no test in %s", line)
		}
		rows = append(rows, r)
	}
	return rows
}

func wantFields(t *testing.T, rows []row, fields string, notYet []string) {
	t.Helper()
	want, said := strings.Fields(fields), make(map[string]bool)
	for _, r := range rows {
		for _, field := range r.fields {
			name, _, _ := strings.Cut(field, ":") // an annotation with its value
			said[name] = true
			if !slices.Contains(want, name) {
				t.Errorf("%s is no field; the table has it in %s", name, r.line)
			}
		}
	}
	for _, field := range notYet {
		said[field] = true
	}
	for _, field := range want {
		if !said[field] {
			t.Errorf("%s is missing", field)
		}
	}
}

// checkProof looks for the named tests.
func checkProof(t *testing.T, r row, folder string) {
	t.Helper()
	for _, proof := range r.proof {
		dir, name := folder, proof
		if before, after, ok := strings.Cut(proof, " Test"); ok {
			dir, name = before, "Test"+after
		}
		name, sub, _ := strings.Cut(name, "/")
		sources := ""
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "\nfunc "+name+"(t *testing.T)") {
				sources += string(text)
			}
		}
		switch {
		case sources == "":
			t.Errorf("there is no %s in %s", name, dir)
		case sub != "" && !strings.Contains(sources, `"`+sub+`"`):
			t.Errorf("%s in %s has no subtest %q", name, dir, sub)
		}
	}
}

// fieldConfig puts lines where they belong: into a route, its upstream or the
// process file. What they do not say is filled in.
func fieldConfig(lines []string) string {
	route := map[string]string{"name": "it", "match": "{prefix: /}", "to": "orders"}
	upstream := map[string]string{"discover": `{static: {targets: ["10.0.0.7:9000"]}}`}
	top := map[string]string{"listeners": `{web: {address: ":8080", protocols: [h1, h2c]}, inside: {address: ":8081"}}`}
	for _, line := range lines {
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "listeners":
			top[key] = value
		case "discover", "protocol", "tls", "host":
			upstream[key] = value
		default:
			route[key] = value
		}
	}
	flow := func(settings map[string]string) string {
		var all []string
		for _, key := range slices.Sorted(maps.Keys(settings)) {
			all = append(all, key+": "+settings[key])
		}
		return strings.Join(all, ", ")
	}
	const other = `discover: {static: {targets: ["10.0.0.8:9000"]}}`
	return "listeners: " + top["listeners"] +
		"\nupstreams:\n  orders: {" + flow(upstream) + ", arms: {stable: {tag: stable}, canary: {tag: canary}}}\n  orders-v2: {" + other + "}\n  auth: {" + other + "}\n" +
		"routes:\n  - {" + flow(route) + "}\n"
}

func compileRow(t *testing.T, r row, text string) {
	t.Helper()
	path := filepath.Join(certificates(t, "ca"), "pithead.yaml") // beside ca.pem
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := config.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := compile(files); err != nil {
		t.Errorf("%s\n%v\n%s", r.line, err, text)
	}
}
