#!/usr/bin/env bash
# Runs a step on a machine with an NVIDIA GPU and PyTorch 2.11:
#
#   ./gpu-run.sh check|bench|train|rift|evaluate|all [SECONDS]
#
# A step stops after SECONDS (3000 by default) and goes on where it stopped when it is run again,
# here or, with the results folder of an earlier run, on another machine. What is worth keeping is in
# `results`, in files below 16 MB; `join.sh` puts those together that had to be split. Exit code 0:
# the step is done; 1: the answer is no; 2: an error; 3: the time is up, run it again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

step=${1:-}
seconds=${2:-3000}
device=${RIFT_GPU_DEVICE:-cuda}
precision=${RIFT_GPU_PRECISION:-bf16}
arch=${RIFT_GPU_ARCH:-resnet18}
data=${RIFT_GPU_DATA:-data}
results=${RIFT_GPU_RESULTS:-results}
work=${RIFT_GPU_WORK:-work}
python=${RIFT_GPU_PYTHON:-python3}
# Larger files are split, in bytes.
part=${RIFT_GPU_PART:-15000000}
# More arguments, for rehearsals: they go to every call of the step's program.
read -r -a more <<<"${RIFT_GPU_ARGUMENTS:-}"
started=$SECONDS

fail() {
    echo "error: $*" >&2
    exit 2
}

# Where libtorch is: in the PyTorch that is installed.
torch=$($python -c 'import torch; print(torch.__path__[0])') ||
    fail "no PyTorch in $python: RIFT_GPU_PYTHON names another Python"
version=$($python -c 'import torch; print(torch.__version__)')
case $version in
2.11.*) ;;
*) fail "expected PyTorch 2.11, whose libtorch the program was built for, found $version" ;;
esac
export LD_LIBRARY_PATH="$torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
program=bin/rift-trainer
$program --version >/dev/null || fail "$program does not run here (see above)"
mkdir -p "$results" "$work"

# Runs a program for the time that is left; the time being up is 3.
limited() {
    local left=$((seconds - (SECONDS - started)))
    ((left > 0)) || return 3
    local code=0
    timeout --signal=TERM --kill-after=120 "$left" "$@" || code=$?
    if ((code == 124 || code == 137 || code == 143)); then code=3; fi
    return "$code"
}

# Puts a file into the results: as it is, or in parts with its digest where it is large.
keep() {
    local file=$1 name=$2
    [ -e "$file" ] || return 0
    mkdir -p "$(dirname "$results/$name")"
    if (($(stat -c %s "$file") <= part)); then
        cp "$file" "$results/$name.new"
        mv "$results/$name.new" "$results/$name"
        return
    fi
    local digest
    digest=$(sha256sum <"$file" | cut -d' ' -f1)
    if [ "$(cut -d' ' -f1 "$results/$name.sha256" 2>/dev/null)" = "$digest" ]; then return; fi
    rm -f "$results/$name".part-* "$results/$name.sha256"
    split -b "$part" -d -a 3 "$file" "$results/$name.part-"
    # Last: without it the parts are not taken for whole.
    echo "$digest  $(basename "$name")" >"$results/$name.sha256"
}

# Fetches a file of an earlier run out of the results, where the working folder lacks it.
restore() {
    local file=$1 name=$2
    if [ -e "$file" ]; then return; fi
    mkdir -p "$(dirname "$file")"
    if [ -e "$results/$name" ]; then
        cp "$results/$name" "$file"
    elif [ -e "$results/$name.sha256" ]; then
        ./join.sh "$results/$name" "$file" >/dev/null
    fi
}

check() {
    local code=0 one
    for one in float32 tf32 bf16; do
        if [ "$device" = cpu ] && [ $one = tf32 ]; then continue; fi
        local answer=0
        # The exit code of the program, not of `tee`.
        limited $program check --device "$device" --precision $one --arch "$arch" \
            --json "$results/check-$one.json" "${more[@]}" >"$results/check-$one.txt" || answer=$?
        cat "$results/check-$one.txt"
        if ((answer > code)); then code=$answer; fi
    done
    return "$code"
}

bench() {
    local compile=(--compile)
    if [ "$device" = cpu ]; then compile=(); fi
    local left=$((seconds - (SECONDS - started)))
    local code=0
    $python tests/bench/bench.py --only training --program "$PWD/$program" --python "$(command -v "$python")" \
        --device "$device" --training-archs "${RIFT_GPU_BENCH_ARCHS:-resnet18,wrn34-10}" \
        --batches "${RIFT_GPU_BENCH_BATCHES:-128,256,512,1024}" "${compile[@]}" \
        --repeat 5 --peer-seconds 5 --time "$left" --resume --json "$results/bench.json" "${more[@]}" \
        >"$results/bench.txt" || code=$?
    cat "$results/bench.txt"
    return "$code"
}

train() {
    local run=$work/train code=0 file
    restore "$run/state.safetensors" train/state.safetensors
    restore "$run/at.safetensors" train/at.safetensors
    if [ -e "$results/train/done" ]; then return; fi
    limited $program train --preset rift-paper --data "$data" --arch "$arch" --device "$device" \
        --precision "$precision" --out "$run" --resume --checkpoint-every 5m \
        --json "$work/train.json" --quiet "${more[@]}" || code=$?
    for file in "$run"/*; do
        [ -f "$file" ] && keep "$file" "train/$(basename "$file")"
    done
    keep "$work/train.json" train/train.json
    if ((code == 0)); then
        # The state has done its work.
        rm -f "$results"/train/state.safetensors*
        touch "$results/train/done"
    fi
    return "$code"
}

rift() {
    if [ -e "$results/rift/rift.json" ]; then return; fi
    local run=$work/rift code=0 file
    restore "$work/train/at.safetensors" train/at.safetensors
    [ -e "$work/train/at.safetensors" ] || fail "there is no checkpoint yet: run the step \`train\`"
    limited $program rift --checkpoint "$work/train/at.safetensors" --data "$data" --device "$device" \
        --precision "$precision" --out "$run" --quiet "${more[@]}" || code=$?
    if ((code != 0)); then return "$code"; fi
    # The report last: it says that the step is done.
    for file in "$run"/*; do
        [ "$(basename "$file")" = rift.json ] || keep "$file" "rift/$(basename "$file")"
    done
    keep "$run/rift.json" rift/rift.json
}

evaluate() {
    restore "$work/train/at.safetensors" train/at.safetensors
    restore "$work/rift/rift.safetensors" rift/rift.safetensors
    local which checkpoint attack
    mkdir -p "$results/evaluate"
    for which in train/at rift/rift; do
        checkpoint=$work/$which.safetensors
        [ -e "$checkpoint" ] || fail "there is no $checkpoint yet: run the steps \`train\` and \`rift\`"
        for attack in "pgd20:--steps 20" "pgd100:--steps 100 --restarts 2" "none:--attack none"; do
            local report=$results/evaluate/$(basename "$which")-${attack%%:*}.json
            if [ -e "$report" ]; then continue; fi
            # shellcheck disable=SC2086 # several arguments
            limited $program eval --checkpoint "$checkpoint" --data "$data" --device "$device" \
                ${attack#*:} --json "$report" --quiet "${more[@]}"
        done
    done
}

case $step in
check | bench | train | rift | evaluate) "$step" ;;
all) for one in check bench train rift evaluate; do
    echo "== $one"
    $one
done ;;
*) fail "unknown step \`$step\`, expected check, bench, train, rift, evaluate or all" ;;
esac
