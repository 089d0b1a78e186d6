"""The real build tools that a row times, each in a folder of its own and knowing nothing of the person who runs it.

A tool says what it did (its own counters, its own report); a run that did something else than the row is about ends
the benchmark, for its figure would mean nothing."""

import collections
import json
import os
import pathlib
import shutil
import subprocess
import time

from . import build


class Missing(Exception):
    """A tool isn't installed: its row can't be measured, the others can."""


def tool(name):
    path = pathlib.Path(os.environ.get("LARDER_TEST_TOOLS", build.ROOT / "tests/.tools")) / "bin" / name
    if not path.exists():
        raise Missing(f"not measured: {name} is missing, `tests/run --tools` installs it")
    return path


class Ccache:
    """One ccache before the system's C compiler, with a local cache of its own, and remote storage if there is any."""

    def __init__(self, name, folder, storage=None):
        self.program, self.folder, self.storage = tool(name), folder, storage
        self.generation = 0
        self.forget()

    def version(self):
        words = run([self.program, "--version"], self.environment(), self.folder).split()
        return words[words.index("version") + 1]

    def forget(self):
        """An empty local cache: a new folder, because deleting many files slows ext4 down for everybody."""
        self.generation += 1
        self.cache = self.folder / f"local-{self.generation}"
        self.cache.mkdir(parents=True)

    def compile(self, source, output, remote_only=False):
        """Seconds of one compilation."""
        environment = self.environment() | ({"CCACHE_REMOTE_ONLY": "1"} if remote_only else {})
        begin = time.perf_counter()
        run([self.program, "cc", "-c", source, "-o", output], environment, source.parent)
        return time.perf_counter() - begin

    def environment(self):
        # It gives a connection 100 ms, which a loaded machine may take.
        remote = {"CCACHE_REMOTE_STORAGE": f"{self.storage}|connect-timeout=10000"} if self.storage else {}
        return environment(self.folder) | {"CCACHE_DIR": str(self.cache), "CCACHE_CONFIGPATH": "/dev/null"} | remote

    def check(self, **expected):
        """That these of its counters are what they must be since the local cache was new, and none of its errors."""
        printed = run([self.program, "--print-stats"], self.environment(), self.folder).splitlines()
        counters = {name: int(value) for name, value in (line.split("\t") for line in printed)}
        expected |= {"remote_storage_error": 0, "remote_storage_timeout": 0}
        seen = {name: counters.get(name, 0) for name in expected}
        if seen != expected:
            raise SystemExit(f"benches/run: {self.program.name} over {self.storage}: {seen}, expected {expected}")


class Nx:
    """A workspace of small packages, each with one task of a second's fraction."""

    REPORT = ".nx/cache/run.json"

    def __init__(self, folder, tasks):
        self.program, self.folder, self.tasks = tool("nx"), folder, tasks
        self.root = folder / "workspace"
        self.packages = [self.root / "packages" / f"p{number}" for number in range(tasks)]
        self.write("package.json", json.dumps({"name": "w", "private": True}))
        target = {"cache": True, "inputs": ["{projectRoot}/**/*"], "outputs": ["{projectRoot}/dist"]}
        settings = {"neverConnectToCloud": True, "analytics": False, "targetDefaults": {"build": target}}
        self.write("nx.json", json.dumps(settings))
        self.write(".gitignore", "node_modules\ndist\n.nx\n")
        for package in self.packages:
            command = {"command": "mkdir -p dist && cp source dist/output", "cwd": f"packages/{package.name}"}
            project = {"name": package.name, "targets": {"build": {"executor": "nx:run-commands", "options": command}}}
            self.write(package / "project.json", json.dumps(project))
            self.write(package / "source", f"{package.name}\n" * 200)
        (self.root / "node_modules").symlink_to(self.program.parent.parent / "node_modules")
        commit(folder, self.root)

    def write(self, path, text):
        write(self.root / path, text)

    def build(self, expected, base=None):
        """Seconds of a run of all tasks, whose outputs are gone before, each of which must be `expected` in its report:
        "remote-cache-hit", "local-cache-hit" or "cache-miss"."""
        for package in self.packages:
            shutil.rmtree(package / "dist", ignore_errors=True)
        remote = {"NX_SELF_HOSTED_REMOTE_CACHE_SERVER": base, "NO_PROXY": "127.0.0.1"} if base else {}
        # Where it keeps its cache by itself depends on where the workspace lies.
        cache = {"NX_CACHE_DIRECTORY": str((self.root / self.REPORT).parent)}
        settings = environment(self.folder) | {"NX_DAEMON": "false", "NX_NO_CLOUD": "true"} | cache | remote
        begin = time.perf_counter()
        run([self.program, "run-many", "-t", "build", "--outputStyle=static"], settings, self.root)
        seconds = time.perf_counter() - begin
        report = json.loads((self.root / self.REPORT).read_text())
        seen = collections.Counter(task["cacheStatus"] for task in report["tasks"])
        if seen != {expected: self.tasks}:
            raise SystemExit(f"benches/run: nx reports {dict(seen)}, expected {expected} of all {self.tasks}")
        for package in self.packages:
            if (package / "dist/output").read_bytes() != (package / "source").read_bytes():
                raise SystemExit(f"benches/run: nx restored something else for {package.name}")
        return seconds

    def forget(self):
        """Without what it has cached; it keeps what it knows of the workspace."""
        shutil.rmtree(self.root / ".nx/cache")
        shutil.rmtree(self.folder / ".nx", ignore_errors=True)


class Lage:
    """A workspace of small packages with one target each, which depend on nothing. It is told of its remote cache in
    lage.config.js (`cacheStorageConfig`), the way in which it has a cache of its own before it."""

    # The reporters that come with it round to 10 ms.
    REPORTER = """module.exports = class {
  log() {}
  summarize({ targetRuns }) {
    const runs = [...targetRuns.values()].filter((run) => run.target.packageName);
    const seen = runs.map((run) => [run.target.packageName, run.status, run.duration[0] * 1e3 + run.duration[1] / 1e6]);
    console.log(JSON.stringify(seen));
  }
};
"""
    CONFIG = """module.exports = {
  npmClient: "npm",
  pipeline: { build: { outputs: ["lib/**"] } },
  cacheOptions: { cacheStorageConfig: JSON.parse(process.env.BENCH_STORAGE) },
  reporters: { exact: "./exact.js" },
};
"""

    def __init__(self, folder, targets):
        self.program, self.folder, self.targets = tool("lage"), folder, targets
        self.root = folder / "workspace"
        self.packages = [self.root / "packages" / f"p{number}" for number in range(targets)]
        root = {"name": "w", "workspaces": ["packages/*"]}
        links = {f"node_modules/{at.name}": {"resolved": f"packages/{at.name}", "link": True} for at in self.packages}
        members = {f"packages/{at.name}": {"version": "1.0.0"} for at in self.packages}
        lock = {"name": "w", "lockfileVersion": 3, "requires": True, "packages": {"": root} | links | members}
        self.write("package.json", json.dumps(root | {"private": True, "packageManager": "npm@10.0.0"}))
        self.write("package-lock.json", json.dumps(lock))
        self.write("lage.config.js", self.CONFIG)
        self.write("exact.js", self.REPORTER)
        self.write(".gitignore", "node_modules\nlib\n")
        for package in self.packages:
            project = {"scripts": {"build": "mkdir -p lib && cp source lib/output"}}
            self.write(package / "package.json", json.dumps({"name": package.name, "version": "1.0.0"} | project))
            self.write(package / "source", f"{package.name}\n" * 200)
        commit(folder, self.root)

    def write(self, path, text):
        write(self.root / path, text)

    def version(self):
        return json.loads((self.program.resolve().parents[1] / "package.json").read_text())["version"]

    def build(self, string, container, expected):
        """Milliseconds of each target, by its package, in a run of all, one after the other. Outputs and what lage has
        cached itself are gone before, so that a target which is "skipped" can only come from the remote cache;
        "success" is one that ran. Each must be `expected`, and its output what it should be."""
        shutil.rmtree(self.root / "node_modules", ignore_errors=True)
        for package in self.packages:
            shutil.rmtree(package / "lib", ignore_errors=True)
        storage = {"provider": "azure-blob", "options": {"connectionString": string, "container": container}}
        settings = environment(self.folder) | {
            "BENCH_STORAGE": json.dumps(storage), "LAGE_WRITE_CACHE": "true", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip
        words = ["build", "--reporter", "exact", "--concurrency", "1"]
        report = json.loads(run(["node", self.program, *words], settings, self.root).splitlines()[-1])
        seen = collections.Counter(status for _, status, _ in report)
        if seen != {expected: self.targets}:
            raise SystemExit(f"benches/run: lage reports {dict(seen)}, expected {expected} of all {self.targets}")
        for package in self.packages:
            if (package / "lib/output").read_bytes() != (package / "source").read_bytes():
                raise SystemExit(f"benches/run: lage restored something else for {package.name}")
        return {package: ms for package, _, ms in report}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(home, root):
    """Makes a repository of `root`: Nx and lage hash with git."""
    identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.invalid"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-q", "-m", "sources"]):
        run(["git", *words], environment(home), root)


def environment(home):
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}


def run(command, environment, cwd):
    """Runs a tool to its end, which must be a good one; returns what it printed."""
    ended = subprocess.run(
        list(map(str, command)), env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if ended.returncode != 0:
        raise SystemExit(f"benches/run: {' '.join(map(str, command))} ended with {ended.returncode}: {ended.stdout[-1000:]}")
    return ended.stdout
