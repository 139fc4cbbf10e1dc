package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pithead/pithead/gateway"
	"github.com/pithead/pithead/gateway/httpsig"
	"github.com/pithead/pithead/gateway/kind"
	"github.com/pithead/pithead/gateway/store"
)

func init() {
	kind.Add(Kinds, "http_signature", HTTPSignatureConfig{
		Components: []string{"@method", "@target-uri", "content-digest"}, MaxAge: 5 * time.Minute, Leeway: 30 * time.Second,
		Nonces: 100_000, MaxBody: 1 * kind.MiB, Realm: "pithead",
		OnStoreError: onErrorClosed,
	}, newHTTPSignature)
}

const (
	// maxSignaturesTried bounds what a stranger can make the gateway compute.
	maxSignaturesTried = 3
	maxNonce           = 256
)

// httpSignature is the running middleware. It never changes.
type httpSignature struct {
	HTTPSignatureConfig
	keys    map[string]*signer
	headers []apiKeyHeader
	refuse  signatureRefusals
	redis   *store.Redis // nil without a store
}

func newHTTPSignature(c HTTPSignatureConfig, env Env) (gateway.Step, error) {
	keys, err := c.signers(env)
	if err != nil {
		return gateway.Step{}, err
	}
	m := &httpSignature{HTTPSignatureConfig: c, keys: keys, refuse: newSignatureRefusals(c)}
	step := gateway.Step{Wrap: m.wrap, Explain: m.explain, Proves: []gateway.Identity{gateway.Subject}}
	if c.Store != nil {
		if _, m.redis, err = c.Store.Redis.connection(env); err != nil {
			return gateway.Step{}, err
		}
		step.Start = func() []<-chan struct{} { return []<-chan struct{}{m.redis.Start()} }
	}
	for _, name := range sortedKeys(c.Headers) {
		m.headers = append(m.headers, apiKeyHeader{http.CanonicalHeaderKey(name), c.Headers[name]})
		step.Owns = append(step.Owns, http.CanonicalHeaderKey(name))
	}
	return step, nil
}

// proof is a signature that is right, and whose.
type proof struct {
	*httpsig.Signature
	by *signer
}

func (m *httpSignature) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := gateway.ExchangeOf(r)
		now := time.Now()
		p, refusal := m.prove(r, x, now)
		if refusal != nil {
			gateway.Fail(w, r, refusal)
			return
		}
		r, err := m.compare(r, x, p.Signature)
		if err == nil {
			err = m.once(r.Context(), p, now)
		}
		if err != nil {
			gateway.Fail(w, r, err)
			return
		}
		m.tell(x, p.by)
		if !m.Forward {
			x.DropUpstreamHeader("Signature")
			x.DropUpstreamHeader("Signature-Input")
		}
		next.ServeHTTP(w, r)
	})
}

// prove finds a signature that is right. What was signed is what the client has
// sent, and not what a middleware before has made of it.
func (m *httpSignature) prove(r *http.Request, x *gateway.Exchange, now time.Time) (proof, *gateway.Error) {
	sent := r
	if x.Request != nil {
		sent = x.Request
	}
	all, err := httpsig.Parse(sent.Header["Signature-Input"], sent.Header["Signature"])
	switch {
	case err != nil:
		return proof{}, m.refuse.malformed
	case len(all) == 0:
		return proof{}, m.refuse.missing
	}
	message := &httpsig.Message{
		Method: sent.Method, Scheme: x.Scheme, Authority: authorityOf(sent, x), Path: sent.URL.EscapedPath(), Query: sent.URL.RawQuery,
		Header: sent.Header,
	}
	first, tried := m.refuse.key, 0
	for i := range all {
		s := &all[i]
		by := m.keys[s.KeyID]
		if by == nil || m.Label != "" && s.Label != m.Label || m.Tag != "" && s.Tag != m.Tag {
			continue
		}
		refusal := m.judge(s, by, message, hasBody(r), now)
		if refusal == nil {
			return proof{s, by}, nil
		}
		if tried++; tried == 1 {
			first = refusal
		}
		if tried == maxSignaturesTried {
			break
		}
	}
	return proof{}, first
}

// authorityOf is the host that the client has asked, which a proxy that is trusted
// may have replaced in Host. From others the header does not get here.
func authorityOf(r *http.Request, x *gateway.Exchange) string {
	if host := r.Header.Get("X-Forwarded-Host"); x.Trusted && host != "" {
		return host
	}
	return r.Host
}

// judge looks at one signature of a key that is known, the cheap questions first.
func (m *httpSignature) judge(s *httpsig.Signature, by *signer, message *httpsig.Message, body bool, now time.Time) *gateway.Error {
	if s.Algorithm != "" && s.Algorithm != by.Algorithm() {
		return m.refuse.algorithm
	}
	for _, name := range m.Components {
		if (name != contentDigest || body) && !covers(s, name, message.Query != "") {
			return m.refuse.components
		}
	}
	if refusal := m.timely(s, now); refusal != nil {
		return refusal
	}
	if s.Nonce == "" && m.RequireNonce || len(s.Nonce) > maxNonce {
		return m.refuse.nonce
	}
	base, err := s.Base(message)
	if err != nil {
		return m.refuse.components
	}
	if by.Verify(base, s.Value) != nil {
		return m.refuse.invalid
	}
	return nil
}

const contentDigest = "content-digest"

// covers says whether a signature covers a component, by itself or in another one
// that it is part of.
func covers(s *httpsig.Signature, name string, query bool) bool {
	has := func(name string) bool {
		return slices.ContainsFunc(s.Components, func(c httpsig.Component) bool { return c.Name == name && c.Whole() })
	}
	target := func() bool { return has("@request-target") || has("@path") && (!query || has("@query")) }
	if has(name) {
		return true
	}
	switch name {
	case "@target-uri":
		return has("@authority") && target()
	case "@authority", "@scheme":
		return has("@target-uri")
	case "@path", "@query":
		return has("@target-uri") || has("@request-target")
	case "@request-target":
		return has("@target-uri") || target()
	}
	return false
}

func (m *httpSignature) timely(s *httpsig.Signature, now time.Time) *gateway.Error {
	created, expires := time.Unix(s.Created, 0), time.Unix(s.Expires, 0)
	switch {
	case !s.HasCreated, created.After(now.Add(m.Leeway)), now.Sub(created) > m.MaxAge+m.Leeway:
		return m.refuse.created
	case s.HasExpires && (s.Expires < s.Created || !now.Before(expires.Add(m.Leeway))):
		return m.refuse.expired
	}
	return nil
}

func hasBody(r *http.Request) bool {
	return r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0
}

// compare reads the body if the signature covers its digest. It is only then that
// it is known whose memory this is to be.
func (m *httpSignature) compare(r *http.Request, x *gateway.Exchange, s *httpsig.Signature) (*http.Request, error) {
	if !covers(s, contentDigest, false) {
		return r, nil
	}
	var body []byte
	if hasBody(r) {
		if r.ContentLength > int64(m.MaxBody) {
			return r, m.refuse.large
		}
		var err error
		if body, err = io.ReadAll(io.LimitReader(r.Body, int64(m.MaxBody)+1)); err != nil {
			return r, unreadBody(x, err)
		}
		if len(body) > int(m.MaxBody) {
			return r, m.refuse.large
		}
	}
	if httpsig.VerifyDigest(r.Header["Content-Digest"], body) != nil {
		return r, m.refuse.digest
	}
	if len(body) == 0 {
		return r, nil
	}
	again := r.WithContext(r.Context())
	again.Body = &bufferedBody{Reader: bytes.NewReader(body), Closer: r.Body}
	return again, nil
}

// unreadBody is the answer to a body that ended before its end.
func unreadBody(x *gateway.Exchange, err error) error {
	x.ClientFailed(err)
	if _, told := errors.AsType[*gateway.Error](err); told {
		return err
	}
	if _, limited := errors.AsType[*http.MaxBytesError](err); limited {
		return &gateway.Error{
			Status: http.StatusRequestEntityTooLarge, Reason: "body_too_large", Msg: "the body is larger than this route allows",
			Cause: gateway.CauseClient, Err: err, Close: true,
		}
	}
	return &gateway.Error{
		Status: http.StatusBadRequest, Reason: "signature_body", Msg: "the body is incomplete", Cause: gateway.CauseClient,
		Err: err, Close: true,
	}
}

// once sees to it that a nonce is used once. It comes last: a request that broke off
// can be sent again.
func (m *httpSignature) once(ctx context.Context, p proof, now time.Time) error {
	if p.Nonce == "" {
		return nil
	}
	switch known, full := p.by.seen.use(p.Nonce, now); {
	case known:
		return m.refuse.replayed
	case full:
		return m.refuse.full
	case m.redis == nil:
		return nil
	}
	switch first, err := m.redis.Once(ctx, p.by.name+p.Nonce, p.by.seen.lifetime); {
	case err == nil && !first:
		return m.refuse.replayed
	case err != nil && m.OnStoreError == onErrorClosed:
		p.by.seen.forget(p.Nonce)
		return because(m.refuse.store, err)
	}
	return nil
}

// tell says to later steps and to the upstream whose key it is.
func (m *httpSignature) tell(x *gateway.Exchange, by *signer) {
	x.Subject, x.Claims = by.subject, by.claims
	for _, h := range m.headers {
		if value, ok := by.told[h.entry]; ok {
			x.SetUpstreamHeader(h.name, value)
		}
	}
}

// explain neither reads the body nor uses the nonce up.
func (m *httpSignature) explain(r *http.Request, x *gateway.Exchange) string {
	p, refusal := m.prove(r, x, time.Now())
	if refusal != nil {
		x.Status = refusal.Status
		return fmt.Sprintf("answers %d (%s): %s; wants %s to be covered", refusal.Status, refusal.Reason, refusal.Msg, strings.Join(m.Components, " "))
	}
	m.tell(x, p.by)
	return fmt.Sprintf("the key %q (%s) proves the subject %q", p.by.id, p.by.Algorithm(), p.by.subject)
}
