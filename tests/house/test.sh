#!/usr/bin/env bash
# Builds the programs, runs every test, and says how many were skipped and why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# Tests run side by side, a core each: libtorch's threads would only wait for one another.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}

# One build for the programs, which the tests from outside start, and for the tests themselves. Traces are
# off where nobody asks for them: with them built in, one build has the tests of both.
build=(--workspace --locked --features rift-runtime/otel)
cargo build "${build[@]}" --bins --tests

status=0
report=${CARGO_TARGET_DIR:-target}/nextest/default/junit.xml
log=${CARGO_TARGET_DIR:-target}/tests.log
if cargo nextest --version >/dev/null 2>&1; then
    rm -f "$report"
    cargo nextest run "${build[@]}" "$@" || status=$?
    python3 tests/house/skipped.py --junit "$report"
else
    cargo test "${build[@]}" --bins --tests --no-fail-fast "$@" -- --show-output 2>&1 |
        tee "$log" || status=$?
    python3 tests/house/skipped.py --log "$log"
fi
cargo test "${build[@]}" --doc --quiet || status=$?
exit "$status"
