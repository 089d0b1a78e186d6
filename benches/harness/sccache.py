"""sccache as a compiler launcher: its server, which talks to the bucket, and the client that is asked to compile."""

import json
import time

from . import tools
from .servers import Server

WRITE_SECONDS_MAX = 60
TROUBLES = ("cache_errors", "cache_write_errors", "cache_timeouts", "cache_read_errors", "non_cacheable_compilations")


class Sccache(Server):
    """A server of its own for one bucket, at `settings` (its environment); it has no cache besides."""

    name = "sccache"

    def __init__(self, folder, endpoint, settings):
        super().__init__(folder)
        self.binary, self.endpoint = tools.tool("sccache"), endpoint
        self.store = {"SCCACHE_ENDPOINT": endpoint, "SCCACHE_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"} | settings

    def command(self):
        return [self.binary]

    def environment(self):
        return self.client() | self.store | {"SCCACHE_START_SERVER": "1", "SCCACHE_NO_DAEMON": "1"}

    def client(self):
        own = {"SCCACHE_SERVER_PORT": str(self.port), "SCCACHE_CONF": str(self.folder / "none.toml")}
        return tools.environment(self.folder) | own | {"SCCACHE_IDLE_TIMEOUT": "0"}

    def version(self):
        return tools.run([self.binary, "--version"], self.client(), self.folder).split()[-1]

    def compile(self, source, output):
        """Seconds of one compilation."""
        begin = time.perf_counter()
        tools.run([self.binary, "cc", "-c", source, "-o", output], self.client(), source.parent)
        return time.perf_counter() - begin

    def check(self, hits=0, writes=0):
        """That all since the last check were so many hits and, written behind the compiler, so many misses, and that
        nothing went wrong."""
        deadline = time.monotonic() + WRITE_SECONDS_MAX
        expected = {"cache_hits": hits, "cache_misses": writes, "cache_writes": writes}
        while (seen := self.counters()) != expected | dict.fromkeys(TROUBLES, 0):
            if seen["cache_writes"] == writes or time.monotonic() > deadline:
                raise SystemExit(f"benches/run: sccache over {self.endpoint}: {seen}, expected {expected}")
            time.sleep(0.05)
        self.ask("--zero-stats")

    def counters(self):
        stats = json.loads(self.ask("--show-stats", "--stats-format", "json"))["stats"]
        of = lambda value: sum(value["counts"].values()) if isinstance(value, dict) else value
        names = ("cache_hits", "cache_misses", "cache_writes", *TROUBLES)
        return {name: of(stats.get(name, 0)) for name in names}

    def ask(self, *words):
        return tools.run([self.binary, *words], self.client(), self.folder)
