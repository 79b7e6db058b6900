#!/usr/bin/env bash
# How fashion-mnist-resnet8-rift and its int8 form were made, from the top of a checkout, with Fashion-MNIST in
# data/fashion-mnist, where `make demo` puts it. Bundles and audits land in runs/fashion-mnist-resnet8-rift;
# what is done is not done again. `train` resumes.
set -euo pipefail
name=fashion-mnist-resnet8-rift data=data/fashion-mnist run=runs/$name
PATH=$PWD/target/release:$PATH

rift-trainer train --preset quick --data $data --arch resnet8 --eps 8/255 --step 4/255 --steps 4 --epochs 20 \
    --precision bf16 --threads 1 --out $run/train --resume
rift-trainer rift --checkpoint $run/train/at.safetensors --data $data --batch-norm frozen \
    --search 0.001x10,0.01x10,0.03x5 --top 1 --threads 1 --out $run/rift
[ -d $run/bundle ] || rift-exporter export --checkpoint $run/rift/rift.safetensors --out $run/bundle --name $name
[ -d $run/int8/bundle ] || rift-exporter quantize $run/bundle --data $data --threads 1 --out $run/int8/bundle \
    --name $name-int8 --bias-correction false
audit="--data $data --limit 1000 --attack autoattack --corruptions all --threads 1 --no-timing"
rift-runtime audit $run/bundle $audit --json $run/audit.json
rift-runtime audit $run/int8/bundle --gradients-from $run/bundle $audit --json $run/int8/audit.json
