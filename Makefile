# `make help` says what there is. Everything but `setup` is plain cargo, and works without make.

.PHONY: help setup setup-openvino build manual demo test check bench deb gpu check-dependencies

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 27

setup: ## the native libraries, as wheels, in .venv
	@./setup.sh

setup-openvino: setup ## ONNX Runtime with OpenVINO in .openvino, for `--provider openvino`
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
	    --target .openvino -r requirements-openvino.txt

build: setup ## the three programs, optimised, in target/release
	cargo build --release --workspace --bins

manual: build ## manual pages, and completions for bash, fish and zsh, in target/manual
	@for program in rift-trainer rift-exporter rift-runtime; do \
	    $${CARGO_TARGET_DIR:-target}/release/$$program manual --out target/manual || exit; \
	done

demo: build ## Fashion-MNIST from training to audit; DATA=… for other images
	@demo/run.sh

test: setup ## every test; what is skipped is counted and named
	@tests/house/test.sh

check: setup ## formatting, lints, documentation, dependency walls, layout
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo fmt --manifest-path tests/bench/tract/Cargo.toml --check
	python3 tests/house/walls.py
	python3 tests/house/layout.py
	cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
	cargo clippy --quiet -p rift-runtime --features otel --all-targets --locked -- -D warnings
	@cp Cargo.lock fuzz/Cargo.lock # the same versions, which are compiled already, and libFuzzer's
	cargo clippy --quiet --manifest-path fuzz/Cargo.toml --no-default-features --target-dir target \
	    -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps --locked

bench: build ## Rift beside its peers, in one table; CHECKPOINT=… or BUNDLE=…, DATA=… CIFAR-10, ARGS=--help
	@python3 tests/bench/bench.py $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") \
	    $(if $(BUNDLE),--bundle "$(BUNDLE)") $(if $(DATA),--data "$(DATA)") $(ARGS)

deb: setup ## a Debian package of rift-runtime with ONNX Runtime in it, in target/debian
	cargo build --profile dist --locked -p rift-runtime
	@packaging/deb.sh

gpu: setup ## dist-gpu: for a machine with an NVIDIA GPU and PyTorch 2.11; DATA=… for CIFAR-10
	@gpu/pack.sh

check-dependencies: ## licences and advisories, by cargo-deny
	@cargo deny --version >/dev/null 2>&1 || { \
	    echo "error: cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 2; }
	cargo deny --all-features check
