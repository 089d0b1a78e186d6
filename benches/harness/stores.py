"""The stores that stand behind Larder and that a client reaches straight as well: SeaweedFS and azurite."""

import base64
import hmac
import json
import os
import urllib.parse

from . import tools
from .servers import AZURE_KEY, KEY, Server, fetch, free_port


class Weed(Server):
    """SeaweedFS as a bucket behind S3, in one process, with keys; volumes of 1 GiB."""

    name = "weed"
    bucket = "bench"

    def __init__(self, folder):
        super().__init__(folder)
        self.binary = tools.tool("weed")
        # Each port but S3's own, and that of gRPC beside each.
        self.ports = {name: (free_port(), free_port()) for name in ("s3", "master", "volume", "filer", "admin")}
        self.port, self.filer = self.ports["s3"][0], self.ports["filer"][0]

    def command(self):
        folder = self.folder.resolve()
        (folder / "data").mkdir(exist_ok=True)
        rights = ["Admin", "Read", "Write", "List", "Tagging"]
        keys = [{"accessKey": KEY, "secretKey": KEY}]
        identities = {"identities": [{"name": KEY, "credentials": keys, "actions": rights}]}
        (folder / "keys.json").write_text(json.dumps(identities))
        words = ["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", "-s3.iam=false"]
        words += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-master.volumeSizeLimitMB=1024"]
        words += [f"-bucket={self.bucket}", f"-dir={folder}/data", f"-s3.config={folder}/keys.json"]
        for name, (port, grpc) in self.ports.items():
            words += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
        return [self.binary, *words]

    def environment(self):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        return clean | {"HOME": str(self.folder.resolve())}

    def answers(self):
        """Strangers are refused before the bucket is made; the filer, which knows no keys, shows when it is there."""
        there = fetch(self.filer, f"/buckets/{self.bucket}/?limit=1")[0] == 200
        return there and fetch(self.port, f"/{self.bucket}")[0] == 403

    def stop(self):
        """It stays alive for seconds after SIGTERM."""
        self.kill()

    def url(self):
        return f"s3://{self.bucket}?endpoint=http://127.0.0.1:{self.port}&region=us-east-1"


class Azurite(Server):
    """Azure's own emulator with one container."""

    name = "azurite"
    account, container = "acme", "bench"

    def __init__(self, folder):
        super().__init__(folder)
        self.binary = tools.tool("azurite")

    def command(self):
        words = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--blobHost", "127.0.0.1"]
        return [self.binary, *words, "--blobPort", str(self.port), "--location", self.folder / "data"]

    def environment(self):
        own = {"HOME": str(self.folder.resolve()), "AZURITE_ACCOUNTS": f"{self.account}:{AZURE_KEY}"}
        return dict(os.environ) | own

    def start(self):
        super().start()
        words = sas(self.account)
        made = fetch(self.port, f"/{self.account}/{self.container}?restype=container&{words}", "PUT")
        if made[0] != 201:
            raise SystemExit(f"benches/run: azurite made no container: {made}")
        return self

    def answers(self):
        return fetch(self.port, f"/{self.account}")[0] is not None

    def connection_string(self):
        place = f"BlobEndpoint=http://127.0.0.1:{self.port}/{self.account}"
        return f"DefaultEndpointsProtocol=http;AccountName={self.account};AccountKey={AZURE_KEY};{place};"

    def url(self):
        place = f"http://127.0.0.1:{self.port}/{self.account}"
        return f"azure://{self.container}?account={self.account}&endpoint={place}"


def sas(account):
    """A signature that lets its bearer make a container."""
    version, rights, end = "2018-11-09", "rwdlac", "2099-01-01T00:00:00Z"
    signed = f"{account}\n{rights}\nb\nsco\n\n{end}\n\n\n{version}\n".encode()
    signature = base64.b64encode(hmac.digest(base64.b64decode(AZURE_KEY), signed, "sha256")).decode()
    return urllib.parse.urlencode({"sv": version, "ss": "b", "srt": "sco", "sp": rights, "se": end, "sig": signature})
