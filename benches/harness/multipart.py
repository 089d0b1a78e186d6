"""An object of the S3 door that is larger than memory should be: sent in parts, read in ranges, several at a time. Its
bytes are made while they are sent and made again to be compared."""

import concurrent.futures
import http.client
import random
import re
import struct
import time

MIB = 1 << 20
SECONDS_MAX = 600

# Twice as long as a piece of it, so that each MiB of an object is another piece.
NOISE = memoryview(random.Random(5).randbytes(2 * MIB))


class Object:
    """`size` bytes, whole MiB, at `path` of `server`. Requests are unsigned: the caller is the daemon's own user."""

    def __init__(self, server, path, size):
        self.port, self.path, self.size = server.port, path, size

    def send(self, part_size, at_once):
        """Uploads it in parts; returns the seconds until it is complete, and how many parts there were."""
        begin = time.perf_counter()
        answer = self.request("POST", "?uploads")
        upload = re.search(rb"<UploadId>([0-9a-f]+)</UploadId>", answer.body)[1].decode()

        def part(number):
            span = range((number - 1) * part_size, min(number * part_size, self.size))
            query = f"?partNumber={number}&uploadId={upload}"
            return self.request("PUT", query, pieces(span), {"Content-Length": str(len(span))}).etag

        numbers = range(1, -(-self.size // part_size) + 1)
        with concurrent.futures.ThreadPoolExecutor(at_once) as threads:
            etags = list(threads.map(part, numbers))
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in zip(numbers, etags)
        )
        words = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        self.request("POST", f"?uploadId={upload}", words)
        return time.perf_counter() - begin, len(etags)

    def read(self, range_size, at_once):
        """Downloads it in ranges and compares every byte; returns the seconds."""
        begin = time.perf_counter()
        spans = [range(at, min(at + range_size, self.size)) for at in range(0, self.size, range_size)]
        with concurrent.futures.ThreadPoolExecutor(at_once) as threads:
            list(threads.map(self.compare, spans))
        return time.perf_counter() - begin

    def compare(self, span):
        headers = {"Range": f"bytes={span.start}-{span.stop - 1}"}
        self.request("GET", "", headers=headers, span=span)

    def request(self, method, query, body=None, headers={}, span=None):
        """One request on a connection of its own, which must succeed; with `span` its answer must be those bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS_MAX)
        connection.request(method, self.path + query, body, headers)
        answer = connection.getresponse()
        if answer.status != (206 if span else 200):
            raise SystemExit(f"benches/run: {method} {self.path}{query}: {answer.status} {answer.read()[:1000]}")
        if span:
            check(answer, span, f"{method} {self.path}")
        seen = Answer(answer.read(), answer.getheader("ETag"))
        connection.close()
        return seen


class Answer:
    def __init__(self, body, etag):
        self.body, self.etag = body, etag


def check(answer, span, what):
    buffer = bytearray(MIB)
    with memoryview(buffer) as view:
        for expected in pieces(span):
            got = 0
            while more := answer.readinto(view[got:]):
                got += more
            # Not through the view, which compares byte by byte.
            if got < MIB or buffer != expected:
                raise SystemExit(f"benches/run: {what}: wrong bytes, or too few, from {span.start} to {span.stop}")
    if answer.read():
        raise SystemExit(f"benches/run: {what}: too many bytes from {span.start} to {span.stop}")


def pieces(span):
    """The object's bytes in `span`, which begins and ends between two MiB of it: its number, then a piece of noise."""
    for number in range(span.start // MIB, span.stop // MIB):
        at = number * 4099 % MIB
        yield struct.pack("<Q", number) + NOISE[at + 8 : at + MIB]
