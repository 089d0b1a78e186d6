"""Rows of the real build tools: what a person who builds with them would notice."""

import statistics

from . import drive
from .rows_http import REFUSED, check_queue
from .servers import Control, Larder, Nginx
from .table import Line, verdict
from .tools import Ccache, Nx

KIB = 1 << 10

# What the kernel waits before it acknowledges by itself (TCP_DELACK_MIN).
DELAYED_ACK_MS = 40


def ccache(plan):
    """Small C files through each ccache: compiled cold over no remote, Larder and nginx's DAV, then as remote hits."""
    for name in ("ccache-system", "ccache"):
        folder = plan.folder(name)
        larder = Larder(folder / "larder", upstream=REFUSED).start()
        nginx = Nginx(folder / "nginx").start()
        stores = {"none": None} | {server.name: f"http://127.0.0.1:{server.port}/ccache" for server in (larder, nginx)}
        compilers = {store: Ccache(name, folder / f"over-{store}", url) for store, url in stores.items()}
        title = f"ccache {compilers['none'].version()}, {plan.of(200, 20)} C files"

        cold = Times(compilers)
        for number in range(plan.of(2, 1)):
            files = sources(folder / f"round-{number}", plan.of(200, 20))
            for compiler in compilers.values():
                compiler.forget()
            cold.take(files)
            for store, compiler in compilers.items():
                written = {} if store == "none" else {"remote_storage_write": 2 * len(files)}
                compiler.check(cache_miss=len(files), **written)
        check_queue(larder, 2 * plan.of(200, 20) * plan.of(2, 1))

        hits = Times({store: compilers[store] for store in ("larder", "nginx")}, remote_only=True)
        for _ in range(plan.of(3, 1)):
            for compiler in hits.compilers.values():
                compiler.forget()
            hits.take(files)
            for compiler in hits.compilers.values():
                compiler.check(direct_cache_hit=len(files), remote_storage_read_hit=2 * len(files))
            check_outputs(files, stores)
        larder.kill()
        nginx.stop()

        ratio = hits.median(lambda of: of["nginx"] / of["larder"])
        # As printed: two that are equally fast differ in the third place.
        yield Line(
            f"{title}, all remote hits", hits.rate("larder"), nginx=hits.rate("nginx"),
            over_nginx=f"{ratio:.2f}", owed="1.0 × nginx", met=verdict(round(ratio, 2) >= 1.0),
        )  # fmt: skip
        over = {store: cold.median(lambda of: of[store] - of["none"]) * 1000 for store in ("larder", "nginx")}
        yield Line(
            f"… compiled cold, a file, over no remote ({cold.median(lambda of: of['none']) * 1000:.1f} ms)",
            f"{over['larder']:+.1f} ms", nginx=f"{over['nginx']:+.1f} ms", owed="3 ms", met=verdict(over["larder"] <= 3),
        )  # fmt: skip


class Times:
    """Seconds of each file with each compiler. They take turns file by file, so that whatever else the machine does
    hits all of them; what is compared is compared within a file."""

    def __init__(self, compilers, **options):
        self.compilers, self.options = compilers, options
        self.files = []

    def take(self, files):
        stores = list(self.compilers)
        for number, file in enumerate(files):
            shift = number % len(stores)
            self.files.append({
                store: self.compilers[store].compile(file, output(file, store), **self.options)
                for store in stores[shift:] + stores[:shift]
            })  # fmt: skip

    def median(self, what):
        return statistics.median(map(what, self.files))

    def rate(self, store):
        """Files per second; after it half of the range in which the middle half of them lie."""
        low, middle, high = statistics.quantiles(1 / of[store] for of in self.files)
        return f"{middle:,.0f}/s ±{(high - low) / 2 / middle * 100:.0f}%"


def sources(folder, count):
    """C files that nobody has compiled yet: their folder's name is in them."""
    folder.mkdir(parents=True)
    files = [folder / f"f{number}.c" for number in range(count)]
    for file in files:
        file.write_text(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"
            f"char *{file.stem}(const char *name) {{\n"
            f'    static const char of[] = "{folder.name}/{file.stem}";\n'
            "    char *text = malloc(strlen(name) + sizeof of + 2);\n"
            '    if (text) sprintf(text, "%s %s", of, name);\n    return text;\n}\n'
        )
    return files


def output(file, store):
    return file.with_name(f"{file.stem}.{store}.o")


def check_outputs(files, stores):
    """Whatever came back must be what the compiler made."""
    for file in files:
        if len({output(file, store).read_bytes() for store in stores}) != 1:
            raise SystemExit(f"benches/run: {file} has another object with another store")


def two_writes(plan):
    """PUTs whose head and body are written apart with Nagle's algorithm on, as ccache's HTTP library does: the client
    keeps the body until the head is acknowledged, the kernel's acknowledgement waits 40 ms for an answer to ride on.
    The control and nginx leave it at that."""
    makers = {"larder": lambda folder: Larder(folder, upstream=REFUSED), "control": Control, "nginx": Nginx}
    servers = {name: makers[name](plan.folder(f"writes-{name}")).start() for name in plan.subjects}
    ms = {name: [] for name in servers}
    count = plan.of(100, 25)
    for number in range(plan.rounds):
        for name, server in servers.items():
            seen = drive.put(server, count, 4 * KIB, first=number * count, connections=1, writes=2)
            ms[name].append((seen["p50_us"] / 1000, seen["p99_us"] / 1000))
    for server in servers.values():
        server.stop()
    middle = {name: tuple(map(statistics.median, zip(*rounds))) for name, rounds in ms.items()}
    met = verdict(middle["larder"][1] < DELAYED_ACK_MS) if "larder" in middle else ""
    yield Line(
        "PUT 4 KiB in two writes, with Nagle's delay: median (p99)",
        **{name: f"{p50:.2f} ms ({p99:.2f} ms)" for name, (p50, p99) in middle.items()},
        owed=f"p99 under {DELAYED_ACK_MS} ms", met=met,
    )  # fmt: skip


def nx(plan):
    """All tasks of a workspace restored from Larder, against Nx's own local cache folder."""
    workspace = Nx(plan.folder("nx"), plan.of(200, 20))
    larder = Larder(plan.folder("nx-larder")).start()
    base = f"http://127.0.0.1:{larder.port}"
    workspace.build("cache-miss", base)
    pairs = []
    for number in range(plan.of(5, 1)):
        workspace.forget()
        # What the remote run brings is what the local one finds.
        remote = workspace.build("remote-cache-hit", base)
        pairs.append((remote, workspace.build("local-cache-hit")))
    larder.stop()
    remote_ms, local_ms, over_ms = (
        statistics.median(pairs_ms) * 1000 / workspace.tasks
        for pairs_ms in ([r for r, _ in pairs], [l for _, l in pairs], [r - l for r, l in pairs])
    )
    yield Line(
        f"Nx, {workspace.tasks} tasks, all remote hits, a task (all local)",
        f"{remote_ms:.1f} ms ({local_ms:.1f} ms), {over_ms:+.1f} ms", owed="local + 10 ms", met=verdict(over_ms <= 10),
    )  # fmt: skip
