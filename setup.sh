#!/usr/bin/env bash
# Makes .venv with the native libraries of requirements.txt. Run again, it does nothing until
# requirements.txt changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

venv=.venv
stamp=$venv/rift-setup

missing=()
lacks() { ! command -v "$1" >/dev/null 2>&1; }
if lacks cargo; then missing+=("cargo: install Rust 1.92 or later, see https://rustup.rs"); fi
if lacks c++ && lacks g++ && lacks clang++; then
    missing+=("a C++ compiler: on Debian and Ubuntu 'apt install g++'")
fi
if lacks python3; then
    missing+=("python3, 3.10 or later: on Debian and Ubuntu 'apt install python3 python3-venv'")
elif ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    missing+=("python3, 3.10 or later: found $(python3 --version 2>&1)")
elif ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
    missing+=("python3's venv module: on Debian and Ubuntu 'apt install python3-venv'")
fi
if [ ${#missing[@]} -gt 0 ]; then
    printf 'error: missing %s\n' "${missing[@]}" >&2
    exit 2
fi

# With an NVIDIA GPU torch comes with all of CUDA (5 GB), without one three wheels are enough.
if nvidia-smi >/dev/null 2>&1; then kind=cuda; else kind=cpu; fi
want="$kind $(python3 -c 'import sys; print(*sys.version_info[:2], sep=".")') $(cksum <requirements.txt)"
if [ "$(cat $stamp 2>/dev/null || true)" = "$want" ] && [ -e $venv/torch/lib ]; then
    echo "setup: $venv is up to date ($kind)"
    exit 0
fi

echo "setup: making $venv ($kind)"
rm -f $stamp
python3 -m venv --clear $venv
pip() {
    $venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" || {
        echo "error: pip could not install $* (see above): is a package index reachable?" >&2
        exit 2
    }
}
if [ $kind = cuda ]; then
    pip "$(grep '^torch==' requirements.txt)"
fi
pip --no-deps -r requirements.txt

# A link that does not name the version of Python: what .cargo/config.toml names.
packages=$($venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
ln -sfn "${packages#"$PWD/$venv/"}/torch" $venv/torch
test -e $venv/torch/lib/libtorch_cpu.so
echo "$want" >$stamp
echo "setup: done"
