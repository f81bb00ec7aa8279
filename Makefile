# scanside: `make demo` and `make test` do everything on a machine with Python 3.10+ and make.
PYTHON ?= python3
VENV ?= .venv
DEV_VENV ?= .venv-dev
BENCH_VENV ?= .venv-bench
FUZZ_VENV ?= .venv-fuzz
DCMQI_VENV ?= .venv-dcmqi
GPULAB ?= .cache/gpulab
# A folder of slices of your own: make demo DATA=path/to/slices
DATA ?=

PIP = -m pip --disable-pip-version-check --quiet install
SOURCES = runtime training export calibration tests benchmarks

.PHONY: demo test test-fast test-long test-runtime lint gpulab gpulab-rtx bench gpu-check sbom soak-listen fuzz-listen schemas fuzz-dicom lgg-dicom judge-results dcmqi lock clean

demo: $(VENV)/ready
	$(VENV)/bin/scanside demo $(DATA)

test: lint
	$(DEV_VENV)/bin/python -m pytest

test-fast: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python -m pytest -m "not slow and not tf"

# The properties alone, with many examples that differ from run to run.
test-long: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python -m pytest -m hypothesis --hypothesis-profile long

# The runtime alone, with nothing of the training stack: for each Python it is meant for.
test-runtime: $(VENV)-test/ready
	$(VENV)-test/bin/python -m pytest -m "not slow and not tf" \
	    --ignore tests/unit/training --ignore tests/unit/export \
	    --ignore tests/unit/calibration --ignore tests/unit/benchmarks --ignore tests/gpulab

lint: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/ruff check $(SOURCES)
	$(DEV_VENV)/bin/ruff format --check $(SOURCES)
	$(DEV_VENV)/bin/mypy
	$(DEV_VENV)/bin/lint-imports --cache-dir .cache/import-linter
	@$(MAKE) --no-print-directory -s -C runtime/c BUILD=../../.cache/c lint

# Builder and backend on NVIDIA's real Python bindings, without a GPU: their wheels come into
# .cache from the package index and are shipped nowhere. Needs x86-64 Linux and a C++ compiler.
gpulab: $(GPULAB)/ready
	SCANSIDE_GPULAB=$(abspath $(GPULAB)) $(DEV_VENV)/bin/python -m pytest tests/gpulab

$(GPULAB)/ready: $(DEV_VENV)/ready tests/gpulab/prepare.py $(wildcard tests/gpulab/fakes/*)
	@echo "Setting up $(GPULAB) (once, some minutes)"
	@$(DEV_VENV)/bin/python tests/gpulab/prepare.py $(GPULAB)
	@touch $@

# The compiler of TensorRT-RTX alone, on every model: some two minutes.
gpulab-rtx: $(GPULAB)-rtx/ready
	SCANSIDE_GPULAB=$(abspath $(GPULAB)-rtx) $(DEV_VENV)/bin/python -m pytest tests/gpulab/test_rtx_compiler.py

$(GPULAB)-rtx/ready: $(DEV_VENV)/ready tests/gpulab/prepare.py
	@echo "Setting up $(GPULAB)-rtx (once)"
	@$(DEV_VENV)/bin/python tests/gpulab/prepare.py $(GPULAB)-rtx rtx
	@touch $@

bench: $(BENCH_VENV)/ready
	$(BENCH_VENV)/bin/python benchmarks/peers.py --data $(DATA) --output .cache/peers

# On a device with an NVIDIA GPU, in the environment that sees its TensorRT: the acceptance test
# and the tests without fakes. make gpu-check PYTHON=.venv/bin/python
gpu-check:
	$(PYTHON) -m scanside doctor
	$(PYTHON) -m scanside build
	$(PYTHON) -m scanside verify
	$(PYTHON) -m pytest -m "gpu or jetson" -rs tests/gpu

# Campaigns against the DICOM node: kills, load, hostile connections. CAMPAIGN names a folder for them.
CAMPAIGN ?= .cache/node
soak-listen: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python tests/campaigns/node_storm.py --output $(CAMPAIGN)/storm
	$(DEV_VENV)/bin/python tests/campaigns/node_soak.py --output $(CAMPAIGN)/soak --backend null --studies 2000
	$(DEV_VENV)/bin/python tests/campaigns/node_soak.py --output $(CAMPAIGN)/soak --studies 100

fuzz-listen: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python tests/campaigns/node_hostile.py --output $(CAMPAIGN)/hostile

# What an installation with the DICOM node consists of, from its hash-locked requirements.
sbom: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python -W ignore -m cyclonedx_py requirements requirements/dicom.txt \
	    --pyproject pyproject.toml --output-reproducible --output-file .cache/sbom.cdx.json
	@echo "wrote .cache/sbom.cdx.json (CycloneDX 1.6)"

.PHONY: bench-serve fuzz soak

# What the way through `scanside serve` costs (DATA: slices), and campaigns against its protocol.
bench-serve: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python benchmarks/serve_bench.py $(if $(DATA),--data $(DATA))
	$(if $(DATA),$(DEV_VENV)/bin/python benchmarks/embedding.py $(DATA))

fuzz: $(FUZZ_VENV)/ready
	$(FUZZ_VENV)/bin/python tests/campaigns/serve_fuzz.py --messages 1000000
	$(FUZZ_VENV)/bin/python tests/campaigns/serve_fuzz.py --atheris --runs 300000
	@if command -v clang > /dev/null; \
	then $(MAKE) --no-print-directory -C runtime/c BUILD=../../.cache/c-fuzz fuzz; \
	else echo "C library: not fuzzed, that needs clang (libFuzzer)"; fi

soak: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python tests/campaigns/serve_soak.py --backend null --requests 2000000
	$(DEV_VENV)/bin/python tests/campaigns/serve_soak.py --requests 20000 $(if $(DATA),--data $(DATA))

# The JSON Schemas that ship, from the structures that write the documents.
schemas: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python -m scanside.schemas scanside scanside_training scanside_export scanside_calibration

# Mutated DICOM files and NIfTI headers through the readers; some ten minutes on two cores.
fuzz-dicom: $(DEV_VENV)/ready
	PYTHONPATH=tests/support $(DEV_VENV)/bin/python tests/campaigns/fuzz_studies.py

# Every patient of the LGG dataset as DICOM against the slices, also without a window and on tilted
# slices: make lgg-dicom DATA=slices
lgg-dicom: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python tests/campaigns/lgg_as_dicom.py $(DATA) --scale exact odd unwindowed --turned

# The results of every patient of a dataset before dciodvfy, highdicom, dcmqi and Orthanc:
# make dcmqi judge-results DATA=slices
judge-results: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/python tests/campaigns/judge_results.py $(DATA)

# A judge of DICOM results, in an environment of its own, where tests and campaign find it.
dcmqi: $(DCMQI_VENV)/ready

# Lock files hold for every supported Python and platform (markers inside).
lock: $(DEV_VENV)/ready
	$(DEV_VENV)/bin/uv pip compile $(LOCK) --extra cpu -o requirements/cpu.txt
	$(DEV_VENV)/bin/uv pip compile $(LOCK) --extra cpu --extra dicom --extra nifti -o requirements/dicom.txt
	$(DEV_VENV)/bin/uv pip compile $(LOCK) --extra cpu --extra test -o requirements/test.txt
	$(DEV_VENV)/bin/uv pip compile $(LOCK) --extra cpu --extra openvino --extra bench --extra calibrate --extra train --extra dicom --extra nifti --extra test --extra dev -o requirements/dev.txt
	$(DEV_VENV)/bin/uv pip compile $(LOCK) --extra cpu --extra openvino --extra calibrate --extra train --extra peers -o requirements/bench.txt
	$(DEV_VENV)/bin/uv pip compile $(LOCK) --extra cpu --extra fuzz -o requirements/fuzz.txt
LOCK = pyproject.toml requirements/build.in --universal --python-version 3.10 --generate-hashes \
       --no-header --quiet --upgrade

clean:
	rm -rf $(VENV) $(VENV)-test $(DEV_VENV) $(BENCH_VENV) $(FUZZ_VENV) $(DCMQI_VENV) .cache demo

$(VENV)/ready: requirements/cpu.txt pyproject.toml
	$(call environment,$(VENV),requirements/cpu.txt)
$(VENV)-test/ready: requirements/test.txt pyproject.toml
	$(call environment,$(VENV)-test,requirements/test.txt)
$(DEV_VENV)/ready: requirements/dev.txt pyproject.toml
	$(call environment,$(DEV_VENV),requirements/dev.txt)
$(FUZZ_VENV)/ready: requirements/fuzz.txt pyproject.toml
	$(call environment,$(FUZZ_VENV),requirements/fuzz.txt)
$(BENCH_VENV)/ready: requirements/bench.txt pyproject.toml
	$(call environment,$(BENCH_VENV),requirements/bench.txt)

$(DCMQI_VENV)/ready:
	@echo "Setting up $(DCMQI_VENV) with dcmqi (once)"
	@$(PYTHON) -m venv $(DCMQI_VENV)
	@$(DCMQI_VENV)/bin/python $(PIP) dcmqi==1.5.7
	@touch $@

define environment
	@echo "Setting up $(1) from $(2) (hash-checked; once, up to a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "scanside needs Python 3.10 or later, and this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(1)
	@$(1)/bin/python $(PIP) --require-hashes -r $(2)
	@$(1)/bin/python $(PIP) --no-deps --no-build-isolation -e .
	@touch $@
endef
