package main

import (
	"cmp"
	"net/http"
	"runtime"
	"slices"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/admin"
	"github.com/pithead/pithead/gateway/build"
	"github.com/pithead/pithead/gateway/obs"
	"github.com/pithead/pithead/gateway/server"
)

// What the admin API shows of a snapshot. The commands that work on a file show
// the same.

func routesView(snap *build.Snapshot) []admin.RouteInfo {
	all := []admin.RouteInfo{}
	for _, r := range snap.Order() {
		auth := snap.Auth(r)
		if len(auth) == 0 && r.Public {
			auth = []string{"public"}
		}
		var use []string
		for _, b := range r.Use {
			use = append(use, b.Kind)
		}
		all = append(all, admin.RouteInfo{
			Name: r.Name, Match: matchesText(r.Match), Use: use, Auth: auth, Upstream: r.To, Position: snap.Config.Pos(r).String(),
		})
	}
	return all
}

func endpointsView(snap *build.Snapshot) []admin.UpstreamInfo {
	all := []admin.UpstreamInfo{}
	for _, c := range snap.Clusters() {
		info := admin.UpstreamInfo{Name: c.Name(), Confirmed: c.Confirmed(), Panic: c.Panicking(), Waiting: c.Waiting(), Endpoints: []admin.EndpointInfo{}}
		for arm, left := range c.LeftZone() {
			if left {
				info.LeftZone = append(info.LeftZone, arm)
			}
		}
		slices.Sort(info.LeftZone)
		for _, e := range c.Endpoints() {
			info.Endpoints = append(info.Endpoints, admin.EndpointInfo{
				Addr: e.Addr, Healthy: e.Healthy, Ejected: ejectionView(e.Ejected), Weight: e.Weight, SlowStart: e.SlowStart, Zone: e.Zone, Tags: e.Tags, Meta: e.Meta,
				Arms: e.Subsets, Active: e.Active, Requests: e.Requests, Failures: e.Failures,
			})
		}
		all = append(all, info)
	}
	return all
}

func ejectionView(e *gateway.Ejection) *admin.EjectionInfo {
	if e == nil {
		return nil
	}
	view := admin.EjectionInfo(*e)
	return &view
}

// upstreamStates is the same for the metrics.
func upstreamStates(snap *build.Snapshot) []obs.UpstreamState {
	var all []obs.UpstreamState
	for _, c := range snap.Clusters() {
		state := obs.UpstreamState{Name: c.Name(), Confirmed: c.Confirmed(), Panic: c.Panicking(), Waiting: c.Waiting(), Subsets: c.Subsets(), Retries: c.Retries()}
		state.Hedges, state.Ejections, state.LeftZone = c.Hedges(), c.Ejections(), c.LeftZone()
		for _, e := range c.Endpoints() {
			state.Endpoints = append(state.Endpoints, obs.EndpointState{
				Addr: e.Addr, Healthy: e.Healthy, Ejected: e.Ejected != nil, Active: e.Active, Requests: e.Requests, Failures: e.Failures, Subsets: e.Subsets,
			})
		}
		all = append(all, state)
	}
	return all
}

func explainView(snap *build.Snapshot, r *http.Request) admin.Explanation {
	e := snap.Explain(r)
	r, x := e.Request, e.Exchange
	view := admin.Explanation{
		Request:  r.Method + " " + x.Scheme + "://" + r.Host + r.URL.RequestURI(),
		Upstream: x.Upstream, Arm: x.Arm, ArmBy: x.ArmBy, Endpoint: e.Endpoint, TLS: e.TLS,
	}
	if e.Refused != nil {
		view.Refused = &admin.Refusal{Status: e.Refused.Status, Reason: e.Refused.Reason, Detail: e.Refused.Msg}
	}
	if e.Route != nil {
		view.Route, view.Match, view.Position = e.Route.Name, matchesText(e.Route.Match), snap.Config.Pos(e.Route).String()
	}
	for _, near := range e.Nearer {
		view.Nearer = append(view.Nearer, admin.NearMiss{Route: near.Route.Name, Why: near.Why})
	}
	for _, step := range e.Steps {
		view.Steps = append(view.Steps, admin.Step{Name: step.Name, Does: step.Does})
	}
	return view
}

func statusView(s *server.Server) admin.Status {
	now := s.Status()
	view := admin.Status{
		Version: version, Commit: commit, GoVersion: runtime.Version(), Started: now.Started,
		Generation: now.Generation, LoadedAt: now.Loaded, LoadedBy: now.LoadedBy, Files: now.Files,
		LastReload: admin.LastReload{At: now.Tried, Trigger: cmp.Or(now.Trigger, server.TriggerStart)},
	}
	if now.Err != nil {
		view.LastReload.Error = now.Err.Error()
	}
	return view
}
