#!/usr/bin/env bash
# Makes .peers-serving, the virtual environment of what the server is measured against: MLServer, and
# tritonclient. It takes 0.4 GB, apart from .peers, and nothing but those programs needs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=.peers-serving
wanted=tests/peers/requirements-serving.txt
if cmp -s $wanted $venv/rift-setup; then
    echo "peers: $venv is up to date"
    exit 0
fi
python3 -m venv --clear $venv
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $wanted
# Each brings the protocol's messages, and a process cannot hold both.
$venv/bin/python -c 'import mlserver, onnxruntime'
$venv/bin/python -c 'import tritonclient.grpc, tritonclient.http'
cp $wanted $venv/rift-setup
echo "peers: $venv is ready"
