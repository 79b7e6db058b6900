#!/usr/bin/env bash
# Makes .peers, the virtual environment of the Python programs that Rift is measured against.
# It is separate from .venv, takes 3.6 GB, and nothing but the peers needs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=.peers
wanted=tests/peers/requirements.txt
if cmp -s $wanted $venv/rift-setup; then
    echo "peers: $venv is up to date"
    exit 0
fi
python3 -m venv --clear $venv
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $wanted
$venv/bin/python -c 'import onnx, safetensors, torch, torchattacks'
cp $wanted $venv/rift-setup
echo "peers: $venv is ready"
