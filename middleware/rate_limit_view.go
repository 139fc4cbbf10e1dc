package middleware

import (
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/limiter"
	"github.com/pithead/pithead/gateway/limiter/shared"
	"github.com/pithead/pithead/gateway/limitview"
)

// rateCells are how many places the decisions of a block are counted in.
const rateCells = 16

// rateCounts counts decisions. Those about one key meet in its bucket anyway; those about
// several mostly find a cache line of their own.
type rateCounts [rateCells]struct {
	allowed, denied atomic.Uint64
	_               [48]byte
}

func (c *rateCounts) add(key uint64, ok bool) {
	cell := &c[key%rateCells]
	if ok {
		cell.allowed.Add(1)
	} else {
		cell.denied.Add(1)
	}
}

func (c *rateCounts) sum() (allowed, denied uint64) {
	for i := range c {
		allowed += c[i].allowed.Load()
		denied += c[i].denied.Load()
	}
	return allowed, denied
}

// rateFacts are settings of a block that operators see. They change with a reload.
type rateFacts struct {
	config RateLimitConfig
	limits []limiter.Limit
	key    rateKey
}

// Rate implements limitview.RateSource.
func (b *rateBuckets) Rate() limitview.Rate {
	f := b.facts.Load()
	v := limitview.Rate{
		Algorithm: "gcra", Limits: viewLimits(f.limits), Cost: f.config.Cost, DryRun: f.config.DryRun, MaxKeys: f.config.MaxKeys,
	}
	for _, part := range f.config.Key {
		v.By = append(v.By, part.String())
	}
	v.Allowed, v.Denied = b.counts.sum()
	if b.shared == nil {
		s := b.table.Stats()
		v.Keys, v.Crowded, v.Store = s.Keys, s.Crowded, limitview.Store{Kind: "local", Deciding: "local"}
		return v
	}
	share, gateways := b.shared.Share()
	state, by := b.store.State(), b.shared.Deciding()
	v.Keys = b.shared.Keys()
	v.Store = limitview.Store{Kind: "redis", Deciding: by.String(), Redis: &limitview.Redis{
		Address: b.store.Name(), Up: state.Up, Breaker: state.Breaker, Gateways: gateways, OnError: b.shared.OnError,
		Lease: b.shared.Lease, Decisions: b.shared.Decisions(),
	}}
	if state.Why != nil {
		v.Store.Redis.Error = state.Why.Error()
	}
	if b.shared.OnError == shared.OnErrorLocal {
		v.Store.Share = viewLimits(share)
	}
	return v
}

func viewLimits(all []limiter.Limit) (views []limitview.Limit) {
	for _, l := range all {
		views = append(views, limitview.Limit{
			Name: l.Name, Tokens: l.Count, Period: limitview.In(l.Per), Burst: l.Burst, Window: limitview.In(l.Refill()), MaxDebt: l.Debt,
		})
	}
	return views
}

// Left implements limitview.RateSource.
func (b *rateBuckets) Left(ctx context.Context, who limitview.Facts) *limitview.Caller {
	f := b.facts.Load()
	id, missing, whole := f.key.of(who)
	answer := &limitview.Caller{Missing: missing}
	if !whole {
		switch {
		case f.config.OnMissing == missingSkip:
			answer.Unbound = true
			return answer
		case f.config.OnMissing == missingReject:
			answer.Rejected = true
			return answer
		case who[keyClient] == "": // which would take the place of what is missing
			if len(missing) == 0 {
				answer.Missing = []string{keyClient}
			}
			return answer
		}
	}
	levels, by := b.look(ctx, b.hash(id), id)
	answer.Told = by
	for _, l := range levels {
		answer.Left = append(answer.Left, limitview.Left{Name: l.Limit.Name, Remaining: l.Remaining, Full: limitview.In(l.Full)})
	}
	return answer
}

func (b *rateBuckets) look(ctx context.Context, key uint64, id []byte) (levels []limiter.Level, by string) {
	if b.shared == nil {
		return b.table.Look(key), "local"
	}
	levels, who := b.shared.Look(ctx, key, id)
	return levels, who.String()
}

// of is the key that a request of such a caller would have. It is made as those of
// requests are, so that nothing can be read in another way. whole is false if a part
// is missing or cannot be used.
func (k rateKey) of(who limitview.Facts) (key []byte, missing []string, whole bool) {
	r := &http.Request{Host: who[keyHost], Header: make(http.Header), URL: &url.URL{}}
	x := &gateway.Exchange{Subject: who[keySubject], Claims: make(gateway.Claims)}
	if addr, err := netip.ParseAddr(who[keyClient]); err == nil {
		x.Client = addr.Unmap().WithZone("")
	}
	for word, value := range who {
		switch from, name, _ := strings.Cut(word, ":"); from {
		case keyHeader:
			r.Header[name] = []string{value}
		case keyCookie:
			r.Header.Add("Cookie", name+"="+value)
		case keyQuery:
			r.URL.RawQuery += "&" + url.QueryEscape(name) + "=" + url.QueryEscape(value)
		case keyClaim:
			x.Claims[name] = json.Number(value) // the same key as that of a text
		}
	}
	for _, part := range k.parts {
		word := strings.TrimSuffix(part.from+":"+part.name, ":")
		if part.from != keyAll && who[word] == "" {
			missing = append(missing, word)
		}
	}
	k.route = who[keyRoute]
	key, whole = k.append(nil, r, x)
	return key, missing, whole && len(missing) == 0
}
