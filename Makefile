# `make help` lists the targets; the work is done in scripts/.
.DEFAULT_GOAL := help
.PHONY: setup run build test test-wine race lint generate e2e bats soak bench compat release-snapshot cross help

setup: ## Install what is missing (QEMU, a C compiler, what the guest is built from)
	@scripts/setup

run: ## From nothing to a running VM: set up, build, boot one, show it
	@scripts/setup run
	@scripts/build
	@scripts/demo

build: ## Build bin/rdd, stripped and without cgo, with the guest agent in it
	@scripts/build

test: ## Everything that CI checks: lint, generated code, all platforms, all tests with -race
	@scripts/test

test-wine: ## Windows tests under Wine: identities, handles, Job Objects, access lists
	@scripts/test-wine

race: ## Only the tests that need no VM, with -race
	@scripts/test race

lint: ## golangci-lint for linux, windows and darwin, shellcheck, module files
	@scripts/lint

generate: ## Generate deepcopy code, CRDs and the command reference
	@scripts/generate
	@scripts/docs

e2e: ## Only the tests that boot VMs, among them the real binary end to end
	@scripts/test e2e

bats: ## Only the BATS suite: what a user does, on the real binary
	@scripts/setup
	@scripts/build
	@scripts/bats

soak: ## Kill daemon, agents and drivers at random: ROUNDS=200, SEED=, REAL=n for n real VMs among the stand-ins
	@$(if $(REAL),scripts/build)
	@CGO_ENABLED=0 go test -count=1 -timeout 0 -run '^TestSoak$$' ./test/faults -v -args -rounds=$(or $(ROUNDS),200) -real=$(or $(REAL),0) $(if $(SEED),-seed=$(SEED))

bench: ## Measure start-up, memory, size and VM times against Lima alone; a table, and JSON
	@scripts/setup
	@scripts/build
	@test/bench/run

compat: ## Two older releases of kubectl, and that of go.mod, against the control plane (builds them: minutes)
	@scripts/build
	@scripts/compat

release-snapshot: ## Archives and packages of what is checked out, in dist/ (RELEASE_ARM64=no: one architecture)
	@scripts/release snapshot

cross: ## Build and vet without cgo for linux, windows and darwin
	@scripts/cross

help: ## Show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
