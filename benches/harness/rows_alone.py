"""Rows that Larder runs alone, against absolute bounds: a crowd of misses, misses while down, start, memory."""

import socket
import statistics
import time

from . import drive
from .servers import NO_MEMORY, Larder, Origin
from .table import Line, verdict

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def crowd(plan):
    """100 clients miss the same object, which is 100 ms away, at one moment."""
    size = 50 * MIB
    lags_p50, lags_max, gets, others = [], [], [], []
    for number in range(plan.of(5, 2)):
        origin = Origin(plan.folder(f"crowd-{number}-origin"), size).start()
        larder = Larder(plan.folder(f"crowd-{number}-larder"), upstream=origin.url()).start()
        seen = drive.crowd(larder, f"{larder.path}big", 100, size)
        asked = [request for request in origin.counts()["requests"] if "big" in request["head"]]
        fetches = [request for request in asked if request["head"].startswith("GET")]
        first_ns = min(request["first_byte_ns"] for request in fetches)
        lags_ms = sorted((at - first_ns) / 1e6 for at in seen["first_bytes_ns"])
        lags_p50.append(statistics.median(lags_ms))
        lags_max.append(lags_ms[-1])
        gets.append(len(fetches))
        others.append(len(asked) - len(fetches))
        larder.kill()
        origin.kill()
    lag = statistics.median(lags_p50)
    yield Line(
        "100 misses of one 50 MiB object at 100 ms RTT: upstream requests",
        f"{max(gets)} GET, {max(others)} other", owed="1 GET", met=verdict(max(gets) == 1),
    )  # fmt: skip
    yield Line(
        "… first byte after upstream's, median client (last client)",
        f"{lag:.1f} ms ({statistics.median(lags_max):.1f} ms)", owed="5 ms", met=verdict(lag <= 5),
    )  # fmt: skip


def down(plan):
    """Misses while the upstream cuts every connection, once that is known."""
    origin = Origin(plan.folder("down-origin"), 1, down=True).start()
    larder = Larder(plan.folder("down-larder"), upstream=origin.url()).start()
    drive.get(larder, 200, 1_000, status="404")
    count = plan.of(100_000, 5_000)
    p99_us, connections, seconds = [], 0, 0
    for _ in range(plan.rounds):
        before = connection_count(origin)
        seen = drive.get(larder, count, 1 << 40, status="404")
        connections += connection_count(origin) - before
        p99_us.append(seen["p99_us"])
        seconds += seen["seconds"]
    larder.kill()
    origin.kill()
    p99_ms = statistics.median(p99_us) / 1000
    # Probes: after 1, 2, 4 … s, of reads and of writes; no miss may add to them.
    probes_max = 2 * (int(seconds) + 1).bit_length() + 2
    yield Line(
        f"{count * plan.rounds:,} misses while down: upstream connections in {seconds:.0f} s",
        f"{connections}", owed=f"none but probes ({probes_max} at most)", met=verdict(connections <= probes_max),
    )  # fmt: skip
    yield Line("… p99", f"{p99_ms:.2f} ms", owed="1 ms", met=verdict(p99_ms <= 1))


def connection_count(origin):
    return origin.counts()["connections"]


def start(plan):
    """Start to the first hit, of the entry written first, and what an entry costs in memory."""
    entries, starts = plan.of(1_000_000, 20_000), plan.of(5, 2)
    larder = Larder(plan.folder("start"), **NO_MEMORY).start()
    empty_bytes = resting_bytes(larder)
    drive.put(larder, entries, 64)
    grown_bytes = resting_bytes(larder)
    stop_s = [larder.stop()]

    clean_ms, restart_bytes = [], []
    for _ in range(starts):
        clean_ms.append(first_hit_ms(larder))
        restart_bytes.append(resting_bytes(larder))
        stop_s.append(larder.stop())
    killed_ms = []
    first_hit_ms(larder)
    for number in range(starts):
        drive.put(larder, 1_000, 64, first=entries + number * 1_000)
        larder.kill()
        killed_ms.append(first_hit_ms(larder))
    larder.kill()

    for label, figures in (("clean stop", clean_ms), ("kill -9", killed_ms)):
        ms = statistics.median(figures)
        yield Line(
            f"start to first hit, {entries:,} entries, after {label}",
            f"{ms:.0f} ms", owed="500 ms", goal="200 ms", met=verdict(ms <= 500, ms <= 200),
        )  # fmt: skip
    each = (statistics.median(restart_bytes) - empty_bytes) / entries
    grown = (grown_bytes - empty_bytes) / entries
    yield Line(
        f"memory per entry, {entries:,} entries, after start (after the PUTs)",
        f"{each:.0f} B ({grown:.0f} B)", owed="150 B", goal="100 B", met=verdict(each <= 150, each <= 100),
    )  # fmt: skip
    yield Line("… ordered stop takes", f"{statistics.median(stop_s) * 1000:.0f} ms")


def first_hit_ms(larder):
    """From just before exec to the head of the first 200."""
    request = f"GET {larder.path}00/0 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
    begin = time.monotonic()
    larder.launch()
    while time.monotonic() - begin < 60:
        try:
            with socket.create_connection(("127.0.0.1", larder.port), timeout=60) as stream:
                stream.sendall(request)
                if stream.recv(1 << 16).startswith(b"HTTP/1.1 200"):
                    return (time.monotonic() - begin) * 1000
        except OSError:
            pass
        if larder.process.poll() is not None:
            break
        time.sleep(0.0005)
    raise SystemExit(f"benches/run: no hit after start: {larder.log_end()}")


def memory(plan):
    """At rest; the memory tier filled well past its setting; one body of 1 GiB."""
    rest = Larder(plan.folder("rest"))
    rest.start()
    drive.put(rest, 1, 4 * KIB)
    drive.get(rest, 1, 1)
    rest_bytes = resting_bytes(rest)
    rest.stop()
    yield Line("memory at rest", f"{rest_bytes / MIB:.1f} MiB", owed="30 MiB", met=verdict(rest_bytes <= 30 * MIB))

    setting = plan.of(256, 32) * MIB
    for label, size in (("16 KiB", 16 * KIB), ("1 MiB", MIB)):
        tier = Larder(plan.folder(f"tier-{size}"), memory=f"{setting // MIB} MiB").start()
        names = setting * 5 // 2 // size
        drive.put(tier, names, size)
        drive.get(tier, names * 2, names)
        over = (resting_bytes(tier) - rest_bytes) / setting
        peak = (tier.memory_bytes("VmHWM") - rest_bytes) / setting
        tier.kill()
        yield Line(
            f"memory tier full of {label}, over rest, of its {setting // MIB} MiB (peak)",
            f"{over:.2f} × ({peak:.2f} ×)", owed="1.3 ×", met=verdict(over <= 1.3),
        )  # fmt: skip

    small, large = 64 * MIB, plan.of(GIB, 128 * MIB)
    for label, connections in (("one", 1), ("four", 4)):
        peaks = []
        for size in (small, large):
            flat = Larder(plan.folder(f"flat-{connections}-{size}")).start()
            drive.put(flat, connections, size, connections=connections)
            drive.get(flat, connections * 2, connections, connections=connections)
            peaks.append(flat.memory_bytes("VmHWM") / MIB)
            flat.kill()
        yield Line(
            f"peak memory, PUT and GET of {label} × {large // MIB} MiB (of 64 MiB)",
            f"{peaks[1]:.0f} MiB ({peaks[0]:.0f} MiB)", owed="flat: + 8 MiB", met=verdict(peaks[1] - peaks[0] <= 8),
        )  # fmt: skip


def resting_bytes(larder):
    """Resident memory when it has stopped changing (what runs behind a load has ended), or after 5 s."""
    last = larder.memory_bytes()
    for _ in range(10):
        time.sleep(0.5)
        now = larder.memory_bytes()
        if abs(now - last) < 64 * KIB:
            break
        last = now
    return now
