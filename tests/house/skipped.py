"""Counts the tests that ran and those that said `skipped: …` because something was absent.

Reads nextest's JUnit report (`--junit`) or the output of `cargo test -- --show-output` (`--log`).
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

SKIPPED = re.compile(r"^skipped: (.*)$", re.MULTILINE)
RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed;", re.MULTILINE)


def from_junit(path):
    """The counts of passed and failed tests, and the reason of each skipped one by its name."""
    passed = failed = 0
    reasons = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
            continue
        passed += 1
        said = SKIPPED.search("".join(node.text or "" for node in case.iter("system-err")))
        if said:
            reasons[f"{case.get('classname')} {case.get('name')}"] = said[1]
    return passed, failed, reasons


def from_log(path):
    """As `from_junit`."""
    text = path.read_text(errors="replace")
    results = [(int(p), int(f)) for p, f in RESULT.findall(text)]
    reasons = {}
    for block in re.split(r"^---- ", text, flags=re.MULTILINE)[1:]:
        said = SKIPPED.search(block)
        if said:
            reasons[block.split(" ", 1)[0]] = said[1]
    return sum(p for p, _ in results), sum(f for _, f in results), reasons


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--junit", type=Path)
    source.add_argument("--log", type=Path)
    arguments = parser.parse_args()
    path = arguments.junit or arguments.log
    if not path.exists():
        sys.exit(f"error: no tests ran: `{path}` is missing")
    passed, failed, reasons = (from_junit if arguments.junit else from_log)(path)
    print(f"\n{passed - len(reasons)} passed, {failed} failed, {len(reasons)} skipped")
    for test, reason in sorted(reasons.items()):
        print(f"  skipped {test}: {reason}")


if __name__ == "__main__":
    main()
