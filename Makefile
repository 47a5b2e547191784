# `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help run test fuzz-api bench check-lists fmt lint

SCRIPTS := .ci/run scripts/test-servers.sh scripts/fuzz-api.sh

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

run: ## start the service, with a PostgreSQL of its own unless DATABASE_URL is set
	cargo run --release --locked -- serve

test: ## all tests, against a PostgreSQL, a Redis and a NATS started for them
	./scripts/test-servers.sh -- cargo test --locked $(ARGS)

fuzz-api: ## check a service of its own against /openapi.json, with schemathesis from PyPI
	./scripts/fuzz-api.sh $(ARGS)

bench: ## benchmarks, against the same servers
	./scripts/test-servers.sh -- cargo bench --locked $(ARGS)

check-lists: ## count the real lists in $MERCURIALE_PRICE_LISTS a second time, and compare
	@test -n "$$MERCURIALE_PRICE_LISTS" || { echo "set MERCURIALE_PRICE_LISTS: see checks/second_count.py" >&2; exit 1; }
	cargo build --release --locked
	python3 checks/second_count.py target/release/mercuriale

fmt: ## format the sources
	cargo fmt

lint: ## check format, lints, rustdoc and scripts
	cargo fmt --check
	cargo clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); \
	else echo "shellcheck is not installed: the scripts were not checked"; fi
