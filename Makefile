# natprobe. "make" lists the targets.

GO ?= go
# Every test runs anew: what a kernel lab finds out is not in the files that
# Go's test cache looks at.
TESTFLAGS ?= -count=1 -timeout 20m
RACEFLAGS ?= -count=1 -timeout 30m
FUZZTIME  ?= 60s
BENCH     ?= .
COUNT     ?= 1
# What make truth measures, and how many at a time: 24 keep two processors
# about half busy. CASE=017 runs that case alone.
SEED      ?= 1
CASES     ?= 200
CASE      ?=
PARALLEL  ?= 24

# A version is given when a release is built; else the newest tag says it.
VERSION ?= $(patsubst v%,%,$(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null))
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null)
LDFLAGS := -s -w $(if $(VERSION),-X main.version=$(VERSION)) $(if $(COMMIT),-X main.commit=$(COMMIT))

# The linter and its dependencies are pinned apart from the program's own.
LINTER := $(GO) tool -modfile=.ci/tools.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: help build demo deps test race lint fuzz bench bench-labs bench-peers bench-reflector bench-storms bench-tunnel truth fmt fmt-check tidy tidy-check cross clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## the static binary bin/natprobe
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/natprobe ./cmd/natprobe

demo: build ## build it and measure a NAT of the embedded lab (root, or a system that allows user namespaces)
	bin/natprobe measure --lab fast

deps: ## as root on Debian: install what the tests use besides Go; elsewhere: say what is missing
	@.ci/deps.sh

test: deps ## go vet and all tests, kernel labs included; tells at the end what was skipped
	$(GO) vet ./...
	@$(GO) run .ci/gotest.go $(TESTFLAGS) -exec $(CURDIR)/.ci/exec.sh ./...

race: deps ## all tests under the race detector (needs a C compiler); RACEFLAGS=-short for a quick look
	CGO_ENABLED=1 $(GO) test -race $(RACEFLAGS) -exec $(CURDIR)/.ci/exec.sh ./...

lint: ## the linters, pinned in .ci/tools.mod (the first run builds them, for a minute or two)
	$(LINTER) run ./...

fuzz: ## every fuzz target, FUZZTIME=60s each
	@FUZZTIME=$(FUZZTIME) .ci/fuzz.sh

bench: ## the benchmarks: BENCH=regexp, COUNT=n for benchstat
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count=$(COUNT) ./...

bench-labs: ## labs with real routers' timers at full length; prints the table of the README (four minutes)
	$(GO) test -run '^TestBenchLabs$$' -count=1 -timeout 30m -v ./cmd/natprobe -args -bench-labs

bench-peers: ## coturn's client by bisection beside natprobe, in labs (root; a quarter of an hour); prints the table of the README
	$(GO) test -run '^TestBenchPeers$$' -count=1 -timeout 60m -v ./cmd/natprobe -args -bench-peers

bench-reflector: ## CPU a plain STUN request, beside a C echo and coturn, and lateness of orders; prints the tables of reflector/README.md (seven minutes)
	$(GO) test -run '^$$' -bench '^BenchmarkReflector' -benchtime 1x -count=1 -timeout 30m ./cmd/natprobe

bench-storms: ## attacks on a reflector with all that one processor sends (root; ten minutes); prints the table of reflector/SECURITY.md
	$(GO) test -run '^TestBenchStorms$$' -count=1 -timeout 60m -v ./cmd/natprobe -args -storms

bench-tunnel: ## throughput of a tunnel beside plain wireguard-go's (root; two minutes); prints the table of vpn/README.md
	$(GO) test -run '^TestBenchTunnel$$' -count=1 -timeout 30m -v ./cmd/natprobe -args -bench-tunnel

truth: ## CASES=200 measurements of random labs, with faults, from SEED=1 (root; about ten minutes); prints the table of probe/README.md
	@mkdir -p bin
	$(GO) test -run '^TestBenchTruth$$/^case$$/^$(CASE)' -count=1 -timeout 3h -parallel $(PARALLEL) -v ./cmd/natprobe \
		-args -truth -truth-seed $(SEED) -truth-cases $(CASES) -truth-output $(CURDIR)/bin/truth.md

fmt: ## format the code
	gofmt -w $$($(GO) list -f '{{.Dir}}' ./...) .ci

fmt-check: ## fail where a file is not formatted
	@unformatted=$$(gofmt -l . .ci) && if [ -n "$$unformatted" ]; then \
		echo "not formatted, run make fmt:"; echo "$$unformatted"; exit 1; fi

tidy: ## tidy go.mod and go.sum
	$(GO) mod tidy

tidy-check: ## fail where go.mod or go.sum is not tidy
	$(GO) mod tidy -diff

cross: ## build and vet for the other systems that natprobe runs on
	@.ci/cross.sh

clean: ## remove what was built
	rm -rf bin
