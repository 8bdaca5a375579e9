# `make help` lists what there is.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
# An ordinary user's PATH on Debian lacks the folder of haproxy.
export PATH := $(PATH):/usr/sbin:/sbin

# What building and the tests need of Debian 12.
PACKAGES := gcc libc6-dev rsync stunnel4 haproxy openssl attr acl libcap2-bin e2fsprogs util-linux mount
# What the test with pods needs besides.
PODS := podman runc netavark iptables catatonit netcat-openbsd bash-static ca-certificates
# Empty when this is root.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: help setup build demo test interop mtc image reproducible bench deny

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

setup: ## installs what is missing: Debian packages (as root or by sudo), rustfmt and clippy
	@missing=$$(for package in $(PACKAGES); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
	    $(SUDO) apt-get -q update; \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $$missing; \
	fi
	@cargo --version >/dev/null || { echo 'Rust is missing: https://rustup.rs'; exit 1; }
	@for tool in fmt clippy; do \
	    cargo $$tool --version >/dev/null 2>&1 || rustup component add rustfmt clippy \
	        || { echo "cargo $$tool is missing, and there is no rustup to add it"; exit 1; }; \
	done

build: setup ## barge as it ships: target/release/barge
	cargo build --release

demo: build ## moves a volume twice through a passthrough route and compares: [SRC=… DST=…]
	demo/demo.sh

test: PACKAGES += $(PODS)
test: setup ## every gate: format, lints, docs, all tests, one tiny run of the benchmark
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps
	cargo build --workspace
	cargo test --workspace
	cargo run -p barge-benches -- --scale 1000 --runs 1

interop: setup ## rsync beside the installed rsync in every role, protocol and option group
	cargo build
	INTEROP=all cargo test -p barge-tests --test interop

mtc: PACKAGES += $(PODS)
mtc: setup ## the pods of a migration by podman, as root: [BARGE_IMAGE=localhost/barge-transfer]
	cargo build
	MTC=required cargo test -p barge-tests --test mtc

image reproducible: PACKAGES += bash-static ca-certificates jq podman
image: setup ## the transfer image, by podman: localhost/barge-transfer [TAG=…]
	images/build.sh $(TAG)

reproducible: setup ## builds the image of HEAD twice, in two places, and compares the digests
	images/reproducible.sh

bench: build ## barge beside rsync and stunnel, some minutes: [BENCH_DIR=… ARGS='file-4g --runs 5']
	cargo run --release -p barge-benches -- $(ARGS)

deny: ## licences, advisories and banned dependencies, by cargo-deny
	cargo deny check
