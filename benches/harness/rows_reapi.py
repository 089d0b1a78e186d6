"""Rows of the Remote Execution API over gRPC: Larder, buildbox-casd and, if one is given, the server in the slot.

Small calls go 16 at a time over 4 connections, large ones 4 at a time over 4. No run's blobs are another's (`salt`), and
what is written is new in each round."""

import time

from . import drive, tools
from .servers import NO_MEMORY, Casd, Given, Larder
from .table import Bound, Line, measured, reapi_line, verdict

KIB, MIB = 1 << 10, 1 << 20
SALT = time.time_ns()

# Of drafts' buffers, whoever needs them.
POOL_MIB = 32


def small(plan):
    """Calls that move 4 KiB: one blob, or an action result that names 31 blobs, all of which are there."""
    subjects, size, names = start(plan, "reapi-small"), 4 * KIB, plan.of(4_000, 500)
    for server in subjects.values():
        call(server, "batch-update", names, size)
        call(server, "update-action", names, size, names=names)
        for kind in ("batch-read", "read", "get-action"):
            call(server, kind, names, size, names=names)
    for kind, label, writes in (
        ("batch-read", "BatchReadBlobs, one of 4 KiB", False),
        ("read", "ByteStream.Read 4 KiB", False),
        ("get-action", "GetActionResult, 4 KiB", False),
        ("batch-update", "BatchUpdateBlobs, one of 4 KiB", True),
        ("update-action", "UpdateActionResult, 4 KiB", True),
    ):
        count = plan.of(10_000, 500) if writes else plan.of(40_000, 1_500)
        figures = drive.in_turn(subjects, plan.rounds, calls(kind, count, size, names, writes))
        yield reapi_line(label, figures, "2 × casd", "3 ×", [Bound("casd", 2, 3)])
    end(subjects)


def stream(plan):
    """Blobs of 8 MiB."""
    subjects, size, names = start(plan, "reapi-stream"), 8 * MIB, 16
    owed = "2 × casd" + (", 1.2 × slot" if "slot" in subjects else "")
    bounds = [Bound("casd", 2, 3)] + ([Bound("slot", 1.2, None)] if "slot" in subjects else [])
    for server in subjects.values():
        call(server, "write", names, size, streams=4)
    for kind, label, count in (
        ("read", "ByteStream.Read 8 MiB", plan.of(200, 40)),
        ("write", "ByteStream.Write 8 MiB", plan.of(64, 16)),
    ):
        drive_one = calls(kind, count, size, names, kind == "write", streams=4)
        figures = drive.in_turn(subjects, plan.rounds, drive_one)
        yield reapi_line(label, figures, owed, "3 ×", bounds, mib=8)
    end(subjects)


def missing(plan):
    """10,000 digests in one call, all of them present; one call at a time."""
    subjects, names = start(plan, "reapi-missing"), 10_000
    for server in subjects.values():
        call(server, "batch-update", names, 64)
    count = plan.of(50, 10)
    ask = lambda server: call(server, "find-missing", count, 64, names=names, connections=1, streams=1)
    figures = drive.in_turn(subjects, plan.rounds, ask)
    end(subjects)
    ms = {name: value.p50_us / 1000 for name, value in figures.items()}
    yield Line(
        "FindMissingBlobs, 10,000 present: median", table="reapi", owed="5 ms", goal="2 ms",
        **{name: f"{value:.1f} ms" for name, value in ms.items()},
        cpu=" / ".join(measured(value.cpu_us, 0) for value in figures.values()),
        busy=" / ".join(f"{value.busy:.0%}" for value in figures.values()),
        met=verdict(ms["larder"] <= 5, ms["larder"] <= 2) if "larder" in ms else "",
    )  # fmt: skip


def flight(plan):
    """100 connections (20 in the short form) with 100 reads each, of which none is read on before all are answered. What
    a server holds for a client that doesn't read shows in its memory; Larder's own tier is off. In the short form Larder
    is alone: casd takes a quarter of a minute."""
    subjects, size, names = start(plan, "reapi-flight", NO_MEMORY), 256 * KIB, 100
    figures, connections = {}, plan.of(100, 20)
    reads = 100 * connections
    for name, server in subjects.items():
        if plan.quick and name != "larder" and "larder" in subjects:
            continue
        call(server, "batch-update", names, size)
        # A stream's window is HTTP/2's own.
        seen = lambda server: call(
            server, "read", reads, size, names=names, connections=connections, streams=reads, together=True,
            stream_window=65_535, connection_window=MIB,
        )  # fmt: skip
        figures |= drive.in_turn({name: server}, 1, seen)
    end(subjects)
    label = f"{reads:,} reads of 256 KiB in flight on {connections} connections"
    line = reapi_line(label, figures, "no error", "", [], mib=0.25)
    # A wrong answer would have ended the run.
    line.met = verdict(True)
    yield line


def uploads(plan):
    """What 50 uploads at a time need beyond 5, on fresh servers: 64 MiB, and the pool that they share."""
    size, peaks = plan.of(200, 16) * MIB, {}
    for streams in (5, 50):
        larder = Larder(plan.folder(f"reapi-uploads-{streams}")).start()
        call(larder, "write", streams, size, connections=5, streams=streams)
        peaks[streams] = larder.memory_bytes("VmHWM") / MIB
        larder.kill()
    yield Line(
        f"peak memory, 50 uploads of {size // MIB} MiB at a time (5)", f"{peaks[50]:.0f} MiB ({peaks[5]:.0f} MiB)",
        owed=f"+ 64 MiB and a pool of {POOL_MIB} MiB", met=verdict(peaks[50] - peaks[5] <= 64 + POOL_MIB), table="reapi",
    )  # fmt: skip


def call(server, kind, count, size, **options):
    return drive.reapi(server, kind, SALT, count=count, size=size, **options)


def calls(kind, count, size, names, writes, **options):
    """What drives a subject in each round; what it writes then begins after all that it has."""
    first = {}

    def drive_one(server):
        if writes:
            options["first"] = first.get(server, names)
            first[server] = options["first"] + count
        return call(server, kind, count, size, names=names, **options)

    return drive_one


def start(plan, label, settings=None):
    """The subjects of a row, running; casd's absence ends the row before anything has begun."""
    tools.tool("buildbox-casd")
    makers = {"larder": lambda folder: Larder(folder, **(settings or {})), "casd": Casd}
    if plan.reapi_server:
        makers["slot"] = lambda folder: Given(folder, plan.reapi_server)
    return {
        name: make(plan.folder(f"{label}-{name}")).start()
        for name, make in makers.items() if name != "larder" or name in plan.subjects
    }  # fmt: skip


def end(subjects):
    for server in subjects.values():
        server.stop()
