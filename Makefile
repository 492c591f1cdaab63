# One way to run things, the same for a person and for CI.
.DEFAULT_GOAL := help
.PHONY: help quickstart images dist test lint fmt bench sim mutants fuzz leftovers-before leftovers-after clean-check failover power-cuts update-load upgrade-check rotation

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: ## from a checkout to a running shop; asks before it installs anything
	@packaging/quickstart

images: ## build the images of the examples
	@examples/build-images

dist: ## one static program with units, installer and checksum, in dist/
	@packaging/dist

test: ## every test, with what they need set up first; skipping fails
	@packaging/test

lint: ## format and lints, as strict as CI
	@packaging/lint

fmt: ## format the code
	cargo fmt --all

bench: ## measure, each figure beside what it is judged by; PARTS="engine log doors writes restart replicas names idle"
	@packaging/bench $(PARTS)

leftovers-before: ## note the state of this machine
	@packaging/leftovers before

leftovers-after: ## compare it with what was noted; fails if something was left
	@packaging/leftovers after

clean-check: ## does the test suite leave the machine as it was?
	@packaging/leftovers before
	@$(MAKE) --no-print-directory test
	@packaging/leftovers after

update-load: ## 20 updates of 4 replicas under load, 200 000 requests, none of which may fail; prints the figures
	@packaging/update-load

upgrade-check: ## does today's build take over from an earlier one without restarting a container? builds both
	@packaging/upgrade-check

rotation: ## certificates of a minute replaced for MINUTES (60) under calls of every kind, none of which may fail
	@packaging/rotation

failover: ## the leader of three servers is killed, paused and cut off, FAULTS=100 times in all, and more; needs root
	@packaging/failover

power-cuts: ## servers lose their power CUTS=200 times under a writer, and are killed while they open; needs root and /dev/fuse
	WHERRY_CUTS=$(or $(CUTS),200) cargo test --workspace --test power_cuts -- --nocapture

sim: ## 10 000 simulated clusters with faults, and 2 000 groups of servers; a seed is a bug report
	cargo run -p tests --bin sim -- --seeds 10000

fuzz: ## 10 000 000 strange inputs for each parser; TARGET=dns for one, COUNT=1000000 for fewer
	@packaging/fuzz $(TARGET)

mutants: ## break one rule of the engines at a time: the simulator must notice each
	@tests/mutants/run
