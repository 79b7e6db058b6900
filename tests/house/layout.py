"""Holds the house rules that no lint knows: length of files, names that say something, no leftovers."""

import re
import subprocess
import sys
from pathlib import Path

LONGEST = 600
GENERATED = {"models/src/onnx/proto.rs", "runtime/src/server/grpc/generated/proto.rs"}
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
LEFTOVERS = {
    "a note to finish later": re.compile(r"\b(TODO|FIXME|XXX)\b"),
    "a hole": re.compile(r"\b(todo|unimplemented)!\s*\("),
    "an ignored test": re.compile(r"#\[ignore\b"),
}


def faults_of(path):
    """What is wrong with one file, a sentence each."""
    for part in (*path.parent.parts, path.stem):
        if part in NAMES_THAT_SAY_NOTHING:
            yield f"`{part}` is a name that says nothing"
    if path.suffix not in {".rs", ".py", ".sh"} or str(path) in GENERATED:
        return
    lines = path.read_text().splitlines()
    if len(lines) > LONGEST:
        yield f"{len(lines)} lines, expected at most {LONGEST}"
    if path == Path(__file__).resolve().relative_to(Path.cwd()):
        return
    for number, line in enumerate(lines, 1):
        for what, pattern in LEFTOVERS.items():
            if pattern.search(line):
                yield f"line {number} holds {what}"


def main():
    # What git would commit: tracked, or new and not ignored.
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    paths = [Path(name) for name in listing.stdout.splitlines()]
    faults = [f"{path}: {fault}" for path in paths if path.is_file() for fault in faults_of(path)]
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
