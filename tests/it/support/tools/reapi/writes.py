"""ByteStream.Write: whole, broken and resumed, ended early, and wrong."""

import threading

import grpc
import zstandard

import expect
from server import (
    INVALID_ARGUMENT,
    MIB,
    NOT_FOUND,
    fresh,
    pieces,
    sha256,
    stream_api,
)

ABORTED = grpc.StatusCode.ABORTED


class Held:
    """Messages of which the last ones wait until they are let go."""

    def __init__(self, messages, count):
        self.messages, self.count = messages, count
        self.reached, self.let_go = threading.Event(), threading.Event()

    def __iter__(self):
        for at, message in enumerate(self.messages):
            if at == self.count:
                self.reached.set()
                self.let_go.wait(2 * expect.PATIENCE)
            yield message


def pack(data):
    return zstandard.ZstdCompressor(level=1).compress(data)


def writes(client):
    """Of any size, in any pieces, with the name in the first message or in all."""
    for size in (0, 1, 16 << 10, MIB, 5 * MIB + 3):
        for chunk, repeat in ((16 << 10, False), (MIB, True), (4 * MIB, True)):
            data = fresh(size)
            name = client.write_name(sha256(data))
            what = f"{size} bytes by {chunk}"
            messages = pieces(name, data, chunk=chunk, repeat=repeat)
            expect.same(what, expect.works(what, lambda: client.write(messages)), size)
            expect.same(what, client.read(client.read_name(sha256(data))), data)
    data = fresh(3 * MIB)
    name = client.write_name(sha256(data), "zstd")
    expect.works("zstd", lambda: client.write(pieces(name, pack(data), chunk=1000)))
    expect.same("zstd", client.read(client.read_name(sha256(data))), data)


def a_broken_write_is_resumed(client):
    """Bazel asks how much came, and goes on from there under the same name."""
    data = fresh(5 * MIB)
    name = client.write_name(sha256(data))
    expect.same("before", client.query(name).committed_size, 0)
    held = Held(pieces(name, data), 3)
    broken = client.begin_write(held)
    expect.true(held.reached.wait(expect.PATIENCE), "three messages were not taken")
    committed = expect.eventually("three messages arrive", lambda: at_least(client, name, 3 * MIB))
    broken.cancel()
    held.let_go.set()
    other = client.other()
    answer = other.query(name)
    expect.same("after the break", (answer.committed_size, answer.complete), (committed, False))
    for offset in (MIB, 4 * MIB):
        rest = pieces(name, data[offset:], offset)
        expect.refused(f"going on at {offset}", ABORTED, lambda: other.write(named(name, rest)))
    expect.same("still there", other.query(name).committed_size, committed)
    rest = named(name, pieces(name, data[committed:], committed))
    expect.same("committed", expect.works("the rest", lambda: other.write(rest)), len(data))
    answer = client.query(name)
    expect.same("at the end", (answer.committed_size, answer.complete), (len(data), True))
    expect.same("its bytes", client.read(client.read_name(sha256(data))), data)


def at_least(client, name, size):
    committed = client.query(name).committed_size
    return committed if committed >= size else None


def named(name, messages):
    """The first message carries the name whatever its offset."""
    for at, message in enumerate(messages):
        if at == 0:
            message.resource_name = name
        yield message


def a_compressed_write_is_resumed(client):
    """The first offset counts bytes of the blob, those after it count what was sent since."""
    data = fresh(4 * MIB)
    name = client.write_name(sha256(data), "zstd")
    half = 2 * MIB
    first = pieces(name, pack(data[:half]), finish=False)
    committed = expect.works("the first half", lambda: client.write(first))
    expect.same("after the first half", client.query(name).committed_size, half)
    expect.true(committed in (-1, half), f"the first half: committed_size {committed}")
    rest = named(name, pieces(name, pack(data[half:]), half))
    expect.works("the second half", lambda: client.write(rest))
    expect.same("its bytes", client.read(client.read_name(sha256(data))), data)


def what_is_there_needs_no_bytes(client):
    """A write ends at once when the blob is there, before it or by somebody else in the middle of it."""
    data = fresh(5 * MIB)
    digest = sha256(data)
    held = Held(pieces(client.write_name(digest), data), 2)
    slow = client.begin_write(held)
    expect.true(held.reached.wait(expect.PATIENCE), "two messages were not taken")
    other = client.other()
    full = other.write(pieces(other.write_name(digest), data))
    expect.same("the second writer", full, len(data))
    held.let_go.set()
    expect.same("the first writer", expect.works("it", lambda: slow.result()).committed_size, len(data))
    for compressor, body, size in (("", data, len(data)), ("zstd", pack(data), -1)):
        held = Held(pieces(client.write_name(digest, compressor), body), 1)
        again = client.begin_write(held)
        answer = expect.works("again", lambda: again.result())
        held.let_go.set()
        expect.same(f"again, {compressor or 'identity'}", answer.committed_size, size)


def two_writers_of_one_upload(client):
    """The second one is told to wait and come back."""
    data = fresh(3 * MIB)
    name = client.write_name(sha256(data))
    held = Held(pieces(name, data), 1)
    first = client.begin_write(held)
    expect.eventually("the first writer's piece arrives", lambda: at_least(client, name, MIB))
    other = client.other()
    expect.refused("the second writer", ABORTED, lambda: other.write(pieces(name, data)))
    held.let_go.set()
    expect.same("the first writer", expect.works("it", lambda: first.result()).committed_size, len(data))


def bad_writes(client):
    """Each is refused, and nothing of it is stored or kept to go on with."""
    data, other = fresh(3 * MIB), fresh(3 * MIB)
    digest = sha256(data)
    good = client.write_name(digest)
    wrong_offset = list(pieces(good, data))
    wrong_offset[1].write_offset += 1
    another_name = list(pieces(good, data, repeat=True))
    another_name[1].resource_name = client.write_name(digest)
    after_the_end = list(pieces(good, data))
    after_the_end[1].finish_write = True
    for what, messages in {
        "another blob": pieces(good, other),
        "too short": pieces(good, data[:-1]),
        "too long": pieces(good, data + b"x"),
        "a wrong offset in the middle": wrong_offset,
        "a name that changes": another_name,
        "an end too early": after_the_end,
        "no name": pieces("", data),
        "no message": [],
    }.items():
        expect.refused(what, INVALID_ARGUMENT, lambda: client.write(messages))
        answer = client.query(good)
        expect.same(f"kept of {what}", (answer.committed_size, answer.complete), (0, False))
        client.lacks(what, digest)
    for what, body in {
        "garbage": fresh(1000),
        "half a frame": pack(data)[:-10],
        "bytes after the frame": pack(data) + b"x",
        "another blob": pack(other),
        "a shorter blob": pack(data[:-1]),
        "a longer blob": pack(data + b"x"),
        "a bomb": pack(bytes(1 << 30)),
    }.items():
        name = client.write_name(digest, "zstd")
        expect.refused(f"zstd: {what}", INVALID_ARGUMENT, lambda: client.write(pieces(name, body)))
        client.lacks(what, digest)
    expect.refused("never stored", NOT_FOUND, lambda: client.read(client.read_name(digest)))


def a_client_that_goes_away(client):
    """What it sent waits for it, and is nobody's blob."""
    data = fresh(3 * MIB)
    digest = sha256(data)
    name = client.write_name(digest)
    leaving = client.other()
    held = Held(pieces(name, data), 2)
    left = leaving.begin_write(held)
    expect.eventually("two pieces arrive", lambda: at_least(client, name, 2 * MIB))
    leaving.channel.close()
    held.let_go.set()
    expect.refused("its call", grpc.StatusCode.CANCELLED, lambda: left.result())
    client.lacks("half a blob", digest)
    expect.refused("half a blob", NOT_FOUND, lambda: client.read(client.read_name(digest)))
    rest = named(name, pieces(name, data[2 * MIB :], 2 * MIB))
    expect.eventually("its call has ended here too", lambda: goes_on(client, rest))
    expect.same("its bytes", client.read(client.read_name(digest)), data)


def goes_on(client, messages):
    """The server may see the end of the call before a moment later."""
    try:
        return client.write(list(messages)) is not None
    except grpc.RpcError as error:
        expect.same("refused for now", error.code(), ABORTED)
        return False


def uploads_no_one_began(client):
    """How much of them is there? Nothing."""
    name = client.write_name(sha256(fresh(10)))
    answer = expect.works("QueryWriteStatus", lambda: client.query(name))
    expect.same("of nothing", (answer.committed_size, answer.complete), (0, False))
    expect.refused("a name to read", INVALID_ARGUMENT, lambda: client.query("blobs/x/1"))
    unasked = stream_api.QueryWriteStatusRequest()
    expect.refused("no name", INVALID_ARGUMENT, lambda: client.stream.QueryWriteStatus(unasked, timeout=30))


SCENARIOS = [
    writes,
    a_broken_write_is_resumed,
    a_compressed_write_is_resumed,
    what_is_there_needs_no_bytes,
    two_writers_of_one_upload,
    bad_writes,
    a_client_that_goes_away,
    uploads_no_one_began,
]
