PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip install --no-cache-dir --progress-bar on -c constraints.txt
COURSE ?= class

# One environment, filled as far as a command needs it; each file says how far that is.
LEARN := $(VENV)/.learn
READY := $(VENV)/.ready
SITE := $(VENV)/.site
NPM := site/node_modules/.package-lock.json
WASM := build/wasm/.ready
SAMPLE := tests/data/build_0_1/plain.pt
FOR_LEARN := course,export
FOR_TEST := course,export,test,instructor,frameworks

.PHONY: learn test build site run test-browser test-site wasm test-wasm torture matrix census bench wheel release grade grade-capstone formgrader lint constraints

learn: $(LEARN)
	$(RUN) -m course_utils learn

test: $(READY)
	$(RUN) -m pytest -n 2 --dist loadscope --durations=10 --nbval --nbval-sanitize-with notebooks/nbval_sanitize.cfg tests notebooks

build: $(READY)
	$(RUN) -m course_utils.grading.sheets && $(RUN) -m course_utils.authoring

site: $(SITE) $(NPM)
	$(RUN) site/build.py

run: $(READY)
	$(RUN) -m course_utils.authoring.run

test-browser: $(READY)
	$(RUN) -m pytest -m browser tests

test-site: $(READY)
	$(RUN) -m pytest -m browser tests/site

# Pyodide and what else is pinned in site/package-lock.json; Node.js has to be there.
wasm: $(NPM)

test-wasm: $(WASM) $(NPM)
	ulimit -s unlimited && node --stack-size=200000 tests/formats/in_pyodide.mjs \
		/code=$(CURDIR) /packages=$(CURDIR)/build/wasm /code/tests/formats/without_torch.py

torture: $(READY)
	$(RUN) -m pytest -m torture tests

matrix: $(READY)
	$(RUN) -m course_utils.authoring.matrix

census: $(READY)
	$(RUN) -m course_utils.authoring.census

bench: $(READY)
	$(RUN) -m benchmarks

# What would be published, installed where nothing else is: it has to read a file.
wheel:
	rm -rf build/wheel
	$(PYTHON) -m venv build/wheel/tools && build/wheel/tools/bin/pip install -q build twine
	build/wheel/tools/bin/python -m build -q --outdir build/wheel/dist .
	build/wheel/tools/bin/twine check --strict build/wheel/dist/*
	! tar -tzf build/wheel/dist/*.tar.gz | grep /tests/  # which need the repository around them
	$(PYTHON) -m venv build/wheel/empty && build/wheel/empty/bin/pip install -q build/wheel/dist/*.whl
	cd build/wheel && empty/bin/ckpt --version && empty/bin/ckpt inspect $(CURDIR)/$(SAMPLE)

release: $(READY)
	$(RUN) -m course_utils.grading --course=$(COURSE) release $(LESSONS)

grade: $(READY)
	$(RUN) -m course_utils.grading --course=$(COURSE) grade "$(SUBMISSIONS)" $(if $(SCHEDULER),--scheduler=$(SCHEDULER))

grade-capstone: $(READY)
	$(RUN) -m course_utils.grading --course=$(COURSE) capstone "$(SUBMISSIONS)"

formgrader: $(READY)
	$(RUN) -m course_utils.grading --course=$(COURSE) formgrader

lint: $(READY)
	$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m mypy && $(RUN) -m codespell_lib

$(LEARN): $(VENV)/.made
	$(PIP) -e ".[$(FOR_LEARN)]"
	touch $@

$(READY): $(VENV)/.made
	$(PIP) -e ".[$(FOR_TEST)]"
	touch $(LEARN) $@

$(SITE): $(READY)
	$(PIP) -e ".[site]"
	touch $@

$(NPM): site/package-lock.json
	npm ci --prefix site --ignore-scripts --no-audit --no-fund
	touch $@

# Wheels for any platform; newer ones of hypothesis are compiled.
$(WASM): $(VENV)/.made
	$(RUN) -m pip install --target build/wasm --only-binary :all: --platform any \
		--python-version 3.14 --implementation py --abi none pytest==9.2.0 hypothesis==6.155.7
	touch $@

$(VENV)/.made: pyproject.toml constraints.txt
	$(PYTHON) course_utils/authoring/preflight.py $(VENV)
	$(PYTHON) -m venv $(VENV)
	touch $@

constraints: $(SITE)
	{ sed -n '/^#/p' constraints.txt; $(RUN) -m pip freeze --all --exclude pip --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt
