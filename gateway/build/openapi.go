package build

import (
	"errors"
	"fmt"
	"slices"
)

// ErrNoDocument says that a route has no OpenAPI document.
var ErrNoDocument = errors.New("there is no OpenAPI document of it")

// Documented are the names of the routes that have an OpenAPI document, in the order of the files.
func (s *Snapshot) Documented() (names []string) {
	for _, r := range s.routes {
		if slices.ContainsFunc(r.reached(), func(step namedStep) bool { return step.OpenAPI != nil }) {
			names = append(names, r.name)
		}
	}
	return names
}

// OpenAPI is the document of a route: that of the last step which has one, since steps
// before it only check what that step takes.
func (s *Snapshot) OpenAPI(route string) ([]byte, error) {
	i := slices.IndexFunc(s.routes, func(r *compiledRoute) bool { return r.name == route })
	if i < 0 {
		return nil, fmt.Errorf("route %q: %w", route, ErrNoDocument)
	}
	var auth []string
	c := &compiler{cfg: s.Config}
	steps := s.routes[i].reached()
	for j, step := range steps {
		if step.guards() {
			auth = append(auth, c.kindOf(s.Config.Routes[i].Use[j]))
		}
	}
	for _, step := range slices.Backward(steps) {
		if step.OpenAPI != nil {
			doc, err := step.OpenAPI(auth)
			if err != nil {
				return nil, fmt.Errorf("route %q: %w", route, err)
			}
			return doc, nil
		}
	}
	return nil, fmt.Errorf("route %q: %w", route, ErrNoDocument)
}
