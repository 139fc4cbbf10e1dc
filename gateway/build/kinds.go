package build

import (
	"slices"

	"github.com/pithead/pithead/discovery"
	"github.com/pithead/pithead/gateway/balance"
	"github.com/pithead/pithead/gateway/config"
	"github.com/pithead/pithead/middleware"
)

// Kinds are all registered kinds with what there is to know of them: middlewares,
// sources, policies, each sorted by name.
func Kinds() ([]config.KindInfo, error) {
	middlewares, err := config.KindsOf(middleware.Kinds)
	if err != nil {
		return nil, err
	}
	sources, err := config.KindsOf(discovery.Kinds)
	if err != nil {
		return nil, err
	}
	policies, err := config.KindsOf(balance.Kinds)
	return slices.Concat(middlewares, sources, policies), err
}

// Schema is the JSON Schema of the whole configuration.
func Schema() ([]byte, error) {
	kinds, err := Kinds()
	if err != nil {
		return nil, err
	}
	return config.Schema(kinds)
}
