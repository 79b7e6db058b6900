"""What the figures were measured on."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

from programs import PEERS, ROOT

MEASURED = (
    "adversarial-robustness-toolbox",
    "foolbox",
    "imagecorruptions",
    "kserve",
    "mlserver",
    "onnxruntime",
    "torch",
    "torchattacks",
    "tract-onnx",
)


def describe(threads, program):
    """The machine, the versions, the commit and the load before the first figure."""
    commit = first_line(["git", "-C", ROOT, "rev-parse", "HEAD"])
    if commit and first_line(["git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no"]):
        commit += ", with changes"
    return {
        "processor": found_in("/proc/cpuinfo", r"model name\s*:\s*(.+)") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "memory_bytes": 1024 * int(found_in("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0),
        "system": platform.platform(),
        "python": platform.python_version(),
        "rift": first_line([program, "--version"]).rpartition(" ")[2],
        "commit": commit,
        "peers": dict(pins()),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load": os.getloadavg(),
    }


def pins():
    """The versions of what is measured beside Rift, where the lists are."""
    lists = [*PEERS.glob("requirements*.txt"), ROOT / "tests" / "bench" / "tract" / "Cargo.toml"]
    names = "|".join(MEASURED)
    for path in lists:
        if path.exists():
            yield from re.findall(rf'^({names})\b.*?=+"?([\d.]+)', path.read_text(), re.MULTILINE)


def found_in(path, pattern):
    """What a pattern finds in one of Linux's files, or nothing where there is no such file."""
    path = Path(path)
    match = re.search(pattern, path.read_text()) if path.exists() else None
    return match.group(1) if match else ""


def first_line(command):
    """The first line that a program prints; nothing if it fails."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0] if done.returncode == 0 else ""
