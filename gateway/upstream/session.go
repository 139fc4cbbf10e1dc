package upstream

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/pithead/pithead/gateway"
)

// endpointID makes the number by which sessions know an endpoint. It outlives
// restarts and is the same in all gateways, as the sessions of clients are to be.
func endpointID(upstream, addr string) uint64 {
	sum := sha256.Sum256([]byte(upstream + "\x00" + addr))
	return max(1, binary.LittleEndian.Uint64(sum[:]))
}

// ofSession is the endpoint with this ID, nil if it is gone or not well. It looks at
// one after the other: what that takes with a hundred of them is nothing beside the
// request, and only requests with a session pay for it.
func (g *group) ofSession(id uint64) *gateway.Endpoint {
	for _, ep := range g.healthy {
		if ep.ID == id {
			return ep
		}
	}
	return nil
}
