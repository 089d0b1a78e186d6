"""Rows of the daemon as a service: what a changed configuration costs the requests beside it."""

import json
import os
import statistics
import threading
import time

from . import drive
from .rows_http import REFUSED
from .servers import Larder
from .table import Line, verdict

KIB = 1 << 10
STATUS_MS_MAX = 30
RATE = 2_000
EVERY_SECONDS = 0.1


def reload(plan):
    """GETs and PUTs at 2,000 a second, begun when they are due; in every other turn the configuration is replaced ten
    times a second, by bounds, upstreams and namespaces that are others each time; in the others a file beside it. What is slowest with edits, over what
    is slowest without, is what a reload adds."""
    folder = plan.folder("reload")
    larder = Larder(folder, **settings(0)).start()
    names = 1_000
    drive.put(larder, names, 4 * KIB)
    drive.get(larder, names, names)
    count = RATE * plan.of(10, 3)
    works = {
        "GET 4 KiB": lambda turn: drive.load(larder, "get", count=count, names=names, rate=RATE, expect=4 * KIB),
        "PUT 4 KiB": lambda turn: drive.load(larder, "put", count=count, size=4 * KIB, first=turn * count, rate=RATE),
    }
    turn = 0
    for label, work in works.items():
        still, edited, reloads = [], [], 0
        for number in range(plan.rounds):
            for with_edits in ((False, True) if number % 2 == 0 else (True, False)):
                turn += 1
                before = larder.stats()["configuration"]["applied"]
                # A neighbour is edited in the other turns: what a rename costs the disk is no cost of a reload.
                editor = Editor(folder, "larder.toml" if with_edits else "neighbour.toml")
                editor.start()
                (edited if with_edits else still).append(work(turn))
                editor.end()
                configuration = larder.stats()["configuration"]
                if configuration["problems"]:
                    raise SystemExit(f"benches/run: reload: {configuration['problems']}")
                reloads += configuration["applied"] - before
        added = statistics.median(
            (with_edits["max_us"] - without["max_us"]) / 1000 for with_edits, without in zip(edited, still)
        )
        seconds = sum(seen["seconds"] for seen in edited)
        yield Line(
            f"{label} at {RATE:,}/s while {reloads / seconds:.1f} reloads/s: slowest, p99.9 (without)",
            f"{ms(edited, 'max_us')}, {ms(edited, 'p999_us')} ms ({ms(still, 'max_us')}, {ms(still, 'p999_us')} ms); "
            f"added {added:+.1f} ms, failures 0",
            owed="+ 5 ms, failures 0", met=verdict(added <= 5 and reloads > 0),
        )  # fmt: skip
    larder.kill()


def status(plan):
    """`larder status` as a person waits for it, the whole process, of a daemon that has a queue."""
    larder = Larder(plan.folder("status"), upstream=REFUSED).start()
    drive.put(larder, plan.of(20_000, 1_000), 4 * KIB)
    runs = []
    for _ in range(plan.of(100, 10)):
        begin = time.perf_counter()
        larder.ask("status")
        runs.append((time.perf_counter() - begin) * 1000)
    larder.kill()
    slowest = max(runs)
    yield Line(
        f"larder status, of {plan.of(20_000, 1_000):,} queued, the whole process: median (slowest)",
        f"{statistics.median(runs):.1f} ms ({slowest:.1f} ms)",
        owed=f"{STATUS_MS_MAX} ms", met=verdict(statistics.median(runs) <= STATUS_MS_MAX),
    )  # fmt: skip


def ms(turns, what):
    return f"{statistics.median(seen[what] for seen in turns) / 1000:.1f}"


def settings(number):
    """Bounds that never bind, so that only their change can be felt."""
    return {
        "memory": f"{200 + number % 50} MiB", "entry_max": f"{1 + number % 3} GiB", "fills": 200 + number % 50,
        "fact_memory_entries": 500_000 + number % 1000, "queue_entries": 10_000_000 + number % 7,
        "partial_uploads_count": 900 + number % 100, "idle": f"{600 + number % 60} s",
        "allow_hosts": [f"n{number}.test"],
    }  # fmt: skip


class Editor(threading.Thread):
    """Replaces a file by a configuration, in one step, again and again."""

    def __init__(self, folder, name):
        super().__init__(daemon=True)
        self.folder = folder
        self.name = name
        self.over = threading.Event()
        (folder / "up").mkdir(exist_ok=True)

    def run(self):
        number = 0
        while not self.over.wait(EVERY_SECONDS):
            number += 1
            text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings(number).items())
            text += 'disk = "100 GiB"\nqueue_bytes = "50 GiB"\n'
            text += f'[upstreams.u]\nurl = "file://{self.folder}/up"\nmode = "{("read-write", "read-only")[number % 2]}"\n'
            text += f'[namespaces.other]\nupstream = "u"\nprefix = "p{number % 5}"\n'
            (self.folder / "new.toml").write_text(text)
            os.replace(self.folder / "new.toml", self.folder / self.name)

    def end(self):
        """Leaves the last one to be applied before anything is asked."""
        self.over.set()
        self.join()
