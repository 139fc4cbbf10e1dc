# Pithead: `make run` to try it, `make test` to check everything.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# The module proxy alone: a module it does not have then fails at once.
export GOPROXY ?= https://proxy.golang.org
BIN     := $(CURDIR)/.bin
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT)

# Pinned tools. A stamp file carries the version, so that a bump installs anew.
GOFUMPT      := mvdan.cc/gofumpt@v0.12.0
GOLANGCILINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
CONFORMANCE  := $(addsuffix @v1.0.6,$(addprefix connectrpc.com/conformance/cmd/,connectconformance referenceclient referenceserver grpcserver))
INTEROP      := $(addsuffix @v1.85.0,$(addprefix google.golang.org/grpc/interop/,client server))
PEERS        := $(addprefix $(BIN)/peers/,caddy traefik skipper)
# Real servers that the system has a package for.
REDIS        := $(shell command -v redis-server)
stamp         = $(BIN)/.stamp-$(subst /,_,$(1))

.PHONY: help
help: ## what there is to make
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# What bench-code measures: decisions for a request, and changes.
BENCHMARKS := ^Benchmark(Take|Closed|Failing|Open|Match|Canary|RateLimit|Pick|ConsulAnswer|ConsulPublish|Reload)$$
BENCHED    := $(addprefix ./,gateway/limiter gateway/limiter/shared gateway/breaker gateway/route middleware gateway/balance discovery gateway/server)

## ---- use

.PHONY: build
build: ## build .bin/pithead and .bin/pithead-probe
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/pithead ./cmd/pithead
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/pithead-probe ./cmd/pithead-probe

.PHONY: run
run: build ## start the gateway on :8080 with stable and canary demo upstreams inside
	$(BIN)/pithead demo

.PHONY: run-consul
run-consul: build $(BIN)/consul ## the same, with the upstreams registered in a real Consul agent
	$(BIN)/pithead demo --consul $(BIN)/consul

.PHONY: provider
provider: test/oidc/node_modules/.package-lock.json ## an OpenID provider at 127.0.0.1:9100 to try logins and tokens with; needs Node.js 18 and npm
	@cd test/oidc && exec node provider.mjs --port $(or $(PORT),9100)

## ---- check

.PHONY: test
test: fmt-check lint check-generate unit script docker oidc browser bench-check conformance-short ## everything: format, lint, generated files, unit, scripts, real Consul, a real OpenID provider, images, conformance

.PHONY: unit
unit: $(BIN)/consul ## unit and documentation tests with the race detector, against a real Consul and Redis too
	PITHEAD_CONSUL=$(BIN)/consul PITHEAD_REDIS=$(REDIS) go test -race -timeout 10m $(shell go list ./... | grep -v /cmd/)

.PHONY: script
script: $(BIN)/consul ## whole-daemon scripts: the program run from its test binary, with the race detector
	PITHEAD_CONSUL=$(BIN)/consul go test -race -timeout 15m ./cmd/...

.PHONY: conformance-short
conformance-short: build $(call stamp,conformance) $(call stamp,interop) ## the reduced Connect suite and gRPC interoperability through the running gateway, about a minute
	BIN=$(BIN) test/connect/run.sh
	BIN=$(BIN) MODE=translate CONF=test/connect/translator-grpc.yaml PEER=$(BIN)/grpcserver KNOWN=test/connect/grpcserver-known-failing.txt test/connect/run.sh
	BIN=$(BIN) test/grpc/run.sh

.PHONY: conformance
conformance: conformance-short ## all of it, about five minutes and 3 GB of memory: both sides, both versions, and as a translator
	BIN=$(BIN) CONF=test/connect/all.yaml test/connect/run.sh
	BIN=$(BIN) CONF=test/connect/all.yaml UPSTREAM_HTTP=2 test/connect/run.sh
	BIN=$(BIN) CONF=test/connect/all.yaml MODE=client KNOWN=test/connect/referenceclient-known-failing.txt test/connect/run.sh
	BIN=$(BIN) CONF=test/connect/translator.yaml MODE=translate test/connect/run.sh
	BIN=$(BIN) FRONT=tls test/grpc/run.sh

.PHONY: docker
docker: $(BIN)/consul $(BIN)/promtool ## the images and all files of docker/, checked and run without a Docker engine
	cd test/docker && PITHEAD_CONSUL=$(BIN)/consul PITHEAD_PROMTOOL=$(BIN)/promtool go test ./...

.PHONY: oidc
oidc: test/oidc/node_modules/.package-lock.json ## logins at a real OpenID provider, by a real browser; needs Node.js 18, npm and Chromium
	go test -race -count=1 -tags oidc ./test/oidc
	go test -race -count=1 -tags oidc -run ProtectDocs ./cmd/pithead

.PHONY: browser
browser: ## pages of the admin listener in a real browser; needs Chromium
	go test -race -count=1 -tags browser ./test/browser

.PHONY: probe-test
probe-test: ## the tests of the probe in full length, as root: they fail where they would be skipped
	PITHEAD_PROBE=required PITHEAD_FAULTS=full go test -race -count=1 -timeout 20m ./bpf/... ./cmd/pithead-probe/... ./gateway/anatomy/...
	PITHEAD_PROBE=required PITHEAD_FAULTS=full go test -count=1 -timeout 10m -run 'Phase|Labelled|ProbeKilled' ./cmd/pithead

.PHONY: slow-part
slow-part: ## stage the three problems of docs/howto/find-the-slow-part.md and show what pithead-probe top says, as root
	COLUMNS=$(or $(COLUMNS),110) PITHEAD_PROBE=required go test -count=1 -v -run FindTheSlowPart ./cmd/pithead-probe

.PHONY: faults
faults: $(BIN)/consul ## the fault runs in full length, more than an hour: a table into benchmarks/results/faults.md
	cd benchmarks && go build -o $(BIN)/benchmarks .
	@# Those of discovery and of the whole daemon mostly wait, so they do it beside the others.
	@# The race detector would not let two of them reach the rates of requests that they are about.
	set -o pipefail; export PITHEAD_FAULTS=full PITHEAD_CONSUL=$(BIN)/consul PITHEAD_REDIS=$(REDIS); \
	slow=$$(mktemp); trap 'rm -f $$slow' EXIT; rates='Fault29Reload(AtScale|sUnderTraffic)'; \
	run() { go test -json -race -p 1 -timeout 60m -run 'Fault|FirstLight|Flood' -skip "$$rates" "$$@"; }; \
	{ run ./discovery/... ./cmd/... >$$slow & run $$(go list ./... | grep -vE '/(discovery|cmd)(/|$$)'); go test -json -count=1 -run "$$rates" ./gateway/server; wait; cat $$slow; } | $(BIN)/benchmarks faults -out benchmarks/results/faults.md

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (default 20s)
	@set -e; for p in $$(grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9]+' $$p/*_test.go | cut -c6-); do \
	    echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(or $(FUZZTIME),20s) $$p; done; done

.PHONY: bench
bench: build $(PEERS) ## pithead beside nginx, HAProxy, Caddy, Traefik and Skipper: tables and charts into benchmarks/results (see docs/benchmarks.md)
	benchmarks/install.sh
	cd benchmarks && go build -o $(BIN)/benchmarks . && $(BIN)/benchmarks run -bin $(BIN) -out $(or $(OUT),results) -rounds $(or $(ROUNDS),5) -cases '$(CASES)' -peers '$(PROXIES)'
	$(MAKE) bench-reload bench-code OUT=$(OUT)

.PHONY: bench-reload
bench-reload: build ## what changes of 10,000 routes do to requests, about three minutes: a table into benchmarks/results/reload.md
	cd benchmarks && go build -o $(BIN)/benchmarks . && $(BIN)/benchmarks reload -bin $(BIN) -out $(or $(OUT),results)/reload.md

.PHONY: bench-code
bench-code: ## the Go benchmarks of what requests and changes go through, about four minutes: a table into benchmarks/results/code.md
	cd benchmarks && go build -o $(BIN)/benchmarks .
	set -o pipefail; PITHEAD_REDIS=$(REDIS) go test -run '^$$' -bench '$(BENCHMARKS)' -benchmem -benchtime 100ms -count 3 $(BENCHED) | (cd benchmarks && $(BIN)/benchmarks code -out $(or $(OUT),results)/code.md)

.PHONY: bench-probe
bench-probe: build ## what pithead-probe costs, as root: a table into benchmarks/results/probe.md
	cd benchmarks && go build -o $(BIN)/benchmarks .
	set -o pipefail; go test -run '^$$' -bench Cycle -benchtime 25x ./bpf | $(BIN)/benchmarks probe -bin $(BIN) -rounds $(or $(ROUNDS),10) -out benchmarks/results/probe.md

.PHONY: bench-transcode
bench-transcode: build $(BIN)/peers/grpc-gateway ## REST before gRPC, beside the code that grpc-gateway generates: a table into benchmarks/results/transcode.md
	cd benchmarks && go build -o $(BIN)/benchmarks . && taskset -c 1 $(BIN)/benchmarks transcode -bin $(BIN) -rounds $(or $(ROUNDS),7)

.PHONY: bench-go
bench-go: ## the Go benchmarks with their curves, for benchstat
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: bench-check
bench-check: ## unit tests of the benchmarks themselves
	cd benchmarks && go vet ./... && go test -race ./...

.PHONY: lint
lint: $(call stamp,golangci-lint) ## golangci-lint, every linter with its reason in .golangci.yaml
	$(BIN)/golangci-lint run ./...

.PHONY: fmt
fmt: $(call stamp,gofumpt) ## rewrite the code in the house style
	$(BIN)/gofumpt -w $$(git ls-files '*.go' ':!*.pb.go' ':!*.pb.gw.go')

.PHONY: fmt-check
fmt-check: $(call stamp,gofumpt)
	@out=$$($(BIN)/gofumpt -l $$(git ls-files '*.go' ':!*.pb.go' ':!*.pb.gw.go')); test -z "$$out" || { echo "not formatted, run make fmt:"; echo "$$out"; exit 1; }

.PHONY: bpf
bpf: ## write the machine code of bpf/ again; needs clang 14, llvm-strip-14 and libbpf-dev
	go generate ./bpf

.PHONY: generate
generate: ## write docs/reference from the code
	go run ./cmd/pithead reference docs/reference

.PHONY: check-generate
check-generate: ## fail if docs/reference or go.mod are not what the code says
	@go mod tidy -diff
	@d=$$(mktemp -d); trap 'rm -rf $$d' EXIT; go run ./cmd/pithead reference $$d && diff -ru docs/reference $$d || { echo "run make generate"; exit 1; }

## ---- tools

$(BIN)/consul: test/consul/go.mod
	@echo "building Consul for the tests: 5 to 10 minutes when nothing is cached"
	cd test/consul && go build -trimpath -ldflags '-s -w' -o $@ github.com/hashicorp/consul
	@touch $@

test/oidc/node_modules/.package-lock.json: test/oidc/package-lock.json
	cd test/oidc && npm ci --no-audit --no-fund && touch node_modules/.package-lock.json

$(BIN)/promtool: test/promtool/go.mod
	@echo "building promtool for the tests: some minutes when nothing is cached"
	cd test/promtool && go build -trimpath -ldflags '-s -w' -o $@ github.com/prometheus/prometheus/cmd/promtool
	@touch $@

$(BIN)/peers/grpc-gateway: $(shell find benchmarks/peers/grpc-gateway -type f)
	cd benchmarks/peers/grpc-gateway && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $@ .

$(BIN)/peers/%: benchmarks/peers/%/go.mod
	@echo "building $* for the benchmarks: some minutes when nothing is cached"
	cd benchmarks/peers/$* && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o $@ $$(sed -n 's/^tool //p' go.mod)
	@touch $@

$(call stamp,gofumpt): Makefile
	GOBIN=$(BIN) go install $(GOFUMPT) && touch $@

$(call stamp,golangci-lint): Makefile
	GOBIN=$(BIN) go install $(GOLANGCILINT) && touch $@

$(call stamp,conformance): Makefile
	for m in $(CONFORMANCE); do GOBIN=$(BIN) go install $$m || exit 1; done && touch $@

$(call stamp,interop): Makefile
	mkdir -p $(BIN)/interop && for m in $(INTEROP); do GOBIN=$(BIN)/interop go install $$m || exit 1; done && touch $@

.PHONY: clean
clean: ## remove what make built
	rm -rf $(BIN)
