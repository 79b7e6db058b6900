"""Running programs: those of Rift, and others, to their end."""

import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from measure import Problem, TimeUp

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
RELEASE = TARGET / "release"
PEERS = ROOT / "tests" / "peers"


class Programs:
    """Runs programs until the time is up, which may be never."""

    def __init__(self, seconds=None):
        self.deadline = None if seconds is None else time.monotonic() + seconds

    def call(self, command, environment=None):
        """What a program prints, which is shown only if it fails."""
        command = [str(part) for part in command]
        left = None if self.deadline is None else max(self.deadline - time.monotonic(), 1)
        try:
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                timeout=left,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
            )
        except subprocess.TimeoutExpired as error:
            raise TimeUp from error
        except OSError as error:
            raise Problem(f"{command[0]}: {error.strerror}") from error
        if done.returncode != 0:
            raise Problem(reason(command, done))
        return done.stdout

    def json(self, command):
        """What a program writes to the path that follows its `--json`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "result.json"
            self.call([*command, "--json", path])
            return json.loads(path.read_text())


def reason(command, done):
    """In one line why a program failed: its error, or else the last that it said."""
    if re.search("out of memory", done.stderr, re.IGNORECASE):
        return "out of memory"
    said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    return f"{Path(command[0]).name} ended with {done.returncode}: {(errors or said[-1:])[0]}"
