"""The one way to measure: rounds in which all programs take turns.

Every round runs all programs once, one after the other, in an order that alternates from round to
round, so that a machine that warms up or is shared favours nobody; ratios are taken within a round.
"""

import os
import sys
import time
from dataclasses import dataclass, field
from typing import Callable


class Problem(Exception):
    """Why a program gave no figures."""


class TimeUp(Exception):
    """The time that was given is over."""


@dataclass
class Case:
    """Programs that are held against each other."""

    name: str
    # By name: runs the program once and returns its figures.
    jobs: dict[str, Callable[[], dict]]
    # Makes the rows of the table from the rounds.
    rows: Callable[[list[dict]], list]
    # In place of the number that holds for all.
    rounds: int | None = None


@dataclass
class Record:
    """Every round that was measured, kept as soon as it is there."""

    keep: Callable[["Record"], None]
    rounds: dict[str, list[dict]] = field(default_factory=dict)

    def measure(self, case, count):
        """The rounds of a case: those that are there already, and as many more as are missing."""
        kept = self.rounds.setdefault(case.name, [])
        while len(kept) < count:
            number = len(kept)
            found = one_round(case, number, faulty(kept))
            kept.append({**found, "load": os.getloadavg()[0]})
            self.keep(self)
        return kept

    def problems(self):
        """What went wrong: the case, the program and why."""
        for name, rounds in self.rounds.items():
            for program, why in faulty(rounds).items():
                yield name, program, why


def one_round(case, number, faults):
    """Each program once; one that failed in an earlier round is not tried again."""
    found = {}
    order = list(case.jobs.items())
    for name, job in order[::-1] if number % 2 else order:
        if name in faults:
            continue
        started = time.perf_counter()
        try:
            found[name] = job()
        except Problem as problem:
            found[name] = {"problem": str(problem)}
        seconds = time.perf_counter() - started
        if seconds >= 3:
            print(f"  {case.name}, round {number + 1}: {name}, {seconds:.0f} s", file=sys.stderr, flush=True)
    return found


def faulty(rounds):
    """The programs that failed, and why."""
    return {
        name: figures["problem"]
        for one in rounds
        for name, figures in one.items()
        if isinstance(figures, dict) and "problem" in figures
    }


def pairs(rounds, *columns):
    """For each column, a program and its figure, the values of the rounds that have all of them."""
    whole = [r for r in rounds if all(r.get(who, {}).get(key) is not None for who, key in columns)]
    return [[r[who][key] for r in whole] for who, key in columns]
