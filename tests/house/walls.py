"""Holds the dependency walls: who may link which native library.

`tch` (libtorch) only under the trainer; `ort` (ONNX Runtime) only under the runtime and, through
it, the exporter; no package under both, so that no process ever loads the two together; and the
models know nobody.
"""

import json
import subprocess
import sys

OURS = "rift-"
# The packages of ours that may have the library in their tree, and those that may name it.
WALLS = {
    "tch": ({"rift-trainer"}, {"rift-trainer"}),
    "torch-sys": ({"rift-trainer"}, set()),
    "ort": ({"rift-runtime", "rift-exporter"}, {"rift-runtime"}),
}
# What each package may depend on among ours.
MAY_DEPEND_ON = {
    "rift-models": set(),
    "rift-trainer": {"rift-models"},
    "rift-runtime": {"rift-models"},
    "rift-exporter": {"rift-models", "rift-runtime"},
    "rift-tests": {"rift-models"},
}


def cargo(*arguments):
    """The output of a cargo command."""
    done = subprocess.run(["cargo", *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"error: `cargo {' '.join(arguments)}` failed")
    return done.stdout


def above(library, *depth):
    """The packages of ours that have `library` in their tree, by any kind of dependency."""
    tree = cargo(
        *("tree", "--workspace", "--invert", library, "--edges", "normal,build,dev"),
        *("--prefix", "none", "--format", "{p}", "--locked", *depth),
    )
    return {line.split()[0] for line in tree.splitlines() if line.startswith(OURS)}


def main():
    faults = []
    for library, (may_link, may_name) in WALLS.items():
        for package in sorted(above(library) - may_link):
            faults.append(f"`{package}` links `{library}`, which only {sorted(may_link)} may")
        for package in sorted(above(library, "--depth", "1") - may_name):
            faults.append(f"`{package}` names `{library}`, which only {sorted(may_name)} may")
    for package in sorted(above("tch") & above("ort")):
        faults.append(f"`{package}` links libtorch and ONNX Runtime together")
    metadata = json.loads(cargo("metadata", "--no-deps", "--format-version", "1", "--locked"))
    for package in metadata["packages"]:
        dependencies = package["dependencies"]
        ours = {d["name"] for d in dependencies if d["name"].startswith(OURS)}
        # What the tests share, anybody's tests may use.
        ours -= {d["name"] for d in dependencies if d["kind"] == "dev"} & {"rift-tests"}
        allowed = MAY_DEPEND_ON.get(package["name"])
        if allowed is None:
            faults.append(f"`{package['name']}` has no place in the walls of tests/house/walls.py")
        elif ours - allowed:
            faults.append(f"`{package['name']}` depends on {sorted(ours - allowed)}")
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
