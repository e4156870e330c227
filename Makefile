# One environment for everything but the benches' peers; each target makes what it needs.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_VENV := .venv-bench
SPARK_VENV := .venv-spark
SCHEDULERS_VENV := .venv-schedulers
SPARK_JARS := infra/spark/target/jars
JOBS ?= 2
ROOT ?= tanada-data

.PHONY: help demo test test-full bench bench-spark lint format serve lock clean test-operate test-s3 test-postgresql test-spark test-schedulers

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(BIN)/uv: infra/locks/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r infra/locks/uv.txt
	@touch $@

$(READY): $(BIN)/uv infra/locks/test.txt pyproject.toml api/client/pyproject.toml
	@echo "environment: $(VENV)" >&2
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r infra/locks/test.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e . -e api/client
	@touch $@

demo: $(READY) ## five sectors' recordings go in, a licensed release comes out (no server, no JVM)
	@$(BIN)/python infra/demo/run.py

test: lint ## lint, types, contracts and every test that Python packages suffice for
	@rm -f .coverage .coverage.*
	$(BIN)/pytest -n $(JOBS) --dist worksteal -m 'not full and not browser' --cov --cov-report=
	@$(BIN)/coverage report

# What runs with its lakes on a real MinIO: suites of folders once more, and the tests of buckets alone.
ON_S3 := tests/e2e/test_follow_a_record.py tests/golden/test_release_values.py tests/integration/ingest tests/integration/s3 \
  $(addprefix tests/integration/api/test_,files.py recordings.py) \
  $(addprefix tests/unit/release/test_,build.py bucket.py) $(addprefix tests/unit/stores/test_,lake.py receive.py)

# What runs with its catalog on a real PostgreSQL: the suites that read or write it, and the tests of it alone.
ON_POSTGRESQL := $(addprefix tests/integration/,postgresql api) tests/unit/stores tests/unit/ledger tests/unit/release/test_build.py \
  $(addprefix tests/property/test_,receive.py metering.py) \
  $(addprefix tests/integration/ingest/test_,ingest.py concurrent.py crash.py recover.py)
# And with both: what a platform of several machines runs on.
ON_BOTH := tests/e2e/test_follow_a_record.py tests/integration/ingest/test_ingest.py

test-full: test-operate test-s3 test-postgresql test-spark test-schedulers ## only what `test` leaves out, part by part: real servers, large inputs

test-operate: $(BENCH_VENV)/.ready ## a real browser, the peers, promtool, compose (part of test-full)
	@infra/services/chromium.sh
	@infra/services/prometheus.sh
	@infra/services/compose.sh
	@infra/services/minio.sh
	@infra/services/postgresql.sh
	TANADA_REQUIRE_BROWSER=1 $(BENCH_VENV)/bin/pytest -m '(full or browser) and not s3'

test-s3: $(READY) ## suites on a real MinIO, faults included (part of test-full)
	@infra/services/minio.sh
	$(BIN)/pytest -n $(JOBS) --dist worksteal --store=s3 -m 's3 or not (full or browser)' $(ON_S3)

test-postgresql: $(READY) ## suites on a real PostgreSQL, and on it and MinIO together (part of test-full)
	@infra/services/postgresql.sh
	@infra/services/minio.sh
	$(BIN)/pytest -n $(JOBS) --dist worksteal --catalog=postgresql -m 'postgresql or not (full or browser)' $(ON_POSTGRESQL)
	$(BIN)/pytest -n $(JOBS) --dist worksteal --catalog=postgresql --store=s3 -m 'not (full or browser)' $(ON_BOTH)

test-spark: $(SPARK_VENV)/.ready ## the Spark engine on a real cluster, with a real MinIO (part of test-full)
	@infra/services/minio.sh
	$(SPARK_VENV)/bin/pytest -n $(JOBS) --dist loadfile -m full tests/integration/spark

test-schedulers: $(SCHEDULERS_VENV)/.ready ## real Airflow and Dagster run the jobs (part of test-full)
	@infra/services/chromium.sh
	@infra/services/postgresql.sh
	TANADA_REQUIRE_BROWSER=1 $(SCHEDULERS_VENV)/bin/pytest -n $(JOBS) --dist loadfile tests/integration/schedulers

bench: $(BENCH_VENV)/.ready $(SPARK_VENV)/.ready ## CPU and memory against the peers, side by side; growth of a lake; Spark
	@$(BENCH_VENV)/bin/python tests/bench/answers.py
	@infra/services/minio.sh
	@$(BENCH_VENV)/bin/python tests/bench/growth.py $(GROWTH_ARGS)
	@$(SPARK_VENV)/bin/python tests/bench/engines.py $(ENGINES_ARGS)
	@$(BENCH_VENV)/bin/python tests/bench/run.py $(BENCH_ARGS)

bench-spark: $(SPARK_VENV)/.ready ## the Spark engine beside the embedded one: CPU and wall (part of bench)
	@$(SPARK_VENV)/bin/python tests/bench/engines.py $(ENGINES_ARGS)

$(BENCH_VENV)/.ready: $(READY) infra/locks/bench.txt
	@$(PYTHON) -m venv $(BENCH_VENV)
	@$(BIN)/uv pip install --quiet --python $(BENCH_VENV)/bin/python --require-hashes --compile-bytecode -r infra/locks/uv.txt -r infra/locks/bench.txt
	@$(BIN)/uv pip install --quiet --python $(BENCH_VENV)/bin/python --no-deps --no-build-isolation -e . -e api/client
	@touch $@

$(SPARK_JARS)/.ready: infra/spark/pom.xml $(wildcard infra/spark/logstore/tanada/*.java) infra/services/java.sh
	@infra/services/java.sh
	@rm -rf infra/spark/target
	@mvn -q -B -f infra/spark/pom.xml package
	@touch $@

$(SPARK_VENV)/.ready: $(READY) infra/locks/spark.txt $(SPARK_JARS)/.ready
	@$(PYTHON) -m venv $(SPARK_VENV)
	@$(BIN)/uv pip install --quiet --python $(SPARK_VENV)/bin/python --require-hashes --compile-bytecode -r infra/locks/uv.txt -r infra/locks/spark.txt
	@$(BIN)/uv pip install --quiet --python $(SPARK_VENV)/bin/python --no-deps --no-build-isolation -e . -e api/client
	@touch $@

$(SCHEDULERS_VENV)/.ready: $(READY) infra/locks/schedulers.txt
	@$(PYTHON) -m venv $(SCHEDULERS_VENV)
	@$(BIN)/uv pip install --quiet --python $(SCHEDULERS_VENV)/bin/python --require-hashes --compile-bytecode -r infra/locks/uv.txt -r infra/locks/schedulers.txt
	@$(BIN)/uv pip install --quiet --python $(SCHEDULERS_VENV)/bin/python --no-deps --no-build-isolation -e . -e api/client
	@touch $@

lint: $(READY) ## ruff, mypy, import contracts
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy --exclude '^api/client/' && $(BIN)/mypy api/client/tanada
	@$(BIN)/lint-imports --no-cache

format: $(READY) ## rewrite in the house style
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

serve: $(READY) ## the catalog on http://127.0.0.1:8000, over ROOT=tanada-data
	@$(BIN)/tanada serve --root $(ROOT)

COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --python-version 3.11 \
  --constraints infra/locks/constraints.txt --no-emit-package tanada --no-emit-package tanada-platform --custom-compile-command "make lock"
SERVICE := --extra checks --extra api --extra metrics --extra postgresql --extra s3
lock: ## renew infra/locks from pyproject.toml (LOCK_ARGS=--upgrade for newer versions)
	@$(COMPILE) $(LOCK_ARGS) infra/locks/uv.in -o infra/locks/uv.txt
	@$(COMPILE) $(LOCK_ARGS) pyproject.toml $(SERVICE) --extra demo --group test -o infra/locks/test.txt
	@$(COMPILE) $(LOCK_ARGS) pyproject.toml $(SERVICE) --extra demo --group test --group bench --group full -o infra/locks/bench.txt
	@$(COMPILE) $(LOCK_ARGS) pyproject.toml $(SERVICE) --extra demo --extra spark --group test -o infra/locks/spark.txt
	@$(COMPILE) $(LOCK_ARGS) pyproject.toml $(SERVICE) --group build -o infra/locks/service.txt
	@$(COMPILE) $(LOCK_ARGS) pyproject.toml $(SERVICE) --extra spark --group build -o infra/locks/service-spark.txt
	@$(COMPILE) $(LOCK_ARGS) pyproject.toml $(SERVICE) --extra airflow --extra dagster --group build -o infra/locks/service-schedulers.txt
	@$(COMPILE) $(LOCK_ARGS) pyproject.toml $(SERVICE) --extra demo --extra airflow --extra dagster --group test -o infra/locks/schedulers.txt

clean: ## remove environments and generated data of this checkout
	rm -rf $(VENV) $(BENCH_VENV) $(SPARK_VENV) $(SCHEDULERS_VENV) infra/spark/target demo-data .make .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
