"""The licences of the Rust packages that a program is built from, as text.

    python3 packaging/notices.py rift-runtime
"""

import json
import subprocess
import sys
from pathlib import Path

# How the files are called in which packages keep their licences and notices.
BEGINNINGS = ("license", "licence", "copying", "notice", "copyright", "unlicense")


def cargo(*arguments):
    """The output of a cargo command."""
    return subprocess.run(["cargo", *arguments], stdout=subprocess.PIPE, text=True, check=True).stdout


def built_from(program):
    """Name and version of each package that is linked into a program."""
    tree = cargo(
        *("tree", "--package", program, "--edges", "normal", "--prefix", "none"),
        *("--format", "{p}", "--locked"),
    )
    return {tuple(line.split()[:2]) for line in tree.splitlines() if line}


def main(program):
    wanted = built_from(program)
    packages = json.loads(cargo("metadata", "--format-version", "1", "--locked"))["packages"]
    texts = {}  # the same text once, with every package that has it
    for package in sorted(packages, key=lambda package: (package["name"], package["version"])):
        name = f"{package['name']} {package['version']} ({package['license']})"
        if package["source"] is None or (package["name"], f"v{package['version']}") not in wanted:
            continue
        folder = Path(package["manifest_path"]).parent
        files = [file for file in folder.iterdir() if file.name.lower().startswith(BEGINNINGS)]
        found = {file.read_text(errors="replace").strip() for file in files if file.is_file()}
        for text in found or {"The package brings no text of its licence."}:
            texts.setdefault(text, []).append(name)
    for text, names in sorted(texts.items(), key=lambda item: item[1]):
        print("\n".join(["=" * 80, *names, "", text, ""]))


if __name__ == "__main__":
    main(*sys.argv[1:])
