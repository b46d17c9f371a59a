# paas: make up, make test. Everything else is for those who change it.
.PHONY: build up down purge test unit acme docker-test e2e faults vm check bench-deploy bench-cluster bench-router bench-store bench-scheduler fuzz explore fmt

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
export CGO_ENABLED = 0

build: ## bin/paas
	@scripts/host need go
	go build -trimpath -ldflags '-s -w -X paas/cli.version=$(VERSION)' -o bin/paas .

up: build ## install what is missing, start paas, deploy a sample
	@scripts/host docker
	@scripts/up

down: ## stop what "make up" started; the state stays
	@if [ -x bin/paas ]; then bin/paas down --data .paas/data; fi

purge: ## remove every container, network, image and file that "make up" made; stop the engine that it started, if nothing else runs there
	@if [ -x bin/paas ] && [ -d .paas/data ]; then bin/paas down --purge --yes --data .paas/data; fi
	@scripts/host stop
	@rm -rf bin; if [ -e .paas/dockerd.pid ]; then find .paas -mindepth 1 -maxdepth 1 ! -name 'dockerd.*' -exec rm -rf {} +; else rm -rf .paas; fi

test: build ## install what the tests need, run all of them
	@scripts/host test
	$(MAKE) --no-print-directory check unit acme docker-test e2e

unit: ## tests without Docker; properties with the same cases in every run, so that only a change can break it
	RAPID_SEED=1 RAPID_CHECKS=400 go test ./...

PROPERTIES = $$(git grep -l 'rapid\.Check' -- '*_test.go' | xargs -n1 dirname | sort -u | sed 's|^|./|')
EXPLORE ?= 5m
explore: ## the properties with new cases, for EXPLORE; what it finds is reproduced with the seed it prints
	@end=$$(($$(date +%s) + $$(echo $(EXPLORE) | sed 's/m$$/*60/; s/s$$//'))); \
	while [ $$(date +%s) -lt $$end ]; do RAPID_NOFAILFILE=1 RAPID_CHECKS=1000 RAPID_STEPS=100 go test -count=1 -run "$$(git grep -h -B40 'rapid\.Check' -- '*_test.go' | sed -n 's/^func \(Test[A-Za-z0-9_]*\).*/\1/p' | sort -u | paste -sd'|')" $(PROPERTIES) || exit 1; done

acme: ## certificates from a real ACME server (Pebble, a Go module) on loopback
	go test -tags acme -timeout 10m -run 'ACME|AnyRouter' ./router

docker-test: ## tests of the edges, on the real engine
	go test -tags docker -timeout 20m ./agent ./builder ./cli

e2e: build ## the whole life of apps, through the command line
	PAAS_BINARY=$(CURDIR)/bin/paas go test -tags e2e -count=1 -timeout 25m ./scripts/e2e

faults: build ## long drills: load, crashes, full disks
	@scripts/host faults
	PAAS_BINARY=$(CURDIR)/bin/paas go test -tags e2e,faults -count=1 -timeout 180m -run Fault -v ./scripts/e2e

vm: build ## paas as systemd's service in a virtual machine: limits of builds, kill, stop, reboot; ACCEL=kvm is quicker
	@scripts/images busybox
	scripts/vm

check: ## formatting and vet; the architecture's rules are tests of the root package
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not formatted:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./... && go vet -tags docker,e2e,acme,faults ./...

FUZZTIME ?= 20s
fuzz: ## every fuzz target in turn, each for FUZZTIME
	@set -e; for f in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' $$f); do \
	    echo "$$name in ./$$(dirname $$f)"; go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$f); \
	  done; done

fmt:
	gofmt -w $$(git ls-files '*.go')

bench-router:
	go test -run xxx -bench . -benchtime 2s ./router
	go test -run xxx -bench Tunnel -benchtime 2s ./agent

bench-deploy: build ## what people wait for and what an idle host costs, beside the same by hand
	go test -run xxx -bench 'Propose|Raw' -benchtime 2s ./store
	PAAS_BINARY=$(CURDIR)/bin/paas go test -tags e2e,bench -count=1 -timeout 20m -run BenchDeploy -v ./scripts/e2e

bench-cluster: build ## replicas on several hosts, an update, the loss of a host and of the leader, beside bare engines
	PAAS_BINARY=$(CURDIR)/bin/paas go test -tags e2e,bench -count=1 -timeout 40m -run BenchCluster -v ./scripts/e2e

bench-store:
	go test -run xxx -bench . -benchtime 2s ./store

bench-scheduler: ## placement, and what a server spends on 300 hosts (PAAS_BENCH_HOSTS)
	go test -run xxx -bench . -benchtime 2s ./scheduler
	go test -run xxx -bench Desired -benchtime 2s ./server
	go test -run xxx -bench Hundreds -benchtime 1x ./server
