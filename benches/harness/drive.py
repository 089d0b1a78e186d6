"""Drives the subjects in turn and keeps what each round measured."""

import dataclasses
import json
import os
import statistics
import subprocess

from . import build

CONNECTIONS = 16
WRK_THREADS = 2
LOAD = None  # path of the load tool, set once by `run`


@dataclasses.dataclass
class Round:
    """One subject's part of one round."""

    rate: float  # requests per second
    cpu_us: float  # of the server, per request
    p99_us: float
    p50_us: float = 0
    busy: float = 0  # of the load's thread, where it says so


@dataclasses.dataclass
class Figures:
    """All rounds of one subject, and its memory at its highest."""

    rounds: list
    peak_bytes: int = 0

    @property
    def rate(self):
        return statistics.median(r.rate for r in self.rounds)

    @property
    def cpu_us(self):
        return statistics.median(r.cpu_us for r in self.rounds)

    @property
    def p99_us(self):
        return statistics.median(r.p99_us for r in self.rounds)

    @property
    def p50_us(self):
        return statistics.median(r.p50_us for r in self.rounds)

    @property
    def busy(self):
        return statistics.median(r.busy for r in self.rounds)

    def against(self, other, what="rate"):
        """Median of the ratios round by round: a drift of the machine hits both sides of each."""
        return statistics.median(
            getattr(a, what) / getattr(b, what) for a, b in zip(self.rounds, other.rounds) if getattr(b, what)
        )

    def error_against(self, other):
        """The standard error of the rates' ratio, as of a median."""
        ratios = [a.rate / b.rate for a, b in zip(self.rounds, other.rounds)]
        return 1.25 * statistics.stdev(ratios) / len(ratios) ** 0.5


def in_turn(subjects, rounds, drive, fresh=False, after=None):
    """`drive(server)` for each of `subjects` (name -> running server, or with `fresh` name -> a function that starts
    one for the numbered round, which is killed after it), `rounds` times, each round beginning with another one.
    `after(server)` sees it at the end of its part; neither it nor the start is measured."""
    figures = {name: Figures([]) for name in subjects}
    names = list(subjects)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            server = subjects[name](number) if fresh else subjects[name]
            before = server.cpu_seconds()
            seen = drive(server)
            cpu_us = (server.cpu_seconds() - before) * 1e6 / max(seen["requests"], 1)
            rate = seen["requests"] / seen["seconds"]
            figures[name].rounds.append(Round(rate, cpu_us, seen["p99_us"], seen.get("p50_us", 0), seen.get("busy", 0)))
            figures[name].peak_bytes = max(figures[name].peak_bytes, server.memory_bytes("VmHWM"))
            if after:
                after(server)
            if fresh:
                server.kill()
    return figures


def wrk(server, path, seconds, names=None, threads=WRK_THREADS, core=None):
    """GETs of `path`, or of the names below it; from one core alone, if one is given."""
    url = f"http://127.0.0.1:{server.port}{path}"
    script = str(build.ROOT / "benches/harness/names.lua")
    command = ["taskset", "-c", str(core)] if core is not None else []
    command += ["wrk", f"-t{threads}", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", script, url]
    return checked(server, command + (["--", path, str(names)] if names else []))


def put(server, count, size, first=0, connections=CONNECTIONS, path=None, writes=1):
    """PUTs of new names; nothing dirty is left from the round before."""
    os.sync()
    return load(server, "put", count=count, size=size, first=first, connections=connections, path=path, writes=writes)


def get(server, count, names, status="200", connections=CONNECTIONS, path=None):
    return load(server, "get", count=count, names=names, status=status, connections=connections, path=path)


def crowd(server, path, connections, expect):
    return load(server, "crowd", connections=connections, expect=expect, path=path)


def reapi(server, kind, salt, together=False, **options):
    """Calls of the Remote Execution API; of writes nothing dirty is left from the round before."""
    if kind in ("batch-update", "write", "update-action"):
        os.sync()
    command = [LOAD, "reapi", kind, "--host", server.host, "--port", server.port, "--salt", salt]
    command += ["--together"] if together else []
    words = [word for key, value in options.items() for word in (f"--{key.replace('_', '-')}", value)]
    return checked(server, command + words)


def load(server, work, path=None, **options):
    command = [LOAD, work, "--port", str(server.port), "--path", path or server.path]
    return checked(server, command + [word for key, value in options.items() for word in (f"--{key}", str(value))])


def checked(server, command):
    """Runs a load; a single wrong answer ends the benchmark, for its figure would mean nothing."""
    run = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    line = next((line for line in reversed(run.stdout.splitlines()) if line.startswith("{")), None)
    if run.returncode != 0 or line is None:
        raise SystemExit(f"benches/run: {' '.join(map(str, command))}: {run.stdout[-1000:]}")
    seen = json.loads(line)
    if seen["errors"]:
        words = seen.get("words") or "see its log"
        raise SystemExit(f"benches/run: {server.name}: {seen['errors']} wrong answers ({words}): {server.log_end()}")
    return seen
