"""Lines of the result and how they are printed: for a terminal or as Markdown."""

import dataclasses

# The fields of a line that each table shows, and their headings.
COLUMNS = {
    "http": {
        "work": "work", "larder": "larder", "control": "control", "nginx": "nginx", "over_control": "÷ control",
        "over_nginx": "÷ nginx", "cpu": "CPU µs/request", "peak": "peak MiB", "owed": "owed", "goal": "goal",
    },
    "reapi": {
        "work": "work", "larder": "larder", "casd": "casd", "slot": "slot", "over_casd": "÷ casd",
        "over_slot": "÷ slot", "cpu": "CPU µs/request", "busy": "load busy", "peak": "peak MiB", "owed": "owed",
        "goal": "goal",
    },
}  # fmt: skip

# Left out where no server was given.
OPTIONAL = ("slot", "over_slot")


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
    casd: str = ""
    slot: str = ""
    over_casd: str = ""
    over_slot: str = ""
    busy: str = ""  # of the load's one thread, by subject: near 100 % it is the load that is measured
    table: str = "http"


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


def reapi_line(work, figures, owed, goal, bounds, mib=None):
    """A line of calls per second, or of MiB per second where each call moves `mib` of them."""
    line = Line(work, owed=owed, goal=goal, table="reapi")
    for name, value in figures.items():
        setattr(line, name, rate(value, mib))
    larder = figures.get("larder")
    for name in ("casd", "slot"):
        if larder and name in figures:
            setattr(line, f"over_{name}", f"{larder.against(figures[name]):.2f}")
    line.cpu = " / ".join(measured(value.cpu_us, 0 if value.cpu_us >= 100 else 1) for value in figures.values())
    line.busy = " / ".join(f"{value.busy:.0%}" for value in figures.values())
    line.peak = " / ".join(measured(value.peak_bytes / 2**20, 0) for value in figures.values())
    if larder:
        line.met = verdict(
            all(bound.reached(figures, bound.owed) for bound in bounds),
            all(bound.reached(figures, bound.goal) for bound in bounds),
        )
    return line


def measured(value, digits):
    """A server that this run didn't start shows neither its time nor its memory."""
    return f"{value:.{digits}f}" if value else "–"


def rate(figures, mib=None):
    """Requests or MiB per second: median and, after it, the spread of the rounds."""
    rates = [r.rate for r in figures.rounds]
    spread = (max(rates) - min(rates)) / 2 / figures.rate * 100
    return f"{figures.rate * (mib or 1):,.0f}{' MiB/s' if mib else '/s'} ±{spread:.0f}%"


def render(lines, judged, markdown):
    """One table for each kind of line that there is."""
    tables = [[line for line in lines if line.table == table] for table in COLUMNS]
    return "\n\n".join(render_one(some, judged, markdown) for some in tables if some)


def render_one(lines, judged, markdown):
    columns = {
        field: heading for field, heading in COLUMNS[lines[0].table].items()
        if field not in OPTIONAL or any(getattr(line, field) for line in lines)
    } | ({"met": "met"} if judged else {})  # fmt: skip
    headings = list(columns.values())
    rows = [[getattr(line, field) for field in columns] for line in lines]
    widths = [max(len(row[at]) for row in [headings, *rows]) for at in range(len(headings))]
    text = lambda row: "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
    if not markdown:
        return "\n".join([text(headings), text(["-" * width for width in widths]), *map(text, rows)])
    mark = lambda row: "| " + " | ".join(row) + " |"
    return "\n".join([mark(headings), mark(["---"] * len(headings)), *map(mark, rows)])
