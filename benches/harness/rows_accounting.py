"""What counting costs: Larder beside a twin of itself, of the same commit, that counts nothing."""

import os
import pathlib
import re
import shutil
import sys

from . import build, drive
from .servers import Larder
from .table import Line, verdict

KIB = 1 << 10
PATH = "/blob/team/00/0"
WORK = "hot GET 4 KiB, over one that counts nothing"

# Requests on one connection; what a start and a stop cost is in both, and falls away in the difference.
FEW, MANY = 2_000, 22_000


def accounting(plan):
    """Pairs, in turns, on one object of a namespace with a name: counts by protocol, tier and namespace and of bytes on
    one side, none on the other; on both the look whether requests are logged. A hundredth is less than where the
    scheduler puts threads is worth, so that the servers have one core and wrk another, in many short rounds. And, where
    valgrind is, instructions in user space for each request on one connection: those don't know of a busy machine."""
    if plan.quick:
        # A second release build takes longer than all other rows together.
        yield Line(WORK, "not measured in the short form", owed="0.99 ×")
        return
    subjects = {
        "larder": counting(plan.folder("accounting-larder"), Larder.binary),
        "twin": counting(plan.folder("accounting-twin"), build.unaccounted_binary()),
    }
    for server in subjects.values():
        server.start()
        drive.put(server, 1, 4 * KIB, path="/blob/team/")
    before = {name: hits(server) for name, server in subjects.items()}
    cores = sorted(os.sched_getaffinity(0))
    for server in subjects.values():
        pin(server, cores[0])
    figures = drive.in_turn(
        subjects, plan.of(60, 2), lambda server: drive.wrk(server, PATH, 1, threads=1, core=cores[-1])
    )
    counted = {name: hits(server) - before[name] for name, server in subjects.items()}
    for server in subjects.values():
        server.stop()
    if not counted["larder"] or counted["twin"]:
        raise SystemExit(f"benches/run: accounting: the wrong one counts: {counted}")
    ratio, cpu = (figures["larder"].against(figures["twin"], what) for what in ("rate", "cpu_us"))
    error = figures["larder"].error_against(figures["twin"])
    yield Line(
        WORK, f"{ratio:.3f} × ±{error:.3f}, CPU {cpu:.3f} ×; {instructions(plan, subjects)}", owed="0.99 ×",
        met=verdict(ratio >= 0.99),
    )  # fmt: skip


def pin(server, core):
    """Every thread of it."""
    for thread in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def counting(folder, binary):
    larder = Larder(folder, memory="256 MiB")
    larder.binary = binary
    return larder


def hits(server):
    return server.stats()["protocols"]["blob"]["hits"]["memory"]


def instructions(plan, subjects):
    """Of both, for each request."""
    if shutil.which("valgrind") is None:
        return "instructions not counted: no valgrind here (Debian: apt-get install -y valgrind)"
    each = {
        name: (counted(plan, name, server, MANY) - counted(plan, name, server, FEW)) / (MANY - FEW)
        for name, server in subjects.items()
    }
    share = each["larder"] / each["twin"] - 1
    return f"{each['larder']:,.0f} instructions a request, {each['twin']:,.0f} without ({share:+.2%})"


def counted(plan, name, server, requests):
    """Instructions of a whole life of a daemon that answers so many."""
    larder = UnderCallgrind(plan.folder(f"accounting-{name}-{requests}"), server.binary).start()
    drive.put(larder, 1, 4 * KIB, path="/blob/team/", connections=1)
    drive.get(larder, requests, 1, connections=1, path="/blob/team/")
    larder.stop()
    return larder.counted()


class UnderCallgrind(Larder):
    """Ten to fifty times as slow, on one core."""

    def __init__(self, folder, binary):
        super().__init__(folder, memory="256 MiB")
        self.binary = binary

    def command(self):
        out = f"--callgrind-out-file={self.folder}/callgrind.out"
        launch = [sys.executable, str(pathlib.Path(__file__).with_name("without_auxv.py"))]
        return [*launch, "valgrind", "--tool=callgrind", out, *map(str, super().command())]

    def counted(self):
        found = re.search(r"^(?:summary|totals): (\d+)", pathlib.Path(self.folder, "callgrind.out").read_text(), re.M)
        if found is None:
            raise SystemExit(f"benches/run: callgrind counted nothing; its log: {self.log_end()}")
        return int(found[1])
