package docker_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// TestCompose wants a compose file that Compose can read, and that refers to
// nothing that is not there.
func TestCompose(t *testing.T) {
	opts, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker", "compose.yaml")})
	if err != nil {
		t.Fatal(err)
	}
	project, err := opts.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stages := make(map[string]bool)
	for _, s := range parse(t) {
		stages[s.Name] = true
	}
	for _, want := range []string{"pithead", "orders-stable", "orders-canary", "probe", "consul", "redis", "prometheus", "grafana"} {
		if _, ok := project.Services[want]; !ok {
			t.Errorf("no service %s", want)
		}
	}
	for name, s := range project.Services {
		if s.Build != nil && !stages[s.Build.Target] {
			t.Errorf("%s: the Dockerfile has no stage %q", name, s.Build.Target)
		}
		for _, v := range s.Volumes {
			if _, err := os.Stat(v.Source); v.Type == types.VolumeTypeBind && err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is open to other machines", name, p.Published)
			}
		}
	}
}

// TestConsulServices lets Consul itself read what the compose file gives it.
func TestConsulServices(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data.json") // which `agent -dev` needs not
	if err := os.WriteFile(data, []byte(`{"data_dir": "/tmp"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool(t, "PITHEAD_CONSUL"), "validate", filepath.Join(root, "docker", "consul"), data).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func tool(t *testing.T, env string) string {
	t.Helper()
	path := os.Getenv(env)
	if path == "" {
		t.Fatalf("%s names no program; make test sets it", env)
	}
	return path
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(tool(t, "PITHEAD_PROMTOOL"), args...)
	cmd.Dir = filepath.Join(root, "docker", "prometheus")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPrometheus(t *testing.T) {
	promtool(t, "check", "config", "--lint=all", "--lint-fatal", "prometheus.yml")
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", "rules.yml")
	promtool(t, "test", "rules", "rules_test.yml")
}

// expressions are all queries of the dashboards.
func expressions(t *testing.T) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docker", "grafana", "dashboards", "*.json"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%d dashboards, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			Annotations struct{ List []struct{ Expr string } }
			Panels      []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(text, &dashboard); err != nil {
			t.Fatal(err)
		}
		before := len(all)
		for _, a := range dashboard.Annotations.List {
			all = append(all, a.Expr)
		}
		for _, p := range dashboard.Panels {
			for _, q := range p.Targets {
				all = append(all, q.Expr)
			}
		}
		if len(all)-before < 10 {
			t.Fatalf("%s: only %d queries found", file, len(all)-before)
		}
	}
	return all
}

// TestDashboardQueries lets Prometheus parse what the dashboard asks.
func TestDashboardQueries(t *testing.T) {
	rules := new(strings.Builder)
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__interval", "5m", "$route", ".*")
	for i, expr := range expressions(t) {
		quoted, err := json.Marshal(variables.Replace(expr))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(rules, "  - {record: 'dashboard:q%d', expr: %s}\n", i, quoted)
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

// metricName finds the gateway's own series in a query or a rule.
var metricName = regexp.MustCompile(`\bpithead_[a-z_]+\b`)

// TestMetricsExist wants every metric that a query, a rule or an alert names to
// be one that the gateway or the probe has.
func TestMetricsExist(t *testing.T) {
	var reference []byte
	for _, name := range []string{"reference/metrics.md", "howto/probe.md"} { // the probe's are in the second
		text, err := os.ReadFile(filepath.Join(root, "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		reference = append(reference, text...)
	}
	known := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^\\| `(pithead_[a-z_]+)` \\| ([a-z]+)").FindAllStringSubmatch(string(reference), -1) {
		known[m[1]] = true
		if m[2] == "histogram" {
			known[m[1]+"_bucket"], known[m[1]+"_sum"], known[m[1]+"_count"] = true, true, true
		}
	}
	rules, err := os.ReadFile(filepath.Join(root, "docker", "prometheus", "rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	own := regexp.MustCompile(`[a-z_]+:pithead_[a-z_]+:[a-z0-9_]+`) // what the rules record themselves
	for _, text := range append(expressions(t), string(rules)) {
		for _, name := range metricName.FindAllString(own.ReplaceAllString(text, ""), -1) {
			if !known[name] {
				t.Errorf("there is no metric %s", name)
			}
		}
	}
}
