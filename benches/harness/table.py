"""Lines of the result and how they are printed: for a terminal or as Markdown."""

import dataclasses

HEADINGS = ("work", "larder", "control", "nginx", "÷ control", "÷ nginx", "CPU µs/request", "peak MiB", "owed", "goal")


@dataclasses.dataclass
class Line:
    """One measured thing. `met` is None where nothing is judged."""

    work: str
    larder: str = ""
    control: str = ""
    nginx: str = ""
    over_control: str = ""
    over_nginx: str = ""
    cpu: str = ""
    peak: str = ""
    owed: str = ""
    goal: str = ""
    met: str = ""  # "NO", "owed" or "goal"; empty where nothing is judged


@dataclasses.dataclass
class Bound:
    """Larder's median ratio against `other`: what it must reach and what it is meant to (CPU: must not pass)."""

    other: str
    owed: float | None
    goal: float | None
    what: str = "rate"

    def reached(self, figures, limit):
        if limit is None:
            return True
        ratio = figures["larder"].against(figures[self.other], self.what)
        return ratio <= limit if self.what == "cpu_us" else ratio >= limit


def verdict(owed, goal=False):
    return "NO" if not owed else "goal" if goal else "owed"


def rate_line(work, figures, owed, goal, bounds):
    """A line of requests per second."""
    larder, control, nginx = (figures.get(name) for name in ("larder", "control", "nginx"))
    subject = larder or control
    line = Line(work, owed=owed, goal=goal)
    for name, value in figures.items():
        setattr(line, name, rate(value))
    if control and subject is not control:
        line.over_control = f"{subject.against(control):.2f}"
    if nginx and subject:
        line.over_nginx = f"{subject.against(nginx):.2f}"
    line.cpu = " / ".join(f"{value.cpu_us:.{0 if value.cpu_us >= 100 else 1}f}" for value in figures.values())
    line.peak = " / ".join(f"{value.peak_bytes / 2**20:.0f}" for value in figures.values())
    if larder:
        line.met = verdict(
            all(bound.reached(figures, bound.owed) for bound in bounds),
            all(bound.reached(figures, bound.goal) for bound in bounds),
        )
    return line


def rate(figures):
    """Requests per second: median and, after it, the spread of the rounds."""
    rates = [r.rate for r in figures.rounds]
    spread = (max(rates) - min(rates)) / 2 / figures.rate * 100
    return f"{figures.rate:,.0f}/s ±{spread:.0f}%"


def render(lines, judged, markdown):
    headings = HEADINGS + (("met",) if judged else ())
    rows = [cells(line, judged) for line in lines]
    widths = [max(len(row[at]) for row in [headings, *rows]) for at in range(len(headings))]
    text = lambda row: "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
    if not markdown:
        return "\n".join([text(headings), text(["-" * width for width in widths]), *map(text, rows)])
    mark = lambda row: "| " + " | ".join(row) + " |"
    return "\n".join([mark(headings), mark(["---"] * len(headings)), *map(mark, rows)])


def cells(line, judged):
    row = [
        line.work, line.larder, line.control, line.nginx, line.over_control, line.over_nginx,
        line.cpu, line.peak, line.owed, line.goal,
    ]  # fmt: skip
    return row + [line.met] if judged else row
