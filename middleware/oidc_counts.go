package middleware

import (
	"sync/atomic"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/obs"
)

// oidcCounts are what has become of logins and sessions.
type oidcCounts struct {
	begun, completed, hits     atomic.Uint64
	renewed, ended, unanswered atomic.Uint64 // uses of refresh tokens
	leftHere, leftAtProvider   atomic.Uint64 // logouts
	leftElsewhere              atomic.Uint64 // that other gateways have told of
	failed                     [len(oidcFailures)]atomic.Uint64
	sizes                      obs.Sizes // of the cookies of sessions
	shown                      shown
}

// oidcFailures are the reasons for which logins fail, as the metrics have them. The last one
// is any other.
var oidcFailures = [...]string{"state", "refused", "code", "token", "provider", "too_large", "subject", "other"}

// login counts the end of a login.
func (c *oidcCounts) login(err error) {
	if err == nil {
		c.completed.Add(1)
		return
	}
	reason := gateway.AsError(err).Reason
	for i, name := range oidcFailures {
		if reason == "oidc_"+name || i == len(oidcFailures)-1 {
			c.failed[i].Add(1)
			return
		}
	}
}

// refresh counts a use of a refresh token.
func (c *oidcCounts) refresh(it *oidcRenewal) {
	switch {
	case it.ended:
		c.ended.Add(1)
	case it.session == nil:
		c.unanswered.Add(1)
	default:
		c.renewed.Add(1)
	}
}

// start shows the counts in the metrics, once.
func (k *oidcKept) start(metrics *obs.Metrics, issuer, client string) {
	k.counts.shown.show(func() func() { return metrics.WatchLogins(issuer, client, k.counts.state) })
}

func (c *oidcCounts) state() obs.LoginState {
	logins := map[string]uint64{"begun": c.begun.Load(), "completed": c.completed.Load()}
	for i, name := range oidcFailures {
		logins[name] = c.failed[i].Load()
	}
	return obs.LoginState{
		Logins: logins, Hits: c.hits.Load(), Sizes: &c.sizes,
		Refreshes: map[string]uint64{"renewed": c.renewed.Load(), "ended": c.ended.Load(), "unanswered": c.unanswered.Load()},
		Logouts:   map[string]uint64{"browser": c.leftHere.Load(), "provider": c.leftAtProvider.Load(), "gateway": c.leftElsewhere.Load()},
	}
}

// Close ends showing the counts.
func (k *oidcKept) Close() error { return k.counts.shown.Close() }
