package discoverytest

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"time"
)

// Entry is a service that has registered itself with the fake agent, with its
// one check.
type Entry struct {
	Name, Address string
	Port          int
	Tags          []string
	Meta          map[string]string
	TTL           string
	After         string // DeregisterCriticalServiceAfter
	Token         string // that the last call came with
	Status, Note  string
	Told          time.Time // when the check was last reported on
}

// Entries are the services that have registered themselves, by ID.
func (c *Consul) Entries() map[string]Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.entries)
}

// serveAgent is the API for services on the agent's machine.
func (c *Consul) serveAgent(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	fault := c.fault
	c.mu.Unlock()
	switch fault {
	case None:
	case Hang:
		<-r.Context().Done()
		return
	default:
		c.answer(w, r, fault, "")
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/v1/agent/")
	if path == "service/register" {
		c.register(w, r)
		return
	}
	if id, ok := strings.CutPrefix(path, "check/update/service:"); ok {
		c.update(w, r, id)
		return
	}
	id, ok := strings.CutPrefix(path, "service/deregister/")
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.entries[id]; !ok || !known {
		http.Error(w, "Unknown service ID "+id, http.StatusNotFound)
		return
	}
	delete(c.entries, id)
}

func (c *Consul) register(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ID, Name, Address string
		Port              int
		Tags              []string
		Meta              map[string]string
		Check             struct{ CheckID, TTL, Status, Notes, DeregisterCriticalServiceAfter string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Method != http.MethodPut || body.Check.CheckID != "service:"+body.ID {
		http.Error(w, "this is no registration", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[body.ID] = Entry{
		Name: body.Name, Address: body.Address, Port: body.Port, Tags: body.Tags, Meta: body.Meta,
		TTL: body.Check.TTL, After: body.Check.DeregisterCriticalServiceAfter,
		Token: r.Header.Get("X-Consul-Token"), Status: body.Check.Status, Note: body.Check.Notes, Told: time.Now(),
	}
}

func (c *Consul) update(w http.ResponseWriter, r *http.Request, id string) {
	var body struct{ Status, Output string }
	err := json.NewDecoder(r.Body).Decode(&body)
	c.mu.Lock()
	defer c.mu.Unlock()
	e, known := c.entries[id]
	if err != nil || !known {
		http.Error(w, "Unknown check ID", http.StatusNotFound)
		return
	}
	e.Status, e.Note, e.Told, e.Token = body.Status, body.Output, time.Now(), r.Header.Get("X-Consul-Token")
	c.entries[id] = e
}
