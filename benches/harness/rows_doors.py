"""Rows of the doors of Azure Blob and of S3: lage and sccache through Larder and straight at the store that stands
behind it, and an upload in parts that is far larger than memory."""

import http.client
import shutil
import statistics

from .multipart import Object, check
from .rows_alone import resting_bytes
from .rows_tools import Times, check_outputs, sources
from .sccache import Sccache
from .servers import KEY, Larder
from .stores import Azurite, Weed
from .table import Line, verdict
from .tools import Lage, tool

MIB, GIB = 1 << 20, 1 << 30

# What section 9 of the design allows above rest: the pools of drafts' and of uploads' buffers.
POOLS_MIB = 32 + 64


def lage(plan):
    """All targets of a workspace as remote hits, lage's own cache empty, straight at azurite and through Larder before
    the same azurite, which has them from lage itself. Times are lage's own, of each target."""
    folder = plan.folder("lage")
    workspace = Lage(folder, plan.of(50, 10))
    azurite = Azurite(folder / "azurite").start()
    straight = azurite.connection_string(), azurite.container
    workspace.build(*straight, expected="success")

    over_ms, first_ms, straight_ms = [], [], []
    for number in range(plan.of(9, 1)):
        # A new one, which has to ask azurite first.
        larder = Larder(folder / f"larder-{number}", upstream=azurite.url()).start()
        through = larder.token("--azure", "cache"), "cache"
        first = workspace.build(*through, expected="skipped")
        check_hits(larder, upstream=workspace.targets)
        turns = [straight, through] if number % 2 == 0 else [through, straight]
        seen = {turn: workspace.build(*turn, expected="skipped") for turn in turns}
        straight_ms += seen[straight].values()
        over_ms += [ms - seen[straight][package] for package, ms in seen[through].items()]
        first_ms += [ms - seen[straight][package] for package, ms in first.items()]
        check_hits(larder, upstream=workspace.targets, here=workspace.targets)
        larder.stop()
    azurite.kill()
    over, first = statistics.median(over_ms), statistics.median(first_ms)
    yield Line(
        f"lage {workspace.version()} (cacheStorageConfig), {workspace.targets} targets, all remote hits, "
        f"a target, over azurite ({statistics.median(straight_ms):.1f} ms)",
        f"{over:+.1f} ms", owed="2 ms", met=verdict(over <= 2),
    )  # fmt: skip
    yield Line("… which Larder has to fetch from azurite first", f"{first:+.1f} ms")


def check_hits(larder, upstream, here=0):
    """That lage has asked Larder for each target, once in each run, and where that had it from."""
    azure = larder.stats()["protocols"]["azure"]
    seen = {"upstream": azure["hits"].pop("upstream"), "here": sum(azure["hits"].values()), "misses": azure["misses"]}
    expected = {"upstream": upstream, "here": here, "misses": 0}
    if seen != expected:
        raise SystemExit(f"benches/run: lage's targets at Larder: {seen}, expected {expected}")


def sccache(plan):
    """Small C files, all hits, through Larder and straight at the SeaweedFS behind it, which sccache has filled. The
    first time through Larder, which has to fetch them, is not measured."""
    tool("sccache")
    folder, count = plan.folder("sccache"), plan.of(500, 30)
    weed = Weed(folder / "weed").start()
    larder = Larder(folder / "larder", upstream=weed.url()).start()
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY}
    straight = {"SCCACHE_BUCKET": weed.bucket} | keys
    compilers = {
        "weed": Sccache(folder / "over-weed", f"http://127.0.0.1:{weed.port}", straight).start(),
        "larder": Sccache(
            folder / "over-larder", f"http://127.0.0.1:{larder.port}/s3",
            {"SCCACHE_BUCKET": "sccache", "SCCACHE_S3_NO_CREDENTIALS": "true"},
        ).start(),
    }  # fmt: skip
    files = sources(folder / "sources", count)
    Times({"weed": compilers["weed"]}).take(files)
    compilers["weed"].check(writes=count)
    Times({"larder": compilers["larder"]}).take(files)
    compilers["larder"].check(hits=count)

    hits = Times(compilers)
    for _ in range(plan.of(3, 1)):
        hits.take(files)
        for compiler in compilers.values():
            compiler.check(hits=count)
        check_outputs(files, compilers)
    version = compilers["larder"].version()
    for server in (*compilers.values(), larder, weed):
        server.kill()
    ratio = hits.median(lambda of: of["weed"] / of["larder"])
    # As printed: two that are equally fast differ in the third place.
    yield Line(
        f"sccache {version} over S3, {count} C files, all hits, ÷ SeaweedFS ({hits.rate('weed')})",
        f"{hits.rate('larder')}, {ratio:.2f} ×", owed="1.0 ×", met=verdict(round(ratio, 2) >= 1.0),
    )  # fmt: skip


def multipart(plan):
    """One object through the S3 door in parts, then in ranges while it goes on to SeaweedFS, and what memory that needs."""
    folder, size = plan.folder("multipart"), plan.of(5 * GIB, 256 * MIB)
    part_size, range_size, parts_at_once, ranges_at_once = plan.of(64, 8) * MIB, plan.of(80, 8) * MIB, 8, 16
    weed = Weed(folder / "weed").start()
    larder = Larder(folder / "larder", upstream=weed.url(), disk="24 GiB", queue_bytes="8 GiB").start()
    warm = Object(larder, "/s3/bench/warm", 2 * MIB)
    warm.send(MIB, 1)
    warm.read(MIB, 1)
    larder.flush()
    rest_bytes = resting_bytes(larder)

    large = Object(larder, "/s3/bench/large", size)
    sent_s, parts = large.send(part_size, parts_at_once)
    sent_bytes = larder.memory_bytes("VmHWM")
    read_s = large.read(range_size, ranges_at_once)
    larder.flush()
    peak_bytes = larder.memory_bytes("VmHWM")
    check_arrived(weed, "/large", size)
    larder.kill()
    weed.kill()
    # Few files, but many GiB, which no other row is to do without.
    shutil.rmtree(folder)

    over = (peak_bytes - rest_bytes) / MIB
    yield Line(
        f"peak memory over rest, {size // MIB:,} MiB by S3 in {parts} parts, {parts_at_once} at a time, read in "
        f"{ranges_at_once} ranges at a time and sent on to SeaweedFS (when it was here)",
        f"{over:+.0f} MiB ({(sent_bytes - rest_bytes) / MIB:+.0f} MiB)",
        peak=f"{peak_bytes / MIB:.0f}", owed=f"{POOLS_MIB} MiB: the pools", met=verdict(over <= POOLS_MIB),
    )  # fmt: skip
    mib = size / MIB
    yield Line("… upload, download", f"{mib / sent_s:,.0f} MiB/s, {mib / read_s:,.0f} MiB/s")


def check_arrived(weed, path, size):
    """What is upstream has the length, and at its end the bytes, of what was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", weed.filer, timeout=60)
    connection.request("GET", f"/buckets/{weed.bucket}{path}", headers={"Range": f"bytes={size - MIB}-{size - 1}"})
    answer = connection.getresponse()
    if answer.getheader("Content-Range") != f"bytes {size - MIB}-{size - 1}/{size}":
        raise SystemExit(f"benches/run: {path} has not arrived: {answer.status} {answer.headers}")
    check(answer, range(size - MIB, size), path)
    connection.close()
