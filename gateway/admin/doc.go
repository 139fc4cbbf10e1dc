// Package admin is the API for operators: metrics, health, what is in use now,
// and reload. It knows the rest of the gateway only through the functions in
// Options.
//
//	handler, err := admin.New(admin.Options{Address: address, ...})
//	listener, err := admin.Listen(address)
//	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
//	server.Serve(listener)
//
// The command line talks to it with a Client:
//
//	client, err := admin.Dial("unix:/run/pithead/admin.sock", "")
//	result, err := client.Reload(ctx)
//
// # What it answers
//
//	GET  /metrics       Prometheus and OpenMetrics text
//	GET  /healthz       200 while the process lives
//	GET  /readyz        200 when it takes requests, with what does not work all the same, else 503 with the reasons
//	GET  /-/config      the configuration in use as YAML, without secrets
//	GET  /-/config/generations  the last configurations: when, why, and what changed
//	GET  /-/status      version, generation, the last reload and its error
//	GET  /-/routes      the routes in use
//	GET  /-/endpoints   the upstreams and their endpoints
//	GET  /-/breakers    the circuit breakers in use
//	POST /-/breakers/NAME  {"force": "open"}, "closed" or "auto": the breaker as it is then
//	GET  /-/limits      the limits in use; ?name= one of them; ?key=client=203.0.113.7, as often as a key has parts, what a caller has left
//	GET  /-/cache       the caches of answers in use
//	POST /-/cache/NAME/purge  {"url": ...}, {"prefix": ...}, {"tag": ...} or {"all": true}: how many answers are forgotten
//	GET  /-/explain     ?method=&url=&header=Name:+value
//	POST /-/explain     the same as JSON
//	POST /-/reload      200 with the new generation, or 422 with what is wrong
//
// # Who may ask
//
// Nobody may but who can reach the address, and a browser on the same machine
// can: any web page may send requests to loopback. Therefore Host must be a
// name of this listener (a page that rebinds its own name in DNS sends that
// one), requests that a browser says come from another site are refused, and
// so is a POST that a form could send. On an address that is neither loopback
// nor a Unix socket, changes also need the token.
package admin
