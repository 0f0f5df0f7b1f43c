# Thin names for the commands of this repository; `make` lists them.
.DEFAULT_GOAL := help
.PHONY: help demo demo-services test check format bench peers faults fire-drill services image

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

demo: ## Set up and run the demo
	@scripts/demo

demo-services: ## Run the demo on RabbitMQ, PostgreSQL and Redis
	@scripts/demo --services

test: ## Set up and run every check, as CI does
	@scripts/test

check: ## Lint, types, layers and contracts, without tests
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright
	.venv/bin/lint-imports --no-logo
	.venv/bin/observatory contracts check

format: ## Format the Python sources and sort imports
	.venv/bin/ruff check --fix --select I
	.venv/bin/ruff format

bench: ## Measure throughput against the raw floor
	.venv/bin/python -m benchmarks

peers: ## Measure beside the floor, Celery, Dramatiq and Taskiq, on the same servers
	.venv/bin/python -m benchmarks.peers

faults: ## Break things on purpose: every guarantee under every fault, at full size
	.venv/bin/python tests/faults/kill_storm.py
	.venv/bin/pytest tests/faults/test_short_faults.py
	.venv/bin/python tests/faults/fault_table.py

fire-drill: ## Cause every fault there is an alert for, and follow the alert to whoever is told
	.venv/bin/python tests/monitoring/fire_drill.py

services: ## Run RabbitMQ, PostgreSQL and Redis until Ctrl-C, from installed binaries
	@.venv/bin/python -m development --install

image: ## Build the image that every service runs from; needs Docker
	docker build $(IMAGE_OPTIONS) --tag observatory:0.1.0 \
		--build-arg REVISION="$$(git describe --always --dirty --abbrev=40 --exclude '*' || echo unknown)" \
		--build-arg CREATED="$$(date -u +%Y-%m-%dT%H:%M:%SZ)" .
