PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
COURSE ?= class

.PHONY: learn test build run test-browser torture bench release grade formgrader lint constraints

learn: $(READY)
	$(RUN) -m jupyterlab --notebook-dir=notebooks notebooks/00_start_here.ipynb

test: $(READY)
	$(RUN) -m pytest -n 2 --dist loadscope --nbval --nbval-sanitize-with notebooks/nbval_sanitize.cfg tests notebooks

build: $(READY)
	$(RUN) -m course_utils.grading.sheets && $(RUN) -m course_utils.authoring

run: $(READY)
	$(RUN) -m course_utils.authoring.run

test-browser: $(READY)
	$(RUN) -m pytest -m browser tests

torture: $(READY)
	$(RUN) -m pytest -m torture tests

bench: $(READY)
	$(RUN) -m benchmarks

release: $(READY)
	$(RUN) -m course_utils.grading --course=$(COURSE) release $(LESSONS)

grade: $(READY)
	$(RUN) -m course_utils.grading --course=$(COURSE) grade "$(SUBMISSIONS)" $(if $(SCHEDULER),--scheduler=$(SCHEDULER))

formgrader: $(READY)
	$(RUN) -m course_utils.grading --course=$(COURSE) formgrader

lint: $(READY)
	$(RUN) -m ruff check . && $(RUN) -m ruff format --check . && $(RUN) -m mypy

$(READY): pyproject.toml constraints.txt
	$(PYTHON) course_utils/authoring/preflight.py
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --progress-bar on -c constraints.txt -e ".[test,instructor,export]"
	touch $(READY)

constraints: $(READY)
	{ sed -n '/^#/p' constraints.txt; $(RUN) -m pip freeze --exclude-editable; } > constraints.new
	mv constraints.new constraints.txt
