"""A build whose cache is a server of the Remote Execution API 50 ms away: straight at it, and through a Larder.

A build is what Bazel makes of one that is cached whole: as many actions at a time as it has jobs, each of which asks for
its result and then reads all that this names, at once, over one connection with the window that grpc-java begins with.
Eight jobs are Bazel's default on a machine of eight cores. The server is another Larder, on this machine; what delays is a
proxy, by 25 ms in each direction and whatever is on its way at once.

    straight   Bazel -> proxy -> server
    cold       Bazel -> Larder that has nothing -> proxy -> server
    warm       the same Larder once more
    local      Bazel -> Larder that has all and no upstream

No client can be quicker than one round trip for each action that it waits for, and Larder takes two (the result; what it
names, and whether all of that is there): how much it gains is how much more the client takes by itself. Hence two builds,
one of small outputs and one of large ones.
"""

import statistics
import time

from . import drive
from .servers import Delay, Larder
from .table import Line, verdict

KIB, MIB = 1 << 10, 1 << 20
RTT_MS = 50
JOBS = 8
WINDOW = MIB

# An action's outputs: what a compiler leaves (what it has read, its words, an object), and the same with an archive.
OUTPUTS = {"222 KiB": (2 * KIB, 20 * KIB, 200 * KIB), "1.2 MiB": (2 * KIB, 20 * KIB, 200 * KIB, MIB)}


def reapi_upstream(plan):
    for name, sizes in OUTPUTS.items():
        yield from build(plan, name, sizes)


def build(plan, name, sizes):
    builds = Builds(plan, sizes)
    rounds, often = plan.of(3, 1), plan.of(10, 3)
    straight, cold, warm, local = [], [], [], []
    for number in range(rounds):
        larder = Larder(plan.folder(f"reapi-upstream-{sum(sizes)}-{number}"), upstream=builds.url()).start()
        straight.append(builds.seconds(builds.delay))
        cold.append(builds.seconds(larder))
        # What was read along is written by then.
        local.append(builds.seconds(builds.far, often))
        warm.append(builds.seconds(larder, often))
        larder.kill()
    builds.end()
    times = statistics.median(there / here for there, here in zip(straight, cold))
    against = statistics.median(there / here for there, here in zip(local, warm))
    seconds, beside = statistics.median(cold), statistics.median(straight)
    yield Line(
        f"{builds.actions} cached actions of {name} at {RTT_MS} ms, cold (straight)",
        f"{seconds:.2f} s ({beside:.2f} s): {times:.2f} ×", owed="3 × straight", met=verdict(times >= 3),
    )  # fmt: skip
    yield Line(
        "… warm (local)", f"{statistics.median(warm):.3f} s ({statistics.median(local):.3f} s): {against:.2f} ×",
        owed="0.95 × local", met=verdict(against >= 0.95),
    )  # fmt: skip


class Builds:
    """The server that has all, and the way to it."""

    def __init__(self, plan, sizes):
        self.actions, self.salt, self.sizes = plan.of(500, 32), time.time_ns(), sizes
        self.far = Larder(plan.folder(f"reapi-upstream-{sum(sizes)}-far")).start()
        self.delay = Delay(plan.folder("reapi-upstream-delay"), self.far, RTT_MS).start()
        self.run(self.far, "--fill")

    def url(self):
        return f"grpc://127.0.0.1:{self.delay.port}"

    def seconds(self, server, builds=1):
        """Of one build."""
        return self.run(server, "--builds", builds)["seconds"] / builds

    def run(self, server, *words):
        command = [drive.LOAD, "build", "--port", server.port, "--actions", self.actions, "--jobs", JOBS]
        command += ["--sizes", ",".join(map(str, self.sizes)), "--salt", self.salt]
        return drive.checked(server, [*command, "--stream-window", WINDOW, "--connection-window", WINDOW, *words])

    def end(self):
        self.delay.kill()
        self.far.kill()
