"""Rows that compare: GET from memory, GET from disk, PUT, each against the control or nginx in the same run."""

from . import drive
from .servers import NO_MEMORY, Control, Larder, Nginx, free_port
from .table import Bound, Line, rate_line, verdict

KIB, MIB = 1 << 10, 1 << 20


def hot(plan):
    """One object asked for again and again: Larder has it in memory, nginx an open file."""
    for label, size, in (("4 KiB", 4 * KIB), ("100 KiB", 100 * KIB), ("1 MiB", MIB)):
        subjects = start(plan, f"hot-{size}", {"memory": "256 MiB"}, sizes=[size])
        for name in ("larder", "nginx"):
            if name in subjects:
                drive.put(subjects[name], 1, size)
        figures = drive.in_turn(subjects, plan.rounds, lambda server: drive.wrk(server, hot_path(server, size), plan.seconds))
        end(subjects)
        yield rate_line(
            f"hot GET {label}", figures, "0.93 × control, CPU 1.08 ×", "1.0 × control, over nginx",
            [Bound("control", 0.93, 1.0), Bound("control", 1.08, None, "cpu_us"), Bound("nginx", None, 1.0)],
        )  # fmt: skip


def hot_path(server, size):
    """The control answers by size, the others what was put first."""
    return f"{server.path}{size}" if server.name == "control" else f"{server.path}00/0"


def disk(plan):
    """Many objects in the page cache, Larder's memory tier off, so that each answer is read and its CRC checked."""
    for label, size, names, owed, goal in (
        ("4 KiB", 4 * KIB, plan.of(20_000, 2_000), 1.0, 1.2),
        ("100 KiB", 100 * KIB, plan.of(4_000, 400), 0.85, 1.0),
        ("1 MiB", MIB, plan.of(500, 100), 1.0, 1.0),
        ("64 MiB", 64 * MIB, plan.of(8, 4), 0.9, 1.0),
    ):
        subjects = start(plan, f"disk-{size}", NO_MEMORY, control=False)
        for server in subjects.values():
            drive.put(server, names, size)
            drive.get(server, names, names)
        # wrk counts whole answers: few are whole in a second.
        seconds = plan.seconds * (3 if size > MIB else 1)
        figures = drive.in_turn(subjects, plan.rounds, lambda server: drive.wrk(server, server.path, seconds, names))
        end(subjects)
        yield rate_line(f"disk GET {label}", figures, f"{owed} × nginx", f"{goal} ×", [Bound("nginx", owed, goal)])


def put(plan):
    """New names on fresh folders, acknowledged and queued (the upstream's port refuses), against nginx's DAV. The
    control reads and forgets: what it reaches shows that the generator isn't what is measured."""
    for label, size, count, owed, goal in (
        ("4 KiB", 4 * KIB, plan.of(60_000, 2_000), 1.0, 1.5),
        ("1 MiB", MIB, plan.of(1_000, 50), 0.8, 1.0),
    ):
        def queued(server):
            if server.name == "larder":
                check_queue(server, count)

        makers = {
            "larder": lambda number: Larder(plan.folder(f"put-{size}-{number}-larder"), upstream=REFUSED),
            "control": lambda number: Control(plan.folder(f"put-{size}-{number}-control")),
            "nginx": lambda number: Nginx(plan.folder(f"put-{size}-{number}-nginx")),
        }
        makers = {
            name: lambda number, make=make: make(number).start() for name, make in makers.items() if name in plan.subjects
        }
        figures = drive.in_turn(
            makers, plan.rounds, lambda server: drive.put(server, count, size), fresh=True, after=queued
        )
        yield rate_line(f"PUT {label}, queued", figures, f"{owed} × nginx DAV", f"{goal} ×", [Bound("nginx", owed, goal)])


def routing(plan):
    """One object of a namespace: with 200 namespaces configured, each with an upstream of its own, and a listener for
    each protocol; and with no configuration. A twin without configuration shows what is noise."""
    folder, names, path = plan.folder("routing"), 200, "/blob/team-199/00/0"
    subjects = {
        "configured": Larder(folder / "configured", tables=tables(folder / "upstreams", names)),
        "plain": Larder(folder / "plain"),
        "twin": Larder(folder / "twin"),
    }
    for server in subjects.values():
        server.start()
        drive.put(server, 1, 4 * KIB, path="/blob/team-199/")
    figures = drive.in_turn(subjects, plan.of(9, 2), lambda server: drive.wrk(server, path, plan.of(2, 1)))
    end(subjects)
    ratio, twin = (figures[name].against(figures["plain"]) for name in ("configured", "twin"))
    cpu = figures["configured"].against(figures["plain"], "cpu_us")
    yield Line(
        f"hot GET 4 KiB, {names} routes, over no configuration (noise)",
        f"{ratio:.2f} × ({twin:.2f} ×), CPU {cpu:.2f} ×", owed="0.97 ×, CPU 1.03 ×",
        met=verdict(ratio >= 0.97 and cpu <= 1.03),
    )  # fmt: skip


def tables(folder, names):
    """A configuration that leaves nothing out."""
    text = ""
    for number in range(names):
        upstream = folder / f"{number}"
        upstream.mkdir(parents=True)
        text += f'[upstreams.of-{number}]\nurl = "file://{upstream}"\n'
        text += f'[namespaces."team-{number}"]\nupstream = "of-{number}"\nprefix = "team"\n'
    for protocol in ("bazel", "turborepo", "nx", "gradle", "ccache", "maven"):
        text += f'[[listeners]]\naddress = "127.0.0.1:{free_port()}"\nonly = "{protocol}"\n'
    return text


# Port 1 (tcpmux) is never open on a machine that builds.
REFUSED = "s3://bench?endpoint=http://127.0.0.1:1&region=us-east-1"


def check_queue(server, count):
    """Every PUT that was acknowledged must be in the queue, or the row has measured something else."""
    queued = server.stats()["queue"]["entries"]
    if queued != count:
        raise SystemExit(f"benches/run: {count} PUTs were acknowledged, {queued} are queued")


def start(plan, label, settings, sizes=(), control=True):
    """The subjects of a row, running."""
    makers = {"larder": lambda folder: Larder(folder, **settings)}
    if control:
        makers["control"] = lambda folder: Control(folder, sizes)
    makers["nginx"] = Nginx
    return {
        name: make(plan.folder(f"{label}-{name}")).start() for name, make in makers.items() if name in plan.subjects
    }


def end(subjects):
    for server in subjects.values():
        server.stop()
