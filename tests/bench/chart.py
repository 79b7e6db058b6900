"""The ratios as a bar chart in SVG, in light and in dark."""

import math
import statistics
from html import escape

LABELS, WIDTH, HEIGHT, TOP, VALUES = 500, 420, 22, 76, 210
KEY = (
    "How many times as good, median; thin line: lowest to highest; dotted line: the aim, "
    "met (blue) or missed (orange); grey: none"
)
STYLE = """
.back{fill:#fff}text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:16px}
.soft{fill:#57606a}.grid{stroke:#d0d7de}.one{stroke:#57606a}.met{fill:#2a78b8}.missed{fill:#c4601d}
.plain{fill:#8c959f}.range{stroke:#24292f;stroke-width:1.5}.aim{stroke:#24292f;stroke-width:2;stroke-dasharray:2 2}
@media(prefers-color-scheme:dark){.back{fill:#0d1117}text{fill:#e6edf3}.soft{fill:#9198a1}.grid{stroke:#30363d}
.one{stroke:#9198a1}.met{fill:#58a6e0}.missed{fill:#e28a4a}.plain{fill:#6e7681}.range,.aim{stroke:#e6edf3}}
"""


def chart(rows, title):
    """An SVG with a bar from 1 to the median of each ratio, its range and its aim, on a logarithmic axis."""
    rows = [row for row in rows if row.ratio]
    marks = [1, *(row.aim.bound for row in rows if row.aim), *(value for row in rows for value in row.ratio)]
    low, high = math.log(min(marks) * 0.9), math.log(max(marks) * 1.1)

    def x(value):
        return LABELS + WIDTH * (math.log(value) - low) / (high - low)

    bottom = TOP + HEIGHT * len(rows)
    parts = [f'<rect class="back" width="{LABELS + WIDTH + VALUES}" height="{bottom + 34}"/>']
    parts.append(text("title", 16, 28, title))
    parts.append(text("soft", 16, 48, KEY))
    for tick in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100):
        if low <= math.log(tick) <= high:
            kind = "one" if tick == 1 else "grid"
            parts.append(line(kind, x(tick), TOP - 6, x(tick), bottom + 4))
            parts.append(text("soft", x(tick), bottom + 20, f"{tick:g}×", "middle"))
    for number, row in enumerate(rows):
        parts += bar(row, x, TOP + HEIGHT * number)
    size = f'viewBox="0 0 {LABELS + WIDTH + VALUES} {bottom + 34}" width="{LABELS + WIDTH + VALUES}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{escape(title)}</title>'
    return f"{head}<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"


def bar(row, x, top):
    """One row: what is compared, the bar, its range, its aim and the figure."""
    ratio = statistics.median(row.ratio)
    met = "plain" if row.aim is None else "met" if row.aim.met(ratio) else "missed"
    left, right = sorted((x(1), x(ratio)))
    middle = top + HEIGHT / 2 - 2
    yield text("", LABELS - 12, middle + 4, f"{row.group}: {row.what}", "end")
    yield f'<rect class="{met}" x="{left:.1f}" y="{top + 3}" width="{max(right - left, 1):.1f}" height="{HEIGHT - 9}"/>'
    yield line("range", x(min(row.ratio)), middle, x(max(row.ratio)), middle)
    if row.aim:
        yield line("aim", x(row.aim.bound), top, x(row.aim.bound), top + HEIGHT - 4)
    yield text("soft", LABELS + WIDTH + 8, middle + 4, f"{ratio:.2f} × {row.peer}")


def line(kind, x1, y1, x2, y2):
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(kind, x, y, words, anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
