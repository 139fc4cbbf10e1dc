// Command benchmarks puts Pithead beside nginx, HAProxy, Caddy, Traefik and
// Skipper and writes down what each of them costs. `make bench` runs it; what it
// measures and how is told in docs/benchmarks.md.
//
//	benchmarks run -bin ../.bin -out results   # everything, tables and charts
//	benchmarks reload -bin ../.bin             # what changes under load do to requests
//	benchmarks origin -h1 ADDR -h2c ADDR       # the server behind the proxies
//	benchmarks load -case small -addr ADDR     # the clients before them
//	go test -json ... | benchmarks faults      # the table of the fault runs
//
// run, origin and load are processes of their own, because the clients and the origin share
// one core and the proxy under test has the other one to itself.
package main
