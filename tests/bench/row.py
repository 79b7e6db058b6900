"""A row of the table: a figure of Rift's beside a peer's, and whether the aim is met."""

import statistics
from dataclasses import dataclass, field

from measure import pairs

# Units in which less is better.
LESS = {"ms", "s", "MB", "GiB"}


@dataclass
class Aim:
    """A bound on the ratio, or on the figure itself where there is no peer."""

    bound: float
    at_most: bool = False

    def met(self, value):
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self):
        return f"{'≤' if self.at_most else '≥'} {self.bound:g}"


@dataclass
class Row:
    """`ours` and `theirs` hold a value a round, `ratio` how many times as good ours is in that round."""

    group: str
    what: str
    unit: str
    ours: list[float]
    peer: str = ""
    theirs: list[float] = field(default_factory=list)
    aim: Aim | None = None
    # Of the machine's rate of matrix products, in the same numbers.
    share: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def ratio(self):
        couples = zip(self.ours, self.theirs)
        return [t / o if self.unit in LESS else o / t for o, t in couples]

    def verdict(self):
        """The aim, and whether the median meets it."""
        if self.aim is None:
            return ""
        value = statistics.median(self.ratio or self.ours)
        return f"{self.aim} {'met' if self.aim.met(value) else 'missed'}"

    def cells(self):
        """What the table says."""
        peer = f"{self.peer} {figure(self.theirs)}" if self.theirs else self.peer
        share = f"{statistics.median(self.share):.0%}" if self.share else ""
        ratio = spread(self.ratio) if self.ratio else ""
        ours = f"{figure(self.ours)} {self.unit}"
        if not self.ratio and len(set(self.ours)) > 1:
            ours = f"{spread(self.ours, figure)} {self.unit}"
        return [f"{self.group}: {self.what}", ours, peer, ratio, self.verdict(), share]


HEAD = ["what", "Rift", "peer", "ratio (lowest to highest)", "aim", "of the floor"]


def versus(group, what, unit, rounds, ours, theirs, **more):
    """The row of two columns, or none where no round has both; a column is a program and its figure."""
    values = pairs(rounds, ours, theirs)
    if not values[0]:
        return []
    return [Row(group, what, unit, values[0], theirs[0], values[1], **more)]


def alone(group, what, unit, rounds, ours, **more):
    """The row of a figure beside which there is no peer."""
    [values] = pairs(rounds, ours)
    return [Row(group, what, unit, values, **more)] if values else []


def figure(values):
    """The median, to three digits or so."""
    middle = statistics.median(values) if isinstance(values, list) else values
    digits = 0 if abs(middle) >= 100 else 1 if abs(middle) >= 10 else 2
    return f"{middle:,.{digits}f}"


def spread(values, text="{:.2f}".format):
    """Median and range."""
    return f"{text(statistics.median(values))} ({text(min(values))} to {text(max(values))})"


def table(rows):
    """The rows as a table that reads well as text and as Markdown."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ["-" * width for width in widths])
    padded = [[cell.ljust(width) for cell, width in zip(line, widths)] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)
