package discovery

// AllowsLoopback implements gateway.Foreign.
func (s *dnsSource) AllowsLoopback() bool { return s.loopback }

// AllowsLoopback implements gateway.Foreign.
func (s *consulSource) AllowsLoopback() bool { return s.loopback }
