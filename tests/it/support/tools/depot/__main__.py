"""A cache of the Remote Execution API that is as strict as Depot's, over Google's own gRPC.

    python depot HOST:PORT TOKEN_FILE [CERTIFICATE KEY [CLIENT_CA]]

Every call needs `authorization: Bearer TOKEN`, as the file has it now. A result is refused whose action or whose blobs
are not there, and one that has its streams or files inlined. Blobs are asked for by hash and size: another size is
another blob. Each call is a line on standard output: its method, how many blobs it was about, and its status; what of a
batch came or went packed by zstd, one more.

A file `mode` beside TOKEN_FILE has it lie in what batches bring (`longer`, `other`, `bomb`), or take no batch and ask to
wait an hour (`wait`).
"""

import hashlib
import os
import sys
import threading
from concurrent import futures

# The stubs lie in BuildStream's package, which otherwise loads all of BuildStream.
os.environ["_BST_COMPLETION"] = "1"

import grpc  # noqa: E402
import zstandard  # noqa: E402
from google.protobuf import any_pb2  # noqa: E402
from buildstream._protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as api  # noqa: E402
from buildstream._protos.build.bazel.remote.execution.v2 import remote_execution_pb2_grpc as services  # noqa: E402
from buildstream._protos.build.bazel.semver import semver_pb2 as semver  # noqa: E402
from buildstream._protos.google.bytestream import bytestream_pb2 as stream_api  # noqa: E402
from buildstream._protos.google.bytestream import bytestream_pb2_grpc as stream_services  # noqa: E402
from buildstream._protos.google.rpc import status_pb2  # noqa: E402

EMPTY = hashlib.sha256(b"").hexdigest()
BATCH_MAX = 1 << 20
CHUNK = 64 << 10
BOMB = 1 << 28
CODE = grpc.StatusCode

# google.rpc.RetryInfo of 3,600 s, as it is on the wire.
AN_HOUR = b"\x0a\x03\x08\x90\x1c"


class Refused(Exception):
    def __init__(self, code, words):
        super().__init__(words)
        self.code, self.words = code, words


class Cache:
    def __init__(self, token_file):
        self.token_file = token_file
        self.lock = threading.Lock()
        self.blobs = {(EMPTY, 0): b""}
        self.results = {}

    def mode(self):
        try:
            with open(os.path.join(os.path.dirname(self.token_file), "mode"), encoding="utf-8") as file:
                return file.read().strip()
        except FileNotFoundError:
            return ""

    def told(self, data):
        """The bytes of a blob, or what it says that they are."""
        lies = {"longer": data + b"x", "other": bytes([data[0] ^ 1]) + data[1:], "bomb": bytes(BOMB)}
        return lies.get(self.mode(), data)

    def has(self, digest):
        return (digest.hash, digest.size_bytes) in self.blobs

    def get(self, digest):
        found = self.blobs.get((digest.hash, digest.size_bytes))
        if found is None:
            raise Refused(CODE.NOT_FOUND, "no such blob")
        return found

    def put(self, digest, data):
        if hashlib.sha256(data).hexdigest() != digest.hash or len(data) != digest.size_bytes:
            raise Refused(CODE.INVALID_ARGUMENT, "the bytes don't have this digest")
        with self.lock:
            self.blobs[(digest.hash, digest.size_bytes)] = data


def checked(digest):
    if len(digest.hash) != 64 or digest.size_bytes < 0 or (digest.size_bytes == 0) != (digest.hash == EMPTY):
        raise Refused(CODE.INVALID_ARGUMENT, f"not a digest: {digest.hash}/{digest.size_bytes}")
    return digest


def said(name, count, code):
    print(f"{name} {count} {code.name}", flush=True)


def call(count=lambda request: 1):
    """What every method does first and last."""

    def wrap(method):
        def called(self, request, context):
            code = CODE.OK
            try:
                with open(self.cache.token_file, encoding="utf-8") as file:
                    token = file.read().strip()
                if dict(context.invocation_metadata()).get("authorization") != f"Bearer {token}":
                    raise Refused(CODE.UNAUTHENTICATED, "invalid token")
                return method(self, request, context)
            except Refused as refused:
                code = refused.code
                context.abort(refused.code, refused.words)
            finally:
                said(method.__name__, count(request), code)

        return called

    return wrap


class Capabilities(services.CapabilitiesServicer):
    def __init__(self, cache):
        self.cache = cache

    @call()
    def GetCapabilities(self, request, context):
        return api.ServerCapabilities(
            cache_capabilities=api.CacheCapabilities(
                digest_functions=[api.DigestFunction.SHA256],
                action_cache_update_capabilities=api.ActionCacheUpdateCapabilities(update_enabled=True),
                max_batch_total_size_bytes=BATCH_MAX,
                supported_compressors=[api.Compressor.ZSTD],
                supported_batch_update_compressors=[api.Compressor.ZSTD],
            ),
            low_api_version=semver.SemVer(major=2),
            high_api_version=semver.SemVer(major=2, minor=3),
        )


class Content(services.ContentAddressableStorageServicer):
    def __init__(self, cache):
        self.cache = cache

    @call(lambda request: len(request.blob_digests))
    def FindMissingBlobs(self, request, context):
        missing = [digest for digest in request.blob_digests if not self.cache.has(checked(digest))]
        return api.FindMissingBlobsResponse(missing_blob_digests=missing)

    @call(lambda request: len(request.requests))
    def BatchUpdateBlobs(self, request, context):
        if sum(len(one.data) for one in request.requests) > BATCH_MAX:
            raise Refused(CODE.INVALID_ARGUMENT, "the batch is too large")
        if self.cache.mode() == "wait":
            code = CODE.UNAVAILABLE
            wait = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=AN_HOUR)
            details = status_pb2.Status(code=code.value[0], details=[wait]).SerializeToString()
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
            raise Refused(code, "not now")
        packed = sum(one.compressor == api.Compressor.ZSTD for one in request.requests)
        if packed:
            said("PackedUpdates", packed, CODE.OK)
        response = api.BatchUpdateBlobsResponse()
        for one in request.requests:
            status = status_pb2.Status()
            try:
                data = one.data
                if one.compressor == api.Compressor.ZSTD:
                    data = zstandard.ZstdDecompressor().decompress(data, max_output_size=one.digest.size_bytes)
                self.cache.put(checked(one.digest), data)
            except Refused as refused:
                status = status_pb2.Status(code=refused.code.value[0], message=refused.words)
            response.responses.add(digest=one.digest, status=status)
        return response

    @call(lambda request: len(request.digests))
    def BatchReadBlobs(self, request, context):
        if sum(digest.size_bytes for digest in request.digests) > BATCH_MAX:
            raise Refused(CODE.INVALID_ARGUMENT, "the batch is too large")
        response = api.BatchReadBlobsResponse()
        packs = api.Compressor.ZSTD in request.acceptable_compressors
        if packs:
            said("PackedReads", len(request.digests), CODE.OK)
        for digest in request.digests:
            try:
                data, compressor = self.cache.told(self.cache.get(checked(digest))), api.Compressor.IDENTITY
                if packs:
                    data, compressor = zstandard.ZstdCompressor().compress(data), api.Compressor.ZSTD
                response.responses.add(digest=digest, data=data, compressor=compressor)
            except Refused as refused:
                status = status_pb2.Status(code=refused.code.value[0], message=refused.words)
                response.responses.add(digest=digest, status=status)
        return response


class Results(services.ActionCacheServicer):
    def __init__(self, cache):
        self.cache = cache

    @call()
    def GetActionResult(self, request, context):
        found = self.cache.results.get((request.instance_name, checked(request.action_digest).hash))
        if found is None:
            raise Refused(CODE.NOT_FOUND, "no such result")
        return found

    @call()
    def UpdateActionResult(self, request, context):
        result = request.action_result
        if not self.cache.has(checked(request.action_digest)):
            raise Refused(CODE.FAILED_PRECONDITION, "the action is not in the content store")
        if result.stdout_raw or result.stderr_raw or any(file.contents for file in result.output_files):
            raise Refused(CODE.INVALID_ARGUMENT, "streams and files must not be inlined")
        named = [file.digest for file in result.output_files]
        named += [folder.tree_digest for folder in result.output_directories]
        named += [stream for stream in (result.stdout_digest, result.stderr_digest) if stream.hash]
        if any(not self.cache.has(checked(digest)) for digest in named):
            raise Refused(CODE.FAILED_PRECONDITION, "a blob of the result is not in the content store")
        with self.cache.lock:
            self.cache.results[(request.instance_name, request.action_digest.hash)] = result
        return result


def resource(name, uploads):
    parts = name.split("/")
    at = next((at for at, part in enumerate(parts) if part in ("blobs", "compressed-blobs", "uploads")), len(parts))
    rest = parts[at:]
    if uploads:
        if len(rest) < 5 or rest[0] != "uploads":
            raise Refused(CODE.INVALID_ARGUMENT, f"not an upload: {name}")
        rest = rest[2:]
    zstd = rest[:2] == ["compressed-blobs", "zstd"]
    rest = rest[2:] if zstd else rest[1:]
    if len(rest) < 2 or not rest[1].isdigit():
        raise Refused(CODE.INVALID_ARGUMENT, f"not a blob: {name}")
    return checked(api.Digest(hash=rest[0], size_bytes=int(rest[1]))), zstd


class Stream(stream_services.ByteStreamServicer):
    def __init__(self, cache):
        self.cache = cache

    @call()
    def Read(self, request, context):
        digest, zstd = resource(request.resource_name, False)
        data = self.cache.get(digest)[request.read_offset :]
        if request.read_limit:
            data = data[: request.read_limit]
        if zstd:
            data = zstandard.ZstdCompressor().compress(data)
        return (stream_api.ReadResponse(data=data[at : at + CHUNK]) for at in range(0, len(data), CHUNK))

    @call()
    def Write(self, requests, context):
        name, data, finished = None, bytearray(), False
        for request in requests:
            name = name or request.resource_name
            if request.write_offset != len(data):
                raise Refused(CODE.INVALID_ARGUMENT, f"offset {request.write_offset} after {len(data)} bytes")
            data += request.data
            finished = request.finish_write
        if not finished:
            raise Refused(CODE.INVALID_ARGUMENT, "the write was not finished")
        digest, zstd = resource(name, True)
        received = len(data)
        if zstd:
            data = zstandard.ZstdDecompressor().decompressobj().decompress(bytes(data))
        self.cache.put(digest, bytes(data))
        return stream_api.WriteResponse(committed_size=received)


def main(address, token_file, certificate=None, key=None, client_ca=None):
    cache = Cache(token_file)
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=[("grpc.so_reuseport", 0)])
    services.add_CapabilitiesServicer_to_server(Capabilities(cache), server)
    services.add_ContentAddressableStorageServicer_to_server(Content(cache), server)
    services.add_ActionCacheServicer_to_server(Results(cache), server)
    stream_services.add_ByteStreamServicer_to_server(Stream(cache), server)
    if certificate:
        read = lambda path: open(path, "rb").read()  # noqa: E731
        credentials = grpc.ssl_server_credentials(
            [(read(key), read(certificate))], read(client_ca) if client_ca else None, client_ca is not None
        )
        server.add_secure_port(address, credentials)
    else:
        server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(*sys.argv[1:])
