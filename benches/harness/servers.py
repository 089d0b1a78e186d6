"""The subjects of a run as child processes: Larder, the control, nginx, casd, and the far origin. Each listens on a free
loopback port, keeps its files in a folder of its own and is stopped by the run that started it."""

import atexit
import base64
import json
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

from . import build, tools

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 60
FLUSH_SECONDS_MAX = 600
WORKERS = len(os.sched_getaffinity(0))
OPEN_FILES_MAX = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 100_000)

# Larder's settings for a row in which its memory tier has no part.
NO_MEMORY = {"memory": "0 B", "memory_entry_max": "0 B"}

# What opens each store behind Larder: S3's id and secret, and Azure's secret as it is written.
KEY = "bench"
AZURE_KEY = base64.b64encode(KEY.encode()).decode()

_running = []


def end_all():
    for server in list(_running):
        server.kill()


atexit.register(end_all)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A process with a port. `path` is where its objects are put and found."""

    name = ""
    path = "/"
    host = "127.0.0.1"

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.process = None

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def launch(self):
        """Executes the program and returns at once."""
        log = open(self.folder / f"{self.name}.log", "ab")
        self.process = subprocess.Popen(
            self.command(), env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        _running.append(self)

    def start(self):
        self.launch()
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"benches/run: {self.name} did not start; its log: {self.log_end()}")
            time.sleep(0.01)
        return self

    def answers(self):
        try:
            with socket.create_connection((self.host, self.port), timeout=1):
                return True
        except OSError:
            return False

    def stop(self):
        """Stops it in order; returns the seconds that took."""
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"benches/run: {self.name} did not stop in {STOP_SECONDS_MAX} s")
        _running.remove(self)
        return time.monotonic() - begin

    def kill(self):
        """`kill -9`, its children with it."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        if self in _running:
            _running.remove(self)

    def pids(self):
        """The process and its children (nginx works in those)."""
        pid = self.process.pid
        try:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return []
        return [pid, *map(int, children)]

    def cpu_seconds(self):
        total = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory_bytes(self, which="VmRSS"):
        """Resident memory now (`VmRSS`) or at its highest (`VmHWM`), summed over the processes."""
        total = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(which + ":"):
                    total += int(line.split()[1]) * 1024
        return total

    def log_end(self):
        return (self.folder / f"{self.name}.log").read_text(errors="replace")[-2000:]


class Larder(Server):
    name = "larder"
    path = "/blob/bench/"
    binary = None

    def __init__(self, folder, upstream=None, tables="", **settings):
        super().__init__(folder)
        self.upstream = upstream
        # Room for everything that a row writes: what happens at the bounds is no row's subject.
        bounds = {"disk": "100 GiB", "queue_bytes": "50 GiB", "queue_entries": 10_000_000} | settings
        config = "".join(f"{key} = {json.dumps(value)}\n" for key, value in bounds.items())
        (self.folder / "larder.toml").write_text(config + tables)

    def command(self):
        words = [self.binary, "serve", "--dir", self.folder / "dir", "--listen", f"127.0.0.1:{self.port}"]
        words += ["--config", self.folder / "larder.toml"]
        return words + (["--upstream", self.upstream] if self.upstream else [])

    def environment(self):
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("LARDER_", "AWS_", "AZURE_"))}
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY, "AZURE_STORAGE_KEY": AZURE_KEY}
        return clean | keys | {"NO_PROXY": "127.0.0.1"}

    def answers(self):
        return fetch(self.port, "/-/readyz")[0] == 200

    def token(self, *words):
        """A credential that opens its door of S3 or of Azure Blob."""
        endpoint = ["--endpoint", f"http://127.0.0.1:{self.port}"] if "--azure" in words else []
        return self.ask("token", "new", *words, "--read-write", *endpoint).strip()

    def flush(self):
        """Waits until all that is queued is upstream."""
        self.ask("flush", "--timeout", f"{FLUSH_SECONDS_MAX} s")

    def ask(self, *words):
        """What one of its commands prints; what it says besides goes into its log."""
        with open(self.folder / f"{self.name}.log", "ab") as log:
            command = [self.binary, *words, "--dir", self.folder / "dir"]
            ended = subprocess.run(
                command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        if ended.returncode != 0:
            raise SystemExit(f"benches/run: larder {words[0]} ended with {ended.returncode}: {self.log_end()}")
        return ended.stdout

    def stats(self):
        return json.loads(fetch(self.port, "/-/stats")[1])


class Control(Server):
    name = "control"
    path = "/blob/bench/"
    binary = None

    def __init__(self, folder, sizes=()):
        super().__init__(folder)
        self.sizes = sizes

    def command(self):
        sizes = ["--sizes", ",".join(map(str, self.sizes))] if self.sizes else []
        return [self.binary, "--port", str(self.port), *sizes]


class Nginx(Server):
    """Debian's nginx as one would tune it for this work: as many workers as cores, sendfile, every file that a row
    names held open by `open_file_cache` (it stats none again), no access log, connections that are never closed,
    DAV for PUT with its temporary files on the same filesystem."""

    name = "nginx"
    path = "/blob/bench/"

    def command(self):
        (self.folder / "files").mkdir(exist_ok=True)
        (self.folder / "nginx.conf").write_text(f"""
daemon off;
pid {self.folder}/nginx.pid;
error_log {self.folder}/nginx.log warn;
worker_processes {WORKERS};
worker_rlimit_nofile {OPEN_FILES_MAX};
{"user root;" if os.geteuid() == 0 else ""}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  open_file_cache max={OPEN_FILES_MAX * 3 // 4} inactive=1h;
  open_file_cache_valid 1h;
  client_max_body_size 0;
  client_body_temp_path {self.folder}/body;
  proxy_temp_path {self.folder}/unused; fastcgi_temp_path {self.folder}/unused;
  uwsgi_temp_path {self.folder}/unused; scgi_temp_path {self.folder}/unused;
  server {{
    listen 127.0.0.1:{self.port};
    root {self.folder}/files;
    location / {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
""")
        return ["nginx", "-e", f"{self.folder}/nginx.log", "-c", f"{self.folder}/nginx.conf"]

    def environment(self):
        return dict(os.environ) | {"PATH": build.search_path()}


class Casd(Server):
    """BuildBox's local CAS and action cache as it comes, without a remote."""

    name = "casd"

    def __init__(self, folder):
        super().__init__(folder)
        self.binary = tools.tool("buildbox-casd")

    def command(self):
        return [self.binary, f"--bind=127.0.0.1:{self.port}", self.folder / "files"]


class Given(Server):
    """A server of the Remote Execution API that somebody else started and stops; of its process nothing is known."""

    def __init__(self, folder, address):
        super().__init__(folder)
        self.name, _, place = address.partition("=")
        self.host, _, port = place.rpartition(":")
        self.port = int(port)

    def start(self):
        if not self.answers():
            raise SystemExit(f"benches/run: nothing answers for {self.name} at {self.host}:{self.port}")
        return self

    def stop(self):
        return 0

    def kill(self):
        pass

    def pids(self):
        return []

    def log_end(self):
        return f"see the log of {self.name}"


class Origin(Server):
    """The far upstream: `port` is the delaying proxy's, `counts` asks the origin behind it."""

    name = "origin"
    binary = None

    def __init__(self, folder, size=0, down=False):
        super().__init__(folder)
        self.words = ["--size", str(size), *(["--down"] if down else [])]

    def start(self):
        self.process = subprocess.Popen([self.binary, *self.words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        _running.append(self)
        ports = json.loads(self.process.stdout.readline())
        self.port, self.counts_port = ports["proxy"], ports["origin"]
        return self

    def counts(self):
        return json.loads(fetch(self.counts_port, "/counts")[1])

    def url(self):
        return f"s3://bench?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"


class Delay(Server):
    """The way to a server that is so many milliseconds away and back, of any protocol over TCP."""

    name = "delay"

    def __init__(self, folder, server, rtt_ms):
        super().__init__(folder)
        self.words = ["--to", str(server.port), "--rtt-ms", str(rtt_ms)]

    def start(self):
        self.process = subprocess.Popen(
            [Origin.binary, *self.words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        _running.append(self)
        self.port = json.loads(self.process.stdout.readline())["proxy"]
        return self

    def log_end(self):
        return "it keeps no log"


def fetch(port, path, method="GET"):
    """One request without a body on a connection of its own: (status, body), or (None, b"") where nothing answers."""
    length = "" if method == "GET" else "\r\nContent-Length: 0"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stream:
            stream.sendall(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close{length}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    except OSError:
        return None, b""
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), body
    except (IndexError, ValueError):
        return None, b""
