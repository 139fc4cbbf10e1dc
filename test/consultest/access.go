package consultest

import (
	"context"
	"encoding/json"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// allRights is the token of an agent with access control.
const allRights = "6d0e3d6e-0c9a-4f0e-8c7b-2f6a1e0d9b31"

// StartWithAccessControl is Start for an agent that refuses whatever no token
// allows.
func StartWithAccessControl(t testing.TB) *Agent {
	t.Helper()
	a := start(t, `acl {
  enabled = true
  default_policy = "deny"
  tokens {
    initial_management = "`+allRights+`"
    agent = "`+allRights+`"
  }
}
`, allRights)
	a.until("the token with all rights", func() bool {
		_, err := a.call(context.Background(), http.MethodGet, "/v1/acl/token/self", nil)
		return err == nil
	})
	return a
}

// until waits for something that Consul does in its own time.
func (a *Agent) until(what string, is func() bool) {
	a.t.Helper()
	late := time.After(startLimit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-late:
			a.t.Fatalf("no %s in %s", what, startLimit)
		case <-tick.C:
		}
	}
}

// AccessToken is a token that allows something.
type AccessToken struct{ ID, Secret string }

// NewToken makes a token that allows what the rules of a policy say.
func (a *Agent) NewToken(policy, rules string) AccessToken {
	a.t.Helper()
	a.send(http.MethodPut, "/v1/acl/policy", map[string]any{"Name": policy, "Rules": rules}, nil)
	var made struct{ AccessorID, SecretID string }
	a.send(http.MethodPut, "/v1/acl/token", map[string]any{"Policies": []any{map[string]string{"Name": policy}}}, &made)
	return AccessToken{made.AccessorID, made.SecretID}
}

// Revoke makes a token worthless.
func (a *Agent) Revoke(token AccessToken) {
	a.t.Helper()
	a.send(http.MethodDelete, "/v1/acl/token/"+token.ID, nil, nil)
}

// Entry is an instance of a service as Consul shows it.
type Entry struct {
	ID, Address string
	Port        int
	Tags        []string
	Meta        map[string]string
	Status      string // the worst of its checks
}

// Entries are the instances of a service, well or not.
func (a *Agent) Entries(service string) []Entry {
	a.t.Helper()
	var found []struct {
		Service struct {
			ID, Address string
			Port        int
			Tags        []string
			Meta        map[string]string
		}
		Checks []struct{ Status string }
	}
	a.send(http.MethodGet, "/v1/health/service/"+service, nil, &found)
	entries := make([]Entry, len(found))
	for i, f := range found {
		entries[i] = Entry{f.Service.ID, f.Service.Address, f.Service.Port, f.Service.Tags, f.Service.Meta, "passing"}
		for _, c := range f.Checks {
			if c.Status != "passing" {
				entries[i].Status = c.Status
			}
		}
	}
	return entries
}

// Freeze makes the agent a black hole: connections to it stay and lead nowhere.
func (a *Agent) Freeze() { a.t.Helper(); a.signal(syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (a *Agent) Thaw() { a.t.Helper(); a.signal(syscall.SIGCONT) }

func (a *Agent) signal(sig syscall.Signal) {
	a.t.Helper()
	if err := a.cmd.Process.Signal(sig); err != nil {
		a.t.Fatal(err)
	}
}

// send calls the API and reads the answer into into, which may be nil.
func (a *Agent) send(method, path string, body, into any) {
	a.t.Helper()
	var text []byte
	var err error
	if body != nil {
		text, err = json.Marshal(body)
	}
	if err == nil {
		text, err = a.call(context.Background(), method, path, text)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		a.t.Fatal(err)
	}
}
