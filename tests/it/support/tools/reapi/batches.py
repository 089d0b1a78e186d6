"""Many small blobs in one message."""

import zstandard

import expect
from server import (
    BATCH_MAX,
    IDENTITY,
    INVALID_ARGUMENT,
    NOT_FOUND,
    OK,
    ZSTD,
    api,
    fresh,
    sha256,
)


def batches(client):
    """Stored, found, read; each blob has a status of its own."""
    blobs = [fresh(size) for size in (1, 1000, 100_000)]
    digests = [sha256(data) for data in blobs]
    expect.same("before", client.missing(*digests), digests)
    client.store(*blobs)
    unknown = sha256(fresh(10))
    expect.same("after", client.missing(unknown, *digests), [unknown])
    answer = expect.works("BatchReadBlobs", lambda: client.batch_read(digests=[*digests, unknown, digests[0]]))
    expect.same("answers", len(answer.responses), 5)
    for each in answer.responses:
        expect.true(each.HasField("status"), f"{each.digest.hash} has no status")
        expect.same("the compressor", each.compressor, IDENTITY)
        if each.digest == unknown:
            expect.status("an unknown blob", each.status, NOT_FOUND)
        else:
            expect.status("a stored blob", each.status, OK)
            expect.same("its bytes", each.data, blobs[digests.index(each.digest)])


def a_bad_blob_spoils_no_batch(client):
    """A wrong hash or size is that blob's own matter, and nothing of it is stored."""
    good, other, third = fresh(1000), fresh(1000), fresh(1000)
    wrong_hash, short, long = sha256(other), sha256(third), sha256(third)
    short.size_bytes -= 1
    long.size_bytes += 1
    requests = [
        {"digest": wrong_hash, "data": fresh(1000)},
        {"digest": sha256(good), "data": good},
        {"digest": short, "data": third},
        {"digest": long, "data": third},
    ]
    answer = expect.works("BatchUpdateBlobs", lambda: client.batch_update(requests=requests))
    expect.same("answers", len(answer.responses), len(requests))
    for at, each in enumerate(answer.responses):
        expect.status(f"blob {at}", each.status, OK if at == 1 else INVALID_ARGUMENT)
    client.has("the good one", sha256(good))
    for digest in (wrong_hash, sha256(third)):
        client.lacks("a refused one", digest)


def the_empty_blob_is_always_there(client):
    """Nobody needs to store it, and nothing else has no bytes."""
    empty = sha256(b"")
    client.has("the empty blob", empty)
    answer = expect.works("BatchReadBlobs", lambda: client.batch_read(digests=[empty]))
    expect.status("the empty blob", answer.responses[0].status, OK)
    expect.same("its bytes", answer.responses[0].data, b"")
    expect.same("as a stream", expect.works("Read", lambda: client.read(client.read_name(empty))), b"")
    client.store(b"")
    false = [{"digest": {"hash": sha256(fresh(8)).hash, "size_bytes": 0}, "data": b""}]
    expect.refused("another hash without bytes", INVALID_ARGUMENT, lambda: client.batch_update(requests=false))


def batches_have_a_limit(client):
    """4 MiB pass, a byte more does not; over the limit nothing is stored, and nothing is read."""
    half = BATCH_MAX // 2
    one, two, over = fresh(half), fresh(half), fresh(half + 1)
    client.store(one, two)
    requests = [{"digest": sha256(data), "data": data} for data in (over, fresh(half))]
    expect.refused("a batch over the limit", INVALID_ARGUMENT, lambda: client.batch_update(requests=requests))
    client.lacks("a blob of a refused batch", sha256(over))
    client.store(over)
    within = [sha256(one), sha256(two)]
    answer = expect.works("4 MiB", lambda: client.batch_read(digests=within))
    expect.same("bytes", sorted(len(each.data) for each in answer.responses), [half, half])
    beyond = [sha256(one), sha256(over)]
    expect.refused("reading more", INVALID_ARGUMENT, lambda: client.batch_read(digests=beyond))


def batches_with_zstd(client):
    """Either side may compress each blob, where the other allows it."""
    text, noise = b"the same words, again and again. " * 3000, fresh(5000)
    pack = zstandard.ZstdCompressor().compress
    requests = [
        {"digest": sha256(text), "data": pack(text), "compressor": ZSTD},
        {"digest": sha256(noise), "data": pack(noise), "compressor": ZSTD},
    ]
    for each in expect.works("an update", lambda: client.batch_update(requests=requests)).responses:
        expect.status("a compressed blob", each.status, OK)
    digests = [sha256(text), sha256(noise)]
    for acceptable in ([], [IDENTITY], [IDENTITY, ZSTD], [ZSTD]):
        answer = client.batch_read(digests=digests, acceptable_compressors=acceptable)
        for each, data in zip(answer.responses, (text, noise)):
            expect.status("a blob", each.status, OK)
            expect.true(each.compressor in [IDENTITY, *acceptable], f"{each.compressor} is not in {acceptable}")
            got = zstandard.decompress(each.data) if each.compressor == ZSTD else each.data
            expect.same("its bytes", got, data)


def bad_zstd_in_a_batch(client):
    """Garbage, half a frame, another blob, a bomb: that blob's status."""
    data = fresh(3000)
    pack = zstandard.ZstdCompressor().compress
    bodies = {
        "garbage": fresh(100),
        "no frame": b"",
        "half a frame": pack(data)[:-10],
        "bytes after the frame": pack(data) + b"x",
        "another blob": pack(fresh(3000)),
        "a shorter blob": pack(data[:-1]),
        "a bomb": pack(bytes(64 << 20)),
    }
    requests = [{"digest": sha256(data), "data": body, "compressor": ZSTD} for body in bodies.values()]
    answer = expect.works("an update", lambda: client.batch_update(requests=requests))
    for what, each in zip(bodies, answer.responses):
        expect.status(what, each.status, INVALID_ARGUMENT)
    client.lacks("what was refused", sha256(data))
    deflate = [{"digest": sha256(data), "data": data, "compressor": api.Compressor.DEFLATE}]
    expect.refused("deflate", INVALID_ARGUMENT, lambda: client.batch_update(requests=deflate))


def bad_digests(client):
    """What is no digest is nobody's blob: the call is refused, and nothing of it stored."""
    data = fresh(10)
    good = sha256(data)
    for what, bad in {
        "no hash": api.Digest(size_bytes=1),
        "a short hash": api.Digest(hash=good.hash[:-1], size_bytes=10),
        "a long hash": api.Digest(hash=good.hash + "0", size_bytes=10),
        "capitals": api.Digest(hash=good.hash[:-1] + "A", size_bytes=10),
        "no digits": api.Digest(hash="g" * 64, size_bytes=10),
        "a path": api.Digest(hash="../" * 21 + "x", size_bytes=10),
        "a negative size": api.Digest(hash=good.hash, size_bytes=-1),
    }.items():
        expect.refused(what, INVALID_ARGUMENT, lambda: client.find_missing(blob_digests=[good, bad]))
        batch = [{"digest": each, "data": data} for each in (good, bad)]
        expect.refused(what, INVALID_ARGUMENT, lambda: client.batch_update(requests=batch))
        expect.refused(what, INVALID_ARGUMENT, lambda: client.batch_read(digests=[good, bad]))
        client.lacks("what was good in it", good)
        expect.refused(what, INVALID_ARGUMENT, lambda: client.get_result(action_digest=bad))
        update = {"action_digest": bad, "action_result": {"exit_code": 0}}
        expect.refused(what, INVALID_ARGUMENT, lambda: client.update_result(**update))


SCENARIOS = [
    batches,
    a_bad_blob_spoils_no_batch,
    the_empty_blob_is_always_there,
    batches_have_a_limit,
    batches_with_zstd,
    bad_zstd_in_a_batch,
    bad_digests,
]
