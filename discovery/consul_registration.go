package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/pithead/pithead/gateway/kind"
)

// RegisterConfig enters the gateway itself in Consul's catalogue, with a check
// that it reports on by itself: passing while /readyz is 200, critical while it
// is not. Consul need not reach the gateway for that. The entry is made again
// when the agent has forgotten it, and taken out as soon as the gateway begins
// to shut down.
type RegisterConfig struct {
	// Service is the name in the catalogue. Default: pithead.
	Service string `yaml:"service"`
	// ID tells the replicas apart on one agent. Default: service, host name and port.
	ID string `yaml:"id"`
	// Address at which others reach the gateway, a host name or an IP address. Default: that of the agent's node.
	Address string `yaml:"address"`
	// Port at which others reach the gateway. Default: the port of the only
	// listener; with several it must be written.
	Port int `yaml:"port"`
	// Tags of the entry. Default: none.
	Tags []string `yaml:"tags"`
	// Meta of the entry. Default: none.
	Meta map[string]string `yaml:"meta"`
	// TTL is after how long without a report Consul takes the gateway for failed,
	// 3s to 1h. It reports three times as often. Default: 15s.
	TTL time.Duration `yaml:"ttl"`
	// DeregisterAfter is after how long as a failed one Consul takes the entry out,
	// at least 1m, to which Consul adds up to half a minute. Default: 1m.
	DeregisterAfter time.Duration `yaml:"deregister_after"`
}

// SetDefaults sets the values that the comments of the fields name.
func (c *RegisterConfig) SetDefaults() {
	c.Service, c.TTL, c.DeregisterAfter = "pithead", 15*time.Second, time.Minute
}

// Validate checks the settings.
func (c *RegisterConfig) Validate() error {
	var errs []error
	if c.Service == "" || strings.ContainsFunc(c.Service, notInID) {
		errs = append(errs, kind.At("service", "%q will not do; letters, digits, and any of -_.: will", c.Service))
	}
	if strings.ContainsFunc(c.ID, notInID) {
		errs = append(errs, kind.At("id", "%q will not do; letters, digits, and any of -_.: will", c.ID))
	}
	if c.Address != "" {
		if _, err := parseHost(c.Address); err != nil {
			errs = append(errs, kind.At("address", "%w", err))
		}
	}
	if c.Port < 0 || c.Port > 65535 {
		errs = append(errs, kind.At("port", "must be 1 to 65535, not %d", c.Port))
	}
	if c.TTL < 3*time.Second || c.TTL > time.Hour {
		errs = append(errs, kind.At("ttl", "must be 3s to 1h, not %s", c.TTL))
	}
	if c.DeregisterAfter < time.Minute {
		errs = append(errs, kind.At("deregister_after", "must be 1m or more, not %s; consul takes no less", c.DeregisterAfter))
	}
	return errors.Join(errs...)
}

// notInID is true of what must not be in a segment of a path of Consul's API.
func notInID(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.:", r)
}

// Registration is the entry of this gateway in Consul's catalogue as the
// configuration wants it.
type Registration struct {
	client *consulClient
	entry  api.AgentServiceRegistration
	ttl    time.Duration
	home   string // equal for registrations of which one replaces the other
}

// Registration is what c says of it; nil if it says nothing. Port is the one of
// the gateway unless c names one; 0 is an unknown one.
func (c ConsulConfig) Registration(port int, log *slog.Logger) (*Registration, error) {
	return c.registration(port, nil, log)
}

func (c ConsulConfig) registration(port int, dial dialFunc, log *slog.Logger) (*Registration, error) {
	if c.Register == nil {
		return nil, nil //nolint:nilnil // no registration is what most configurations want
	}
	w := *c.Register
	errs := []error{c.Validate()}
	for _, fault := range kind.SettingErrors(w.Validate()) {
		errs = append(errs, kind.At("register."+fault.Path, "%w", fault.Err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if port = cmp.Or(w.Port, port); port == 0 {
		return nil, kind.At("register.port", "is required: there is not exactly one listener with a port of its own")
	}
	client, err := newConsulClient(c, dial, log)
	if err != nil {
		return nil, err
	}
	id := w.ID
	if id == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, kind.At("register.id", "is required: this machine has no name: %w", err)
		}
		id = w.Service + "-" + host + "-" + strconv.Itoa(port)
	}
	r := &Registration{client: client, ttl: w.TTL, entry: api.AgentServiceRegistration{
		ID: id, Name: w.Service, Address: w.Address, Port: port, Tags: slices.Clone(w.Tags), Meta: maps.Clone(w.Meta),
		Check: &api.AgentServiceCheck{
			CheckID: "service:" + id, Name: "gateway", TTL: w.TTL.String(), DeregisterCriticalServiceAfter: w.DeregisterAfter.String(),
		},
	}}
	r.home = fmt.Sprintf("%q", []string{c.Address, c.Namespace, c.Partition, id})
	return r, nil
}

func (r *Registration) register(ctx context.Context, status, note string) error {
	entry, check := r.entry, *r.entry.Check
	check.Status, check.Notes = status, note
	entry.Check = &check
	err := r.client.Agent().ServiceRegisterOpts(&entry, api.ServiceRegisterOpts{ReplaceExistingChecks: true}.WithContext(ctx))
	if err != nil {
		return r.client.cleanError(err)
	}
	return nil
}

// report tells the agent how the gateway is. forgotten says that the agent has
// answered and knows of no such check, or will not hear of it.
func (r *Registration) report(ctx context.Context, status, note string) (forgotten bool, err error) {
	err = r.client.Agent().UpdateTTLOpts(r.entry.Check.CheckID, note, status, new(api.QueryOptions).WithContext(ctx))
	if err == nil {
		return false, nil
	}
	_, forgotten = errors.AsType[api.StatusError](err)
	return forgotten, r.client.cleanError(err)
}

// deregister takes the entry out. One that is not there is out.
func (r *Registration) deregister(ctx context.Context) error {
	err := r.client.Agent().ServiceDeregisterOpts(r.entry.ID, new(api.QueryOptions).WithContext(ctx))
	r.client.transport.CloseIdleConnections()
	if status, ok := errors.AsType[api.StatusError](err); err == nil || ok && status.Code == http.StatusNotFound {
		return nil
	}
	return r.client.cleanError(err)
}
