#!/usr/bin/env bash
# Makes the virtual environments of the Python programs that Rift is measured against; nothing else
# needs them.
#
#   tests/peers/setup.sh [NAME …]
#
# `main`, which is meant without a NAME, is .peers, made of requirements.txt; any other NAME is
# .peers-NAME, made of requirements-NAME.txt. A line `# check: import …` of the list must then run.
# Run again, it does nothing until the list changes, and then installs only what is new.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

setup() {
    local suffix=-$1
    if [ "$1" = main ]; then suffix=; fi
    local venv=.peers$suffix wanted=tests/peers/requirements$suffix.txt check
    if [ ! -e "$wanted" ]; then
        echo "error: no environment \`$1\`, for there is no $wanted" >&2
        exit 2
    fi
    if cmp -s "$wanted" "$venv/rift-setup"; then
        echo "peers: $venv is up to date"
        return
    fi
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --retries 2 -r "$wanted" || {
        echo "error: pip could not install $wanted: is a package index reachable?" >&2
        exit 2
    }
    # Each in a process of its own: not all can be in one.
    while read -r check; do
        "$venv/bin/python" -c "$check"
    done < <(sed -n 's/^# check: //p' "$wanted")
    cp "$wanted" "$venv/rift-setup"
    echo "peers: $venv is ready"
}

for name in "${@:-main}"; do
    setup "$name"
done
