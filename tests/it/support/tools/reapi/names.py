"""Names: of blobs, of digest functions, of instances; and those that nobody should get away with."""

import expect
from server import BLAKE3, INVALID_ARGUMENT, MIB, NOT_FOUND, SHA256, api, blake, fresh, pieces, sha256


def blake3_names(client):
    """A function of its own: named in requests and in resource names, verified, and never taken for the other."""
    small, large = fresh(1000), fresh(5 * MIB)
    requests = [{"digest": blake(small), "data": small}]
    answer = expect.works("an update", lambda: client.batch_update(requests=requests, digest_function=BLAKE3))
    expect.same("its status", answer.responses[0].status.code, 0)
    for compressor in ("", "zstd"):
        name = client.write_name(blake(large), compressor, "blake3")
        expect.works("a write", lambda: client.write(packed(compressor, name, large)))
    client.has("the small one", blake(small), digest_function=BLAKE3)
    client.has("the large one", blake(large), digest_function=BLAKE3)
    client.lacks("the same as a SHA-256", blake(small), digest_function=SHA256)
    client.lacks("the same without a word", blake(small))
    client.lacks("another hash of the same bytes", sha256(small))
    answer = client.batch_read(digests=[blake(small)], digest_function=BLAKE3)
    expect.same("its bytes", answer.responses[0].data, small)
    expect.same("its bytes", client.read(client.read_name(blake(large), "", "blake3")), large)
    name = client.read_name(blake(large))
    expect.refused("its name without a function", NOT_FOUND, lambda: client.read(name))
    requests = [{"digest": sha256(small), "data": small}]
    answer = client.batch_update(requests=requests, digest_function=BLAKE3)
    expect.same("a SHA-256 called BLAKE3", answer.responses[0].status.code, INVALID_ARGUMENT.value[0])
    empty = blake(b"")
    client.has("the empty blob", empty, digest_function=BLAKE3)
    expect.same("the empty blob", client.read(client.read_name(empty, "", "blake3")), b"")


def packed(compressor, name, data):
    if not compressor:
        return pieces(name, data)
    import zstandard

    return pieces(name, zstandard.compress(data))


def blake3_results(client):
    """An action of either function, with outputs of the same."""
    output, action = fresh(100), fresh(20)
    requests = [{"digest": blake(output), "data": output}]
    client.batch_update(requests=requests, digest_function=BLAKE3)
    fields = {"action_digest": blake(action), "digest_function": BLAKE3}
    result = {"output_files": [{"path": "out", "digest": blake(output)}]}
    expect.works("an update", lambda: client.update_result(action_result=result, **fields))
    answer = expect.works("a hit", lambda: client.get_result(inline_output_files=["out"], **fields))
    expect.same("the file", answer.output_files[0].contents, output)


def other_functions(client):
    """Not served: and said so, in every call that can name one."""
    for function in (api.DigestFunction.SHA1, api.DigestFunction.MD5, api.DigestFunction.SHA512, 99):
        digest = sha256(fresh(10))
        calls = {
            "FindMissingBlobs": lambda: client.find_missing(blob_digests=[digest], digest_function=function),
            "BatchUpdateBlobs": lambda: client.batch_update(requests=[], digest_function=function),
            "BatchReadBlobs": lambda: client.batch_read(digests=[digest], digest_function=function),
            "GetActionResult": lambda: client.get_result(action_digest=digest, digest_function=function),
            "GetTree": lambda: list(client.get_tree(root_digest=digest, digest_function=function)),
        }
        for what, call in calls.items():
            expect.refused(f"{what}, {function}", INVALID_ARGUMENT, call)
    name = client.read_name(sha256(b"x"), "", "sha512")
    expect.refused("in a name", INVALID_ARGUMENT, lambda: client.read(name))


def odd_names(client):
    """What the API allows: things after the size, functions where they need not be, slashes in instances."""
    data = fresh(2000)
    digest = sha256(data)
    path = f"{digest.hash}/{digest.size_bytes}"
    for at, instance in enumerate(("", "one", "a/b/c", "with.dots-and_lines", "ä/ö", "x" * 200)):
        other = client.other(instance=instance)
        before = f"{instance}/" if instance else ""
        write = f"{before}uploads/some-uuid-{at}/blobs/{path}/dir/file.txt"
        expect.same(write, expect.works(write, lambda: other.write(pieces(write, data))), len(data))
        for read in (f"{before}blobs/{path}", f"{before}blobs/{path}/more/of/it", f"{before}blobs/sha256/{path}"):
            expect.same(read, expect.works(read, lambda: client.read(read)), data)
        other.has(instance, digest)


def instances_are_apart(client):
    """An action of one instance is none of another; a blob may be seen from each."""
    one, two = client.other(instance="apart/one"), client.other(instance="apart/two")
    action, output = fresh(10), fresh(10)
    one.store(output)
    result = {"output_files": [{"path": "out", "digest": sha256(output)}]}
    one.update_result(action_digest=sha256(action), action_result=result)
    expect.works("its own", lambda: one.get_result(action_digest=sha256(action)))
    expect.refused("the other's", NOT_FOUND, lambda: two.get_result(action_digest=sha256(action)))


def hostile_names(client):
    """Nothing a name can say leads out of the cache, or to a crash: refused, each in words."""
    digest = sha256(fresh(10))
    path = f"{digest.hash}/{digest.size_bytes}"
    names = [
        "",
        "/",
        "blobs",
        "blobs/",
        f"blobs/{digest.hash}",
        f"blobs/{digest.hash}/",
        f"blobs/{digest.hash}/-1",
        f"blobs/{digest.hash}/+1",
        f"blobs/{digest.hash}/0x10",
        f"blobs/{digest.hash}/1e3",
        f"blobs/{digest.hash}/{1 << 64}",
        f"blobs/{digest.hash}/{'9' * 400}",
        f"blobs/{digest.hash[:-1]}/10",
        f"blobs/{digest.hash}0/10",
        f"blobs/{digest.hash.upper()}/10",
        f"blobs/{'../' * 21}x/10",
        f"../../etc/passwd/blobs/{path}",
        f"a/../b/blobs/{path}",
        f"a/./b/blobs/{path}",
        f"a\0b/blobs/{path}",
        f"a\nb/blobs/{path}",
        f"compressed-blobs/{path}",
        f"compressed-blobs/identity/{path}",
        f"compressed-blobs/deflate/{path}",
        f"compressed-blobs/brotli/{path}",
        f"compressed-blobs/ZSTD/{path}",
        f"blobs/crc32/{path}",
        f"actions/blobs/{path}",
        f"operations/x/blobs/{path}",
        f"{'a/' * 5000}blobs/{path}",
        "a" * 70_000,
    ]
    for name in names:
        words = expect.refused(repr(name[:100]), INVALID_ARGUMENT, lambda: client.read(name)).details()
        expect.true(len(words) < 2000, f"{len(words)} characters of words about {name[:60]!r}")
        write = name.replace("blobs/", "uploads/u/blobs/", 1)
        expect.refused(repr(write[:100]), INVALID_ARGUMENT, lambda: client.write(pieces(write, b"x" * 10)))
    for instance in ("blobs", "a/uploads/b", "capabilities", "..", "a/../b", "a\0b", "a" * 70_000):
        other = client.other(instance=instance)
        what = repr(instance[:50])
        expect.refused(what, INVALID_ARGUMENT, lambda: other.find_missing(blob_digests=[digest]))
        expect.refused(what, INVALID_ARGUMENT, lambda: other.get_result(action_digest=digest))


SCENARIOS = [
    blake3_names,
    blake3_results,
    other_functions,
    odd_names,
    instances_are_apart,
    hostile_names,
]
