#!/usr/bin/env bash
# Makes dist-gpu, which runs where there is an NVIDIA GPU, PyTorch 2.11 and no Rust. DATA names
# CIFAR-10: as Parquet or in the binary version, both come in files below 45 MB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${DATA:-../shared/data/cifar10}
out=${OUT:-dist-gpu}
target=${CARGO_TARGET_DIR:-target}
[ -d "$data" ] || {
    echo "error: no CIFAR-10 in $data: DATA=FOLDER names it" >&2
    exit 2
}
large=$(find -L "$data" -type f -size +45000000c)
[ -z "$large" ] || {
    echo "error: expected files of at most 45 MB, found $large: take the binary version" >&2
    exit 2
}
# libtorch is found where the script looks, not where it was built.
RIFT_RPATH=none cargo build --release -p rift-trainer --bin rift-trainer

rm -rf "$out"
mkdir -p "$out/bin" "$out/data" "$out/tests/bench" "$out/tests/peers"
cp "$target/release/rift-trainer" "$out/bin/"
strip --strip-debug "$out/bin/rift-trainer"
cp gpu/gpu-run.sh gpu/join.sh "$out/"
cp tests/bench/*.py "$out/tests/bench/"
cp tests/peers/{bench_training,bench_floor,reference_networks}.py "$out/tests/peers/"
cp docs/gpu.md "$out/README.md"
find -L "$data" -type f \( -name '*.parquet' -o -name '*.bin' -o -name '*.txt' \) -exec cp {} "$out/data/" \;
chmod -R u+w "$out"
(cd "$out" && find . -type f ! -name SHA256SUMS | sort | xargs sha256sum >SHA256SUMS)
du -sh "$out"
