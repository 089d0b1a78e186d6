"""ByteStream.Read."""

import zstandard

import expect
from server import INVALID_ARGUMENT, MIB, NOT_FOUND, OUT_OF_RANGE, fresh, pieces, sha256

SIZE = 5 * MIB + 7


def stored(client):
    data = fresh(SIZE)
    name = client.write_name(sha256(data))
    expect.same("committed", expect.works("Write", lambda: client.write(pieces(name, data))), SIZE)
    return data, client.read_name(sha256(data))


def reads_have_an_offset_and_a_limit(client):
    """Any part of a blob; at its end there is nothing, after its end there is an error."""
    data, name = stored(client)
    chunks = expect.works("Read", lambda: client.read_chunks(name))
    expect.same("the whole", b"".join(chunks), data)
    expect.true(max(map(len, chunks)) <= 2 * MIB, f"a chunk of {max(map(len, chunks))} bytes")
    for offset in (0, 1, 3 * MIB, SIZE - 1, SIZE):
        for limit in (0, 1, 2 * MIB + 1, SIZE, SIZE + 100, 1 << 62):
            end = offset + limit if limit else SIZE
            got = expect.works(f"offset {offset}, limit {limit}", lambda: client.read(name, offset, limit))
            expect.same(f"offset {offset}, limit {limit}", got, data[offset:end])
    for offset in (SIZE + 1, 1 << 62):
        expect.refused(f"offset {offset}", OUT_OF_RANGE, lambda: client.read(name, offset))
    expect.refused("a negative offset", INVALID_ARGUMENT, lambda: client.read(name, -1))
    expect.refused("a negative limit", INVALID_ARGUMENT, lambda: client.read(name, 0, -1))


def reads_of_what_is_not_there(client):
    """A blob that nobody stored, and a stored one under another size."""
    data = fresh(1000)
    client.store(data)
    unknown, other_size = sha256(fresh(1000)), sha256(data)
    other_size.size_bytes += 1
    for digest in (unknown, other_size):
        for compressor in ("", "zstd"):
            name = client.read_name(digest, compressor)
            expect.refused(name, NOT_FOUND, lambda: client.read(name))


def reads_with_zstd(client):
    """The offset is one of the blob, not of its compressed form; a limit is not allowed."""
    noise, name = stored(client)
    words = b"the same words, again and again. " * 20_000
    client.write(pieces(client.write_name(sha256(words)), words))
    for data in (noise, words):
        name = client.read_name(sha256(data), "zstd")
        for offset in (0, 1, len(data) // 2, len(data) - 1):
            got = expect.works(f"offset {offset}", lambda: client.read(name, offset))
            expect.same(f"offset {offset}", unpack(got), data[offset:])
        at_end = expect.works("at the end", lambda: client.read(name, len(data)))
        expect.same("at the end", unpack(at_end), b"")
        expect.refused("after the end", OUT_OF_RANGE, lambda: client.read(name, len(data) + 1))
        expect.refused("a negative offset", INVALID_ARGUMENT, lambda: client.read(name, -1))
        expect.refused("a limit", INVALID_ARGUMENT, lambda: client.read(name, 0, 10))
    expect.true(len(client.read(client.read_name(sha256(words), "zstd"))) < 100_000, "words were not compressed")


def unpack(data):
    """Any number of frames, each of them whole."""
    parts = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(data))
        expect.true(frame.eof, "a frame that is not whole")
        data = frame.unused_data
    return b"".join(parts)


SCENARIOS = [reads_have_an_offset_and_a_limit, reads_of_what_is_not_there, reads_with_zstd]
