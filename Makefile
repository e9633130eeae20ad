# `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RESULTS := tests/bench/results
CHAOS_SECONDS ?= 1200
PEER_CASES := json-2k,json-400k,stream-100
SOURCES := $(shell find src -name '*.py')

.DEFAULT_GOAL := help
.PHONY: help run test test-recordings fuzz matrix faults regret check proto goldens envoy-yaml bench bench-instructions bench-streams bench-reload bench-peers bench-results soak chaos lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(VENV)/.installed: requirements.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "python3 cannot make an environment: install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Where PYTHONDONTWRITEBYTECODE is set, nobody else would keep it, and each process would compile
# all it imports: half of what a worker takes to start.
$(VENV)/.run: $(VENV)/.installed $(SOURCES)
	@$(BIN)/python -m compileall -q src
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.installed | $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

run: $(VENV)/.run ## start the gateway on its embedded defaults
	$(BIN)/dragoman up

test: $(VENV)/.dev ## run every test
	$(BIN)/python -m pytest -q -ra -n auto --maxprocesses 4 --dist loadfile

test-recordings: $(VENV)/.dev ## run over the recorded exchanges in RECORDINGS; one table
	$(BIN)/python -m pytest -q --tb=line tests/recordings

$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fuzz.txt || \
		echo "no atheris for this machine: fuzzing goes on without coverage to guide it" >&2
	@touch $@

fuzz: $(VENV)/.fuzz ## fuzz every decoder and the whole request path for FUZZ_SECONDS (60)
	$(BIN)/python -m tests.fuzz

check: $(VENV)/.dev ## formatting, lint, types, generated files, tests: all that CI does and more
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright --level error
	$(MAKE) --no-print-directory proto envoy-yaml
	git diff --exit-code -- src/dragoman/extproc/pb envoy
	$(MAKE) --no-print-directory test

proto: $(VENV)/.dev ## regenerate the protocol messages
	@rm -rf build/proto && mkdir -p build/proto/dragoman/extproc/pb
	@cp proto/*.proto build/proto/dragoman/extproc/pb/
	cd build/proto && ../../$(BIN)/python -m grpc_tools.protoc -I. --python_out=../../src \
		--pyi_out=../../src dragoman/extproc/pb/*.proto

goldens: $(VENV)/.dev ## regenerate the golden files; review them as a diff
	$(BIN)/python -m tests.goldens

matrix: $(VENV)/.dev ## regenerate the matrices in the README of src/dragoman/dialects
	$(BIN)/python -m tests.matrix

faults: $(VENV)/.dev ## try each fault against each routing strategy; one table, and its section in envoy/README.md
	$(BIN)/python -m tests.envoy.trials

regret: $(VENV)/.dev ## what the strategies that learn lose against the best fixed choice, drawn; REGRET="--ledger FILE" for your own requests
	$(BIN)/python -m tests.bench.regret $(REGRET)

envoy-yaml: $(VENV)/.dev ## regenerate envoy/envoy.yaml from envoy/dragoman.yaml
	OPENAI_API_KEY=at-run-time ANTHROPIC_API_KEY=at-run-time $(BIN)/dragoman envoy -c envoy/dragoman.yaml > envoy/envoy.yaml

bench: $(VENV)/.dev ## measure against Envoy alone; one JSON object a line; BENCH="--help" for options
	$(BIN)/python -m tests.bench $(BENCH)
	$(BIN)/python -m tests.redaction
	$(BIN)/python -m tests.guardrails

bench-instructions: $(VENV)/.dev ## count Envoy's instructions a request under callgrind; needs valgrind; INSTRUCTIONS="--help" for options
	$(BIN)/python -m tests.bench.instructions $(INSTRUCTIONS)

soak: $(VENV)/.dev ## 500,000 mixed requests, and what they leave in memory; SOAK="--count 50000" for fewer
	$(BIN)/python -m tests.bench.soak $(SOAK)

chaos: $(VENV)/.dev ## CHAOS_SECONDS (1200) of failing providers, killed workers, a restarted store and changing policies under load; does it add up? CHAOS="--seed N" repeats a run
	$(BIN)/python -m tests.chaos --seconds $(CHAOS_SECONDS) $(CHAOS)

bench-streams: $(VENV)/.dev ## what 10,000 open translated streams cost a worker; STREAMS="--streams 1000" for fewer
	$(BIN)/python -m tests.bench.streams $(STREAMS)

bench-reload: $(VENV)/.dev ## how soon a changed policy of 1,000 models and 200 clusters is in force
	$(BIN)/python -m tests.bench.reload $(RELOAD)

bench-peers: $(VENV)/.dev build/peers/litellm/.done build/peers/portkey/.done ## the same with LiteLLM and Portkey; draws the README's plot
	$(BIN)/python -m tests.bench --peers --cases $(PEER_CASES) --connections 1,16 \
		--output $(RESULTS)/peers.jsonl $(BENCH)
	$(BIN)/python -m tests.bench.plot $(RESULTS)/peers.jsonl $(RESULTS)/peers.svg

bench-results: bench-peers ## all of it, and the README's table of figures
	$(BIN)/python -m tests.bench --output $(RESULTS)/bench.jsonl $(BENCH)
	$(BIN)/python -m tests.bench.table $(RESULTS)/bench.jsonl

build/peers/litellm/.done: Makefile
	$(PYTHON) -m venv build/peers/litellm
	build/peers/litellm/bin/python -m pip install --quiet --disable-pip-version-check 'litellm[proxy]==1.108.7'
	@touch $@

build/peers/portkey/.done: tests/bench/portkey.package.json
	mkdir -p build/peers/portkey && cp tests/bench/portkey.package.json build/peers/portkey/package.json
	npm install --silent --no-audit --no-fund --prefix build/peers/portkey
	@touch $@

lock: ## pin every package with its hashes (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-annotate --extra build pyproject.toml -o requirements.txt
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-annotate --extra dev pyproject.toml -o requirements-dev.txt
	echo atheris==3.0.0 | uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-annotate - -o requirements-fuzz.txt

clean: ## remove what the other targets made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
