# Every command of the project. `.ci/run` calls the same targets, so there is one definition of "good".
.DEFAULT_GOAL := help
SHELL := /bin/bash
.PHONY: help setup system-packages check test test-long explore kill-sweep crash-images storm demo wrong-things noisy-line fuzz bench-interrupted bench-idle bench-serial bench bench-full

# mosquitto, mke2fs and losetup live in sbin, which not every user's PATH has.
export PATH := $(PATH):/usr/sbin:/sbin

# Real processes under strace, whole worlds, and firmware in an emulator.
LONG_TESTS := tests/witness tests/storm tests/mcu/qemu

CODE := $(wildcard agent fleet simulator tests benchmarks)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## put Python and all that the project needs of it into .venv
	@scripts/setup

system-packages: ## install the programs that the tests run (apt, as root or with sudo)
	@scripts/system-packages

check: setup ## format, lint, types and the rules of the house
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy $(CODE)
	.venv/bin/pytest tests/house
	@.venv/bin/python -m tests.house.sizes

test: setup system-packages ## run the tests, in a few minutes
	.venv/bin/pytest -n 2 --dist worksteal $(addprefix --ignore=,$(LONG_TESTS))

test-long: setup system-packages ## run the witnesses, storms and emulated chips, which take as long again
	.venv/bin/pytest -n 2 --dist worksteal $(LONG_TESTS)

explore: setup ## cut the power at every operation and in every recovery, until nothing is new
	@.venv/bin/lockgate-sim explore --processes 2

kill-sweep: setup system-packages ## kill a real device at every durable system call, and let each fail (hours)
	@.venv/bin/python -m tests.witness.kill_sweep

crash-images: setup system-packages ## mount every disk that a cut may leave of whole updates (root, /dev/fuse, loop devices)
	@.venv/bin/python -m tests.witness.crash_images

storm: setup ## live through ten thousand seeded worlds of faults; SEEDS=A-B for others
	@.venv/bin/lockgate-sim storm --seeds $(or $(SEEDS),0-9999)

demo: setup ## watch a fleet update itself through a power cut and a bad release
	@scripts/system-packages || true # it says what is missing; the broker has an embedded stand-in
	@.venv/bin/python -m simulator.demo

wrong-things: setup ## see what is said to unsigned, expired, oversized and otherwise wrong things
	@.venv/bin/python -m simulator.wrong_things

noisy-line: setup ## flash over lines that lose or flip a byte in a thousand; MINUTES=30 for another time
	@.venv/bin/python -m simulator.mcu.noisy_line --minutes $(or $(MINUTES),30)

fuzz: setup ## offer payloads with lies in them to an installation; FOR=180 for another time
	@.venv/bin/python -m tests.payload.fuzz --seconds $(or $(FOR),180)

bench-idle: setup ## measure what the agent costs while nothing happens, beside RAUC, SWUpdate and Mender
	@scripts/system-packages benchmarks
	@.venv/bin/python -m benchmarks.bench_idle

bench-serial: setup system-packages ## measure flashing over serial lines, beside stm32flash, avrdude and smpmgr
	@.venv/bin/python -m benchmarks.bench_serial

bench-interrupted: setup ## kill installations and cut their power, and count what is fetched and written again
	@scripts/system-packages benchmarks
	@.venv/bin/python -m benchmarks.bench_interrupted $(if $(IMAGES),--images $(IMAGES))

bench: setup ## measure updates beside casync, RAUC, SWUpdate, xdelta3 and others, on a small pair (root)
	@scripts/system-packages benchmarks
	@.venv/bin/python -m benchmarks.bench

bench-full: setup ## the same on root file systems of Debian, for hours; IMAGES=DIR has or gets them
	@scripts/system-packages benchmarks
	@.venv/bin/python -m benchmarks.make_images $(or $(IMAGES),bench-images)
	@.venv/bin/python -m benchmarks.bench --images $(or $(IMAGES),bench-images)
	@.venv/bin/python -m benchmarks.bench growth --images $(or $(IMAGES),bench-images)
	@.venv/bin/python -m benchmarks.report
