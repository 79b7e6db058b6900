#!/usr/bin/env bash
# Makes .peers-evidence, the virtual environment of tests/peers/evidence.py: OpenSSF model signing,
# CycloneDX's validator, the Hugging Face hub's reader of model cards. It takes 0.2 GB, apart from
# .peers, and nothing but that program needs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

venv=.peers-evidence
wanted=tests/peers/requirements-evidence.txt
if cmp -s $wanted $venv/rift-setup; then
    echo "peers: $venv is up to date"
    exit 0
fi
python3 -m venv --clear $venv
$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $wanted
$venv/bin/python -c 'import cyclonedx, huggingface_hub, model_signing, yaml'
cp $wanted $venv/rift-setup
echo "peers: $venv is ready"
