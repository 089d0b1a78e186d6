"""Clients that can't be run here, call by call as they do it: Buck2, newer versions of Bazel, Pants; and bad gRPC."""

import zstandard

import grpc

import expect
from reads import unpack
from server import INVALID_ARGUMENT, MIB, NOT_FOUND, SHA256, UNIMPLEMENTED, api, fresh, pieces, sha256

MAX = 4 * MIB


def buck2(client):
    """Names no function; its messages hold a whole batch's bytes; all streams are compressed, in many frames."""
    client.get_capabilities()
    small, large = fresh(5000), fresh(10 * MIB)
    expect.same("missing", len(client.missing(sha256(small), sha256(large))), 2)
    client.store(small)
    frames = b"".join(zstandard.compress(large[at : at + MIB]) for at in range(0, len(large), MIB))
    name = client.write_name(sha256(large), "zstd")
    committed = client.write(pieces(name, frames, chunk=MAX, repeat=True))
    expect.true(committed in (len(frames), -1), f"committed_size {committed} of {len(frames)} bytes sent")
    action = sha256(fresh(30))
    expect.refused("a miss", NOT_FOUND, lambda: client.get_result(action_digest=action))
    result = {"output_files": [{"path": "a", "digest": sha256(small)}, {"path": "b", "digest": sha256(large)}]}
    for answer in (
        client.update_result(action_digest=action, action_result=result),
        client.get_result(action_digest=action),
    ):
        expect.true(answer.HasField("execution_metadata"), "no execution_metadata")
        expect.true(all(each.HasField("digest") for each in answer.output_files), "an output without its digest")
    expect.same("its bytes", unpack(client.read(client.read_name(sha256(large), "zstd"))), large)
    identity = client.write_name(sha256(large))
    expect.same("again", client.write(pieces(identity, large, chunk=MAX, repeat=True)), len(large))


def newer_bazel(client):
    """Names the function everywhere, compresses what is large, and asks for small files within the result."""
    function = {"digest_function": SHA256}
    metadata = [("build.bazel.remote.execution.v2.requestmetadata-bin", b"\x0a\x07\x0a\x05bazel")]
    out, dep = fresh(3 * MIB), b"a.o: a.c a.h " + fresh(8).hex().encode()
    action, command = fresh(100), fresh(100)
    blobs = [out, dep, action, command, b""]
    asked = [sha256(each) for each in blobs]
    missing = client.find_missing(blob_digests=asked, metadata=metadata, **function).missing_blob_digests
    expect.same("missing", len(missing), 4)
    for each in blobs[:4]:
        name = client.write_name(sha256(each), "zstd")
        committed = client.write(pieces(name, zstandard.compress(each), chunk=16 << 10))
        expect.same("committed_size", committed, -1 if committed == -1 else len(zstandard.compress(each)))
    files = [{"path": "a.o", "digest": sha256(out)}, {"path": "a.d", "digest": sha256(dep)}]
    update = {"action_digest": sha256(action), "action_result": {"output_files": files}, **function}
    client.update_result(results_cache_policy={"priority": 0}, metadata=metadata, **update)
    got = client.get_result(action_digest=sha256(action), inline_output_files=["a.d"], **function)
    expect.same("the list of what it read", got.output_files[1].contents, dep)
    for offset in (0, 2 * MIB + 1):
        read = client.read(client.read_name(sha256(out), "zstd"), offset)
        expect.same(f"from {offset}", unpack(read), out[offset:])


def pants(client):
    """One blob a batch, a stream for what is larger, whose answer must be its size and nothing else."""
    metadata = [("google.devtools.remoteexecution.v1test.requestmetadata-bin", b"\x0a\x07\x0a\x05pants")]
    small, large = fresh(1000), fresh(6 * MIB)
    client.batch_update(requests=[{"digest": sha256(small), "data": small}], metadata=metadata)
    for _ in range(2):
        name = client.write_name(sha256(large))
        expect.same("committed", client.write(pieces(name, large, repeat=True)), len(large))
    answer = client.batch_read(digests=[sha256(small), sha256(fresh(3))])
    expect.same("statuses", sorted(each.status.code for each in answer.responses), [0, 5])
    expect.true(all(each.HasField("status") for each in answer.responses), "an entry without a status")


def no_protobuf(client):
    """Garbage as a message, to every method."""
    services = "build.bazel.remote.execution.v2."
    for method in (
        f"{services}Capabilities/GetCapabilities",
        f"{services}ActionCache/GetActionResult",
        f"{services}ActionCache/UpdateActionResult",
        f"{services}ContentAddressableStorage/FindMissingBlobs",
        f"{services}ContentAddressableStorage/BatchUpdateBlobs",
        f"{services}ContentAddressableStorage/BatchReadBlobs",
        "google.bytestream.ByteStream/QueryWriteStatus",
    ):
        call = client.channel.unary_unary(f"/{method}")
        for garbage in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x05ab"):
            expect.refused(method, INVALID_ARGUMENT, lambda: call(garbage, timeout=expect.PATIENCE))
    write = client.channel.stream_unary("/google.bytestream.ByteStream/Write")
    expect.refused("Write", INVALID_ARGUMENT, lambda: write(iter([b"\xff" * 50]), timeout=expect.PATIENCE))
    read = client.channel.unary_stream("/google.bytestream.ByteStream/Read")
    expect.refused("Read", INVALID_ARGUMENT, lambda: list(read(b"\xff" * 50, timeout=expect.PATIENCE)))
    tree = client.channel.unary_stream(f"/{services}ContentAddressableStorage/GetTree")
    expect.refused("GetTree", INVALID_ARGUMENT, lambda: list(tree(b"\xff" * 50, timeout=expect.PATIENCE)))


def compressed_messages(client):
    """gRPC's own compression is not served: UNIMPLEMENTED, as gRPC has it."""
    call = client.channel.unary_unary(
        "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs",
        request_serializer=api.FindMissingBlobsRequest.SerializeToString,
    )
    request = api.FindMissingBlobsRequest(blob_digests=[sha256(bytes([at])) for at in range(100)])
    gzip = grpc.Compression.Gzip
    expect.refused("gzip", UNIMPLEMENTED, lambda: call(request, timeout=expect.PATIENCE, compression=gzip))


SCENARIOS = [buck2, newer_bazel, pants, no_protobuf, compressed_messages]
