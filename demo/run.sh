#!/usr/bin/env bash
# From images to an audited robust classifier: Fashion-MNIST, or the images that DATA names.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${DATA:-$(demo/fashion-mnist.sh)}
out=${OUT:-runs/demo}
arch=${ARCH:-resnet8}
bin=${CARGO_TARGET_DIR:-target}/release

step() { printf '\n== %s\n' "$*"; }
run() {
    echo "\$ $*"
    "$@"
}

rm -rf "$out"
mkdir -p "$out"
start=$SECONDS

step "Adversarial training: every batch is attacked before it is learnt"
run $bin/rift-trainer train --preset quick --data "$data" --arch "$arch" \
    --eps 8/255 --step 5/255 --steps 2 --epochs 2 --out "$out/train"

step "RiFT: find the least critical module, fine-tune it on clean images, interpolate"
run $bin/rift-trainer rift --checkpoint "$out/train/at.safetensors" --data "$data" \
    --epochs 1 --alphas 0,0.25..1 --out "$out/rift"

step "Freeze to ONNX, and hold the file against the checkpoint"
run $bin/rift-exporter export --checkpoint "$out/rift/rift.safetensors" --out "$out/bundle"
run $bin/rift-exporter verify "$out/bundle"

step "Audit: ONNX Runtime attacks the very file that it serves"
run $bin/rift-runtime audit "$out/bundle" --data "$data" --limit 2000 --steps 20 \
    --json "$out/audit.json"

echo
python3 demo/table.py "$out" "$data" $((SECONDS - start))
