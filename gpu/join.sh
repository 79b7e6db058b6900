#!/usr/bin/env bash
# Puts a file together that `gpu-run.sh` split, and holds it against its digest:
#
#   ./join.sh results/train/at.safetensors [TO]
#
# or all that a folder holds: ./join.sh results
set -euo pipefail

join() {
    local name=$1 to=${2:-$1} expected found
    expected=$(cut -d' ' -f1 "$name.sha256")
    cat "$name".part-* >"$to.new"
    found=$(sha256sum <"$to.new" | cut -d' ' -f1)
    if [ "$found" != "$expected" ]; then
        rm -f "$to.new"
        echo "error: the parts of $name have the digest $found, expected $expected" >&2
        exit 2
    fi
    mv "$to.new" "$to"
    echo "$to"
}

if [ -d "${1:?a split file, or a folder}" ]; then
    find "$1" -name '*.sha256' | sort | while read -r digest; do join "${digest%.sha256}"; done
else
    join "$@"
fi
