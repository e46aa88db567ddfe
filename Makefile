# Every target installs what it lacks, and says so. Two are enough to begin with: `make run` and `make test`.

.DEFAULT_GOAL := help
SHELL := /bin/bash

# A part of a test's name, or the name of its program: make e2e TEST=restart
TEST ?=
BENCH_FLAGS ?=
CRITEST_FLAGS ?=
SUITES_FLAGS ?=

.PHONY: help build run serve test test-fast test-root coverage mutants test-vm test-aarch64 e2e kill attack faults soak critest critest-bench kubelet-smoke cluster cluster-down cluster-test cluster-bench node-e2e conformance nri nri-bench survive-bench bench bench-compare profile rates order reproducible lint audit fuzz sanitize install dist image package-test clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z0-9 -]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the daemon, the static shim and pause and the CNI plugins into target/dist, as they are handed out
	@e2e/setup.sh build
	@e2e/build.sh

install: ## Put target/dist where a node has it (DESTDIR=, PREFIX=/usr/local); after make build
	@DESTDIR="$(DESTDIR)" PREFIX="$(or $(PREFIX),/usr/local)" packaging/install.sh

dist: ## Tarball, .deb, .rpm, list of components, licence texts and checksums in target/packages
	@e2e/setup.sh build package
	@e2e/build.sh
	@packaging/dist.sh

image: ## The chart's image of target/dist, an OCI archive in target/packages; after make build
	@e2e/setup.sh build
	@cargo build --quiet --locked -p e2e --bin e2e
	@target/debug/e2e image

package-test: ## The packages' life in a fresh Debian 12: install, a pod, upgrade under it, remove, purge; on target/dist
	@e2e/setup.sh run package
	@packaging/test.sh

run: ## Show a pod from pull to removal on private directories, with the time of each step
	@e2e/setup.sh run
	@e2e/build.sh --quick e2e
	@target/release/e2e run

serve: ## Start a registry and the daemon, print the crictl line, clean up on ^C
	@e2e/setup.sh run
	@e2e/build.sh --quick e2e
	@target/release/e2e serve

test: export CORTEN_REQUIRE ?= root,tools
test: ## All of it: lint, unit and integration tests as root on this kernel, e2e with the real crictl, a cluster and Kubernetes' own suite where their programs are built, critest
	@e2e/setup.sh test
	@$(MAKE) --no-print-directory lint
	@e2e/build.sh
	@e2e/failpoints.sh
	@e2e/previous.sh
	@e2e/test.sh root
	@e2e/test.sh e2e
	@e2e/test.sh cluster-part
	@e2e/test.sh suites-part
	@$(MAKE) --no-print-directory critest

test-fast: ## What needs no root and no setup but Rust's: unit and integration tests (TEST=name for some of them)
	@e2e/setup.sh nextest
	@e2e/test.sh fast $(TEST)

test-root: ## Unit and integration tests as root: namespaces, overlays, cgroups, packet rules of this kernel (TEST=name)
	@e2e/setup.sh test
	@e2e/test.sh root $(TEST)

coverage: ## Which lines of the engine its tests without root run (TEST=src/engine/names.rs: those of a file that they do not)
	@e2e/setup.sh coverage
	@e2e/coverage.sh $(TEST)

mutants: ## Small changes of the code that no test without root notices (TEST=src/wire/codec.rs for some; without it half an hour and more)
	@e2e/setup.sh mutants
	@e2e/mutants.sh $(TEST)

e2e: ## The end-to-end scenarios, on target/dist (TEST=restart for some; RUNTIME=containerd: on the peer)
	@e2e/setup.sh test
	@e2e/previous.sh
	@e2e/test.sh e2e $(TEST)

kill: ## The kill matrix of e2e/tests/kill: at every failpoint daemon or supervisor die, or a step fails (CORTEN_FAILPOINT=engine.run for some)
	@e2e/setup.sh test
	@e2e/failpoints.sh
	@rm -f target/nextest/kill-*.txt
	@e2e/test.sh e2e kill; status=$$?; cat target/nextest/kill-*.txt; exit $$status

soak: ## Pods at random while daemon, supervisors, plugins, registry, network and disk fail at random (MINUTES=30; KILLS=1000: kills alone; PODS=10000: so many one after the other; SEED= of a run, to play it again)
	@e2e/setup.sh test
	@[ -x target/dist/corten ] || e2e/build.sh
	@[ -z "$(KILLS)" ] || e2e/failpoints.sh
	@rm -f target/nextest/soak*.txt
	@CORTEN_SOAK_SEED=$(SEED) CORTEN_SOAK_MINUTES=$(or $(MINUTES),30) CORTEN_SOAK_KILLS=$(KILLS) CORTEN_SOAK_PODS=$(PODS) \
		e2e/test.sh soak $(if $(KILLS),lose_nothing,$(if $(PODS),one_after_the_other,whatever_breaks)); status=$$?; cat target/nextest/soak*.txt; exit $$status

attack: ## The attackers of e2e/tests/attack alone, on target/dist; prints a table
	@e2e/setup.sh test
	@e2e/attack.sh

faults: ## Every test that docs/reliability.md names, and its list with what came of each (TEST='F2 S16' for some)
	@e2e/setup.sh test
	@e2e/build.sh
	@e2e/failpoints.sh
	@e2e/previous.sh
	@e2e/faults.sh $(TEST)

critest: ## The CRI's validation suite, on target/dist (RUNTIME=containerd: on the peer, with OCI_RUNTIME=corten-oci by that; CRITEST_FLAGS='--focus exec')
	@e2e/setup.sh critest
	@cargo build --quiet --locked -p e2e --bin critest --bin nnp
	@target/debug/critest $(CRITEST_FLAGS)

critest-bench: ## critest's benchmarks on Corten and on containerd, one table
	@e2e/setup.sh critest bench
	@e2e/build.sh
	@cargo build --quiet --locked -p e2e --bin critest --bin nnp
	@target/debug/critest --benchmark $(CRITEST_FLAGS)

kubelet-smoke: ## The real kubelet with static pods on Corten, then on containerd; its complaints compared
	@e2e/setup.sh kubelet
	@e2e/build.sh
	@cargo run --quiet --locked -p e2e --bin kubelet-smoke

cluster: ## A cluster in the background: etcd, control plane, CoreDNS, kubelets on Corten (NODES=2; RUNTIME=containerd); prints KUBECONFIG
	@e2e/setup.sh cluster
	@[ -x target/dist/corten ] || e2e/build.sh
	@cargo build --quiet --locked -p e2e --bin e2e
	@target/debug/e2e cluster

cluster-down: ## End it; nothing stays
	@cargo build --quiet --locked -p e2e --bin e2e
	@target/debug/e2e cluster-down

cluster-test: ## Scenarios of a real cluster, on target/dist (TEST=rollout for some; RUNTIME=containerd: on the peer)
	@e2e/setup.sh test cluster
	@e2e/test.sh cluster $(TEST)

node-e2e conformance: ## Kubernetes' own suites on target/dist, beside the last run on the other runtime (RUNTIME=containerd; SUITES_FLAGS='--focus Probing')
	@e2e/setup.sh suites
	@[ -x target/dist/corten ] || e2e/build.sh
	@cargo build --quiet --locked -p e2e --bin suites --bin nnp
	@target/debug/suites $@ $(SUITES_FLAGS)

cluster-bench: ## 110 and 250 pods of a Deployment until Ready and until gone, on Corten and on containerd (BENCH_FLAGS='--rounds 3'); a table
	@e2e/setup.sh cluster
	@e2e/build.sh
	@. e2e/flags.sh && cargo build --quiet --release --locked -p e2e --bin bench
	@target/release/bench cluster $(BENCH_FLAGS)

nri: ## Plugins of others for the Node Resource Interface, unchanged, on Corten and on containerd; a table of what they do (TEST=logger for some)
	@e2e/setup.sh test nri
	@[ -x target/dist/corten ] || e2e/build.sh
	@rm -f target/nextest/nri-*.txt
	@e2e/test.sh nri $(TEST); status=$$?; printf '\n| plugin | effect | Corten | Corten with runc | containerd with runc |\n|---|---|---|---|---|\n'; \
		cat target/nextest/nri-*.txt; exit $$status

nri-bench: ## What plugins add to the start of a pod, on Corten and on containerd; a table (BENCH_FLAGS='--rounds 100')
	@e2e/setup.sh bench nri
	@e2e/build.sh
	@. e2e/flags.sh && cargo build --quiet --release --locked -p e2e --bin bench --example nri-plugin
	@target/release/bench nri $(BENCH_FLAGS)

survive-bench: ## kill -9 with 500 and 1,000 pods: until it serves again, true exits, memory, commands; on Corten, then on containerd; tables
	@e2e/setup.sh bench
	@e2e/build.sh
	@. e2e/flags.sh && cargo build --quiet --release --locked -p e2e --bin bench
	@target/release/bench survive $(BENCH_FLAGS)
	@target/release/bench survive --peer $(BENCH_FLAGS)

test-vm: ## Unit tests, scenarios and critest on a cgroup v2 host with AppArmor: a virtual machine without KVM, slow
	@e2e/setup.sh test vm
	@e2e/build.sh
	@e2e/test-vm.sh unit
	@e2e/test-vm.sh e2e
	@e2e/test-vm.sh systemd
	@e2e/test-vm.sh critest

test-aarch64: ## Static supervisor and pause for aarch64, and unit tests of what asks nothing of a kernel, emulated
	@e2e/setup.sh aarch64
	@e2e/aarch64.sh

bench: ## Corten against containerd with runc and against the floor, in one run; prints tables
	@e2e/setup.sh bench
	@e2e/build.sh
	@. e2e/flags.sh && cargo build --quiet --release --locked -p e2e --bin bench
	@target/release/bench $(BENCH_FLAGS)
	@target/release/bench pull

bench-compare: ## This tree, another revision and the floor, pods alternating; whether one is faster (BASE=HEAD, BENCH_FLAGS='--rounds 300')
	@e2e/setup.sh bench
	@e2e/base.sh $(or $(BASE),HEAD)
	@e2e/build.sh --quick bench
	@target/release/bench compare --base target/base/target/dist $(BENCH_FLAGS)

rates: ## How many pods start in a second beside 100, 500 and 950 others, and what CPU time each takes; a table (BENCH_FLAGS='--beside 100')
	@e2e/setup.sh bench
	@e2e/build.sh
	@. e2e/flags.sh && cargo build --quiet --release --locked -p e2e --bin bench
	@target/release/bench rates $(BENCH_FLAGS)

profile: ## Where the time of a pod's start goes: stages, CPU time, system calls, waits of daemon, supervisor and kernel (BENCH_FLAGS='--pods 10')
	@e2e/setup.sh bench
	@e2e/build.sh
	@. e2e/flags.sh && cargo build --quiet --release --locked -p e2e --bin bench
	@target/release/bench profile $(BENCH_FLAGS)

order: ## Find anew which functions a serving daemon calls, which the next make build lays together; after make build, as root, on x86_64
	@e2e/setup.sh run
	@e2e/order.sh

reproducible: ## Build in two directories, and compare every byte (two builds from nothing: minutes)
	@e2e/setup.sh build
	@e2e/reproducible.sh

lint: ## Format, clippy with warnings denied, licences, bans and sources
	@e2e/lint.sh

audit: ## Known vulnerabilities of dependencies, where the advisory database can be reached
	@e2e/lint.sh audit

fuzz: ## Each parser of bytes that strangers write, 60 s (SECONDS_EACH=600 for longer)
	@e2e/setup.sh fuzz
	@e2e/fuzz.sh

sanitize: ## Scenarios on programs with AddressSanitizer, and Miri over what reads bytes (TEST=thread: ThreadSanitizer)
	@e2e/setup.sh sanitize
	@[ -x target/dist/corten ] || e2e/build.sh
	@e2e/sanitize.sh $(TEST)

clean: ## Remove what was built
	cargo clean
	rm -rf .cache
