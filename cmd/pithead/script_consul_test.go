package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/pithead/pithead/discovery/discoverytest"
)

// consul runs a fake Consul and changes its catalogue. WHAT is one of
//
//	start                            run it
//	register SERVICE BACKEND TAG...  the backend's name is the id of the instance
//	passing ID, critical ID          the result of the instance's check
//	deregister ID                    take it out
//	down, up                         break off or answer
func consul(s *script, args []string) (output, error) {
	switch {
	case len(args) == 0:
		return output{}, errUsage
	case args[0] == "start" && s.consul == nil:
		s.consul = discoverytest.NewConsul()
		s.set("CONSUL", s.consul.URL)
		return output{}, nil
	case s.consul == nil:
		return output{}, errUsage
	}
	switch what, args := args[0], args[1:]; {
	case what == "register" && len(args) > 1:
		return output{}, s.register(args[0], args[1], args[2:])
	case what == "passing" && len(args) == 1:
		s.consul.SetHealth(args[0], discoverytest.Passing)
	case what == "critical" && len(args) == 1:
		s.consul.SetHealth(args[0], discoverytest.Critical)
	case what == "deregister" && len(args) == 1:
		s.consul.Deregister(args[0])
	case what == "down":
		s.consul.Fail(discoverytest.Down)
	case what == "up":
		s.consul.Fail(discoverytest.None)
	default:
		return output{}, errUsage
	}
	return output{}, nil
}

func (s *script) register(service, name string, tags []string) error {
	b, ok := s.backends[name]
	if !ok {
		return fmt.Errorf("no backend %s", name)
	}
	host, portText, err := net.SplitHostPort(b.addr)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return err
	}
	s.consul.Register(discoverytest.Instance{ID: name, Service: service, Address: host, Port: port, Tags: tags})
	return nil
}
