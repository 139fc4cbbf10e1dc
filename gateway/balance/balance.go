// Package balance holds the load-balancing policies, one file each. A policy
// passes the conformance test in balancetest; docs/howto/add-a-policy.md walks
// through one.
package balance

import (
	"embed"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/kind"
)

//go:embed *.go
var source embed.FS

// Kinds are the policies that `balance:` may name.
var Kinds = kind.NewTable[Env, gateway.Policy]("balancing policy", source)

// Env is what a policy gets when it is built for one upstream.
type Env struct {
	Upstream string // name of the upstream
}
