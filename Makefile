# The commands of this repository. `make` lists them.

SERVICES := deploy/dev/services
CARGO    := cargo

.DEFAULT_GOAL := help
.PHONY: help run test check unit lint generated services services-down bench generate audit fmt ui ui-check ui-e2e ui-test screenshots

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-14s %s\n", $$1, $$2 }'

run: ## Serve everything in one process, without other services
	@ui/build.sh --if-node
	$(CARGO) run --release -p cli --bin apg -- serve --first-run

# The tests of `cli` make cargo build `apg` before any test runs; `tests/it` starts that one.
# The pages come first: the server embeds what was built before it.
test: ui ui-check lint generated ## Everything CI checks; starts private PostgreSQL, RabbitMQ and Redis for it
	@if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(SERVICES) run $(CARGO) nextest run --workspace; \
	else $(SERVICES) run $(CARGO) test --workspace; fi
	@$(MAKE) --no-print-directory ui-e2e

ui: ## Build the browser pages, which the server then embeds
	@ui/build.sh

ui-test: ui ui-check ui-e2e ## Check the browser pages: lints, types, unit tests, sizes, and journeys in Chromium on one process and a cluster

ui-check: ui
	cd ui && npm run --silent types:check && npm run --silent lint && npm run --silent typecheck && npm run --silent test && npm run --silent size

# All journeys in both shapes, but for the first minute, which is what the README says: one process.
ui-e2e: ui
	@ui/e2e/chromium.sh
	$(CARGO) build -p cli --bin apg
	cd ui && npm run --silent e2e
	$(SERVICES) run npm --prefix ui run --silent e2e:cluster

screenshots: ui ## Draw the pictures of the documentation again
	@ui/e2e/chromium.sh
	$(CARGO) build -p cli --bin apg
	cd ui && npm run --silent screenshots

check: lint unit ## Format, lints and the tests that need no service

lint: # Format and lints, warnings refused
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

generated: # The repository's own rules, and that generated files are up to date
	$(CARGO) xtask tidy
	$(CARGO) xtask generate --check

# Which tests those are stands in .config/nextest.toml; without nextest, those beside the sources.
unit:
	@if $(CARGO) nextest --version >/dev/null 2>&1; \
	then $(CARGO) nextest run --workspace --profile unit; \
	else $(CARGO) test --workspace --lib --bins -- --skip postgres_answers_the_same_way; fi

services: ## Start private PostgreSQL, RabbitMQ and Redis and print their addresses
	@$(SERVICES) up

services-down: ## Stop them
	@$(SERVICES) down

bench: ## Load-test a release build against private services
	loadtest/bench.sh

generate: ## Write the generated files again, with the browser's types made from them
	$(CARGO) xtask generate
	@if [ -d ui/node_modules ]; \
	then npm --prefix ui run --silent types; \
	else echo "The browser's types were not written: run 'make ui', then 'make generate' again" >&2; exit 1; fi

audit: ## Known vulnerabilities, licences and sources of the dependencies
	@$(CARGO) deny --version >/dev/null 2>&1 || { echo "cargo-deny is missing: run 'cargo install --locked cargo-deny'" >&2; exit 1; }
	$(CARGO) deny check

fmt: ## Format the sources
	$(CARGO) fmt --all
