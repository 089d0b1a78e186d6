"""TLS beside nginx with the same certificate, both with AES-GCM: answers on connections that are open, and handshakes, whole
and resumed."""

import re
import subprocess
import time

from . import drive
from .servers import Larder, Nginx, free_port
from .table import Bound, rate_line

KIB = 1 << 10

# Both take it first: a suite that one has and the other not would be what is compared.
SUITE = "TLS_AES_128_GCM_SHA256"

# As many clients at once as keep the server at work: each is one process on one core.
CLIENTS = 2


class TlsLarder(Larder):
    def __init__(self, folder, certificates):
        self.tls_port = free_port()
        pem = {name: certificates / f"{name}.pem" for name in ("server", "server-key")}
        table = f'[[listeners]]\naddress = "127.0.0.1:{self.tls_port}"\n'
        table += f'certificate = "{pem["server"]}"\nkey = "{pem["server-key"]}"\n'
        super().__init__(folder, tables=table, memory="256 MiB")


class TlsNginx(Nginx):
    def __init__(self, folder, certificates):
        self.tls_port, self.certificates = free_port(), certificates
        super().__init__(folder)

    def command(self):
        command = super().command()
        conf = self.folder / "nginx.conf"
        tls = f"""listen 127.0.0.1:{self.tls_port} ssl;
    ssl_certificate {self.certificates}/server.pem;
    ssl_certificate_key {self.certificates}/server-key.pem;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    ssl_session_cache none;
    ssl_conf_command Ciphersuites {SUITE};
    root """
        conf.write_text(conf.read_text().replace("    root ", "    " + tls, 1))
        return command


def tls(plan):
    certificates = plan.folder("tls-certificates")
    subprocess.run([Larder.binary, "tls", "init", "--dir", certificates], check=True, capture_output=True)
    makers = {"larder": TlsLarder, "nginx": TlsNginx}
    subjects = {
        name: make(plan.folder(f"tls-{name}"), certificates).start()
        for name, make in makers.items()
        if name in plan.subjects
    }
    for server in subjects.values():
        drive.put(server, 1, 4 * KIB)
    figures = drive.in_turn(subjects, plan.rounds, lambda server: answers(server, plan.seconds))
    yield rate_line("hot GET 4 KiB over TLS", figures, "0.9 × nginx", "1.0 ×", [Bound("nginx", 0.9, 1.0)])
    for work, flags in (("TLS handshakes, whole", ["-new"]), ("TLS handshakes, resumed (1.2)", ["-reuse", "-tls1_2"])):
        figures = drive.in_turn(subjects, plan.rounds, lambda server: handshakes(server, plan.seconds, flags))
        yield rate_line(work, figures, "0.8 × nginx", "1.0 ×", [Bound("nginx", 0.8, 1.0)])
    for server in subjects.values():
        server.stop()


def answers(server, seconds):
    url = f"https://127.0.0.1:{server.tls_port}{server.path}00/0"
    script = str(drive.build.ROOT / "benches/harness/names.lua")
    command = ["wrk", f"-t{drive.WRK_THREADS}", f"-c{drive.CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s"]
    return drive.checked(server, [*command, "-s", script, url])


def handshakes(server, seconds, flags):
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{server.tls_port}", "-time", str(seconds), *flags]
    begin = time.monotonic()
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(CLIENTS)]
    said = [client.communicate()[0] for client in clients]
    took = time.monotonic() - begin
    counts = [re.findall(r"(\d+) connections in [\d.]+s", text) for text in said]
    if not all(counts):
        raise SystemExit(f"benches/run: openssl counted no handshakes with {server.name}: {said}")
    return {"requests": sum(int(count[-1]) for count in counts), "seconds": took, "p99_us": 0}
