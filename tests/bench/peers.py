"""The peers: their environments, which set themselves up, and the one that is compiled."""

import sys

from measure import Problem
from programs import PEERS, ROOT, TARGET

TRACT = ROOT / "tests" / "bench" / "tract"


class Peers:
    """Sets up on first use what a peer needs; what cannot be had is skipped and noted."""

    def __init__(self, programs, python=None):
        self.programs = programs
        self.found = {"main": python} if python else {}
        self.skipped = []

    def get(self, name, what):
        """What runs a peer, or nothing: a Python, or for `tract` its program. `what` is skipped then."""
        if name not in self.found:
            print(f"  {name}: set up now where it is not, which takes minutes", file=sys.stderr, flush=True)
            try:
                self.found[name] = self.tract() if name == "tract" else self.python(name)
            except Problem as problem:
                self.found[name] = problem
        found = self.found[name]
        if isinstance(found, Problem):
            self.skip(what, f"no environment `{name}`: {found}")
            return None
        return found

    def skip(self, what, why):
        """Notes what is left out."""
        self.skipped.append(f"{what}: {why}")

    def python(self, name):
        """The Python of an environment."""
        self.programs.call([PEERS / "setup.sh", name])
        suffix = "" if name == "main" else f"-{name}"
        return ROOT / f".peers{suffix}" / "bin" / "python"

    def tract(self):
        """The program that runs tract."""
        build = ["cargo", "build", "--quiet", "--release", "--locked"]
        self.programs.call([*build, "--manifest-path", TRACT / "Cargo.toml", "--target-dir", TARGET])
        return TARGET / "release" / "rift-bench-tract"
