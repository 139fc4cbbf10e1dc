package build

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/pithead/pithead/discovery"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/gateway/keep"
)

// registration is the entry of the gateway itself in Consul, nil without one. It
// is kept while its settings are what they are, so that whoever announces it can
// tell a change from a reload.
func (c *compiler) registration() *discovery.Registration {
	block := c.cfg.Consul
	k, ok := discovery.Kinds.Get(consulKind)
	if block == nil || !ok {
		return nil
	}
	port, log := c.onlyPort(), c.Log // not c: the registration outlives it
	var made *discovery.Registration
	c.judge(block, func(block *config.Block) error {
		settings, err := k.Decode(block.DecodePart)
		if err != nil {
			return err
		}
		conf, _ := settings.Value.(discovery.ConsulConfig)
		if conf.Register == nil {
			return nil
		}
		key := fmt.Sprintf("registration/%s/%d", block.Fingerprint(), port)
		made, err = keep.Get(c.scope, key, func() (*discovery.Registration, error) { return conf.Registration(port, log) })
		return err
	})
	return made
}

// onlyPort is the port of all listeners together, 0 if there are several or none
// that is known before it is bound.
func (c *compiler) onlyPort() (port int) {
	for _, l := range c.cfg.Listeners {
		for _, address := range l.Listen() {
			if strings.HasPrefix(address, "unix:") {
				continue
			}
			_, text, err := net.SplitHostPort(address)
			n, errNumber := strconv.Atoi(text)
			if err != nil || errNumber != nil || port != 0 && n != port {
				return 0
			}
			port = n
		}
	}
	return port
}

// Registration is the entry of the gateway itself in Consul that the
// configuration wants; nil is none. It is the same one as long as its settings are.
func (s *Snapshot) Registration() *discovery.Registration { return s.register }
