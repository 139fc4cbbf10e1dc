package build

import (
	"errors"
	"net/http"

	"github.com/pithead/pithead/gateway/config"
)

// maxTrials bounds how often a block is judged.
const maxTrials = 32

// judge has a block decoded and built. Of a block with mistakes it judges what is left
// without the settings that those are about, until nothing more is found: a kind may
// stop at its first mistake, and none is built before all of its settings are good. It
// is true if there was no mistake.
func (c *compiler) judge(b *config.Block, try func(*config.Block) error) bool {
	for trial := range maxTrials {
		err := try(b)
		if err == nil {
			return trial == 0
		}
		// Without any, what is left is not enough.
		mistakes := b.Errors(err)
		c.errs = append(c.errs, mistakes...)
		less, ok := b.Less(mistakes)
		if !ok {
			return false
		}
		b = less
	}
	return false
}

// standIn is an upstream in a configuration that is refused. What uses it is looked
// at all the same, and finds in it what may be there.
type standIn struct {
	name    string
	subsets func(name string) bool
	http2   bool
}

// standIn stands for an upstream that has mistakes, or is not there.
func (c *compiler) standIn(name string) *standIn {
	s := &standIn{name: name, subsets: func(string) bool { return true }, http2: true}
	u, path := c.cfg.Upstreams[name], "upstreams."+name+"."
	if u == nil {
		return s
	}
	s.http2 = u.Protocol != "http" && u.ProxyProtocol == "" || c.cfg.Unsure(path+"protocol") || c.cfg.Unsure(path+"proxy_protocol")
	if !c.cfg.Unsure(path + "arms") {
		s.subsets = func(name string) bool { return u.Arms[name] != nil }
	}
	return s
}

var errStandIn = errors.New("the configuration of the upstream has mistakes")

func (s *standIn) RoundTrip(*http.Request) (*http.Response, error) { return nil, errStandIn }

func (s *standIn) Name() string { return s.name }

func (s *standIn) HasSubset(name string) bool { return s.subsets(name) }

func (s *standIn) Healthy(string) int { return 0 }

// HTTP2 is asked by what passes gRPC on.
func (s *standIn) HTTP2() bool { return s.http2 }
