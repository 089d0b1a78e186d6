"""Action results, and trees."""

import expect
from server import INVALID_ARGUMENT, NOT_FOUND, api, fresh, sha256

RAW_MAX = 4 << 20


def a_result(client, *, contents=None, **fields):
    """An action whose blobs are stored, its result, and what it names."""
    out, err, one, two = fresh(100), fresh(50), fresh(3000), fresh(2000)
    client.store(out, err, one, two)
    result = api.ActionResult(
        output_files=[
            {"path": "bin/one", "digest": sha256(one), "is_executable": True},
            {"path": "two", "digest": sha256(two)},
        ],
        stdout_digest=sha256(out),
        stderr_digest=sha256(err),
        exit_code=0,
        **fields,
    )
    return sha256(fresh(20)), result, {"out": out, "err": err, "one": one, "two": two}


def results_come_back(client):
    """As they were given: worker, times, properties, symlinks; and with metadata where there was none."""
    action, result, _ = a_result(client, output_symlinks=[{"path": "link", "target": "two"}])
    result.output_files[1].node_properties.unix_mode.value = 0o640
    result.execution_metadata.worker = "somebody"
    result.execution_metadata.execution_start_timestamp.seconds = 1_700_000_000
    stored = expect.works("an update", lambda: client.update_result(action_digest=action, action_result=result))
    expect.same("what the update answers", stored, result)
    expect.same("what is there", expect.works("a hit", lambda: client.get_result(action_digest=action)), result)
    bare = api.ActionResult()
    action = sha256(fresh(20))
    stored = client.update_result(action_digest=action, action_result=bare)
    expect.true(stored.HasField("execution_metadata"), "an update's answer has no execution_metadata")
    got = expect.works("a result without anything", lambda: client.get_result(action_digest=action))
    expect.true(got.HasField("execution_metadata"), "a hit has no execution_metadata")
    got.ClearField("execution_metadata")
    expect.same("but for that", got, bare)


def unknown_fields_stay(client):
    """A newer client's fields are its own matter."""
    action, result, _ = a_result(client)
    known = result.SerializeToString()
    # Field 4000, of a kind that is not even known by its number.
    unknown = b"\x82\xfa\x01\x05hello"
    result = api.ActionResult.FromString(known + unknown)
    client.update_result(action_digest=action, action_result=result)
    got = client.get_result(action_digest=action)
    expect.true(unknown in got.SerializeToString(), "the unknown field is gone")


def results_are_whole_or_none(client):
    """One blob that is missing makes a miss of it, wherever it is named; until it comes."""
    for field in ("output_files", "output_directories", "stdout_digest", "stderr_digest"):
        action, result, _ = a_result(client)
        late = fresh(100)
        if field == "output_files":
            result.output_files.add(path="late", digest=sha256(late))
        elif field == "output_directories":
            tree = api.Tree(root={"files": [{"name": "late", "digest": sha256(late)}]}).SerializeToString()
            client.store(tree)
            result.output_directories.add(path="dir", tree_digest=sha256(tree))
        else:
            getattr(result, field).CopyFrom(sha256(late))
        update = {"action_digest": action, "action_result": result}
        expect.works("taken before its blobs", lambda: client.update_result(**update))
        expect.refused(f"{field}: without one", NOT_FOUND, lambda: client.get_result(action_digest=action))
        client.store(late)
        expect.works(f"{field}: with all", lambda: client.get_result(action_digest=action))


def results_inline_what_is_asked(client):
    """stdout, stderr and files that are named; not more than a message may carry."""
    action, result, blobs = a_result(client)
    client.update_result(action_digest=action, action_result=result)
    got = client.get_result(action_digest=action, inline_stdout=True)
    expect.same("stdout", (got.stdout_raw, got.stderr_raw), (blobs["out"], b""))
    got = client.get_result(action_digest=action, inline_stderr=True, inline_output_files=["bin/one", "none"])
    expect.same("stderr", (got.stdout_raw, got.stderr_raw), (b"", blobs["err"]))
    expect.same("files", [each.contents for each in got.output_files], [blobs["one"], b""])
    expect.same("their digests", [each.digest for each in got.output_files], [sha256(blobs["one"]), sha256(blobs["two"])])
    large = [fresh(3 << 20), fresh(3 << 20)]
    for each in large:
        client.store(each)
    action = sha256(fresh(20))
    files = [{"path": str(at), "digest": sha256(each)} for at, each in enumerate(large)]
    client.update_result(action_digest=action, action_result={"output_files": files})
    got = client.get_result(action_digest=action, inline_output_files=["0", "1"])
    expect.true(got.ByteSize() < RAW_MAX, f"a result of {got.ByteSize()} bytes")
    expect.same("both are named", [each.digest for each in got.output_files], [sha256(each) for each in large])


def raw_output_is_kept(client):
    """Clients may give stdout itself, and a file's contents: those need no blob."""
    action, data = sha256(fresh(20)), fresh(100)
    result = {
        "stdout_raw": b"said",
        "stderr_raw": b"cried",
        "output_files": [{"path": "in", "digest": sha256(data), "contents": data}],
    }
    client.update_result(action_digest=action, action_result=result)
    client.store(data)
    got = expect.works("a hit", lambda: client.get_result(action_digest=action))
    expect.same("raw", (got.stdout_raw, got.stderr_raw), (b"said", b"cried"))


def actions_nobody_did(client):
    """A miss, in the one word that every client takes for one."""
    expect.refused("a miss", NOT_FOUND, lambda: client.get_result(action_digest=sha256(fresh(20))))
    expect.refused("no digest", INVALID_ARGUMENT, lambda: client.get_result())
    expect.refused("no result", INVALID_ARGUMENT, lambda: client.update_result(action_digest=sha256(fresh(20))))


# --- GetTree


def trees(client):
    """All of a tree that is there, each directory once, in pages on request."""
    leaves = [api.Directory(files=[{"name": "f", "digest": sha256(fresh(10))}]) for _ in range(20)]
    stored = [each.SerializeToString() for each in leaves]
    middle = api.Directory(directories=[{"name": str(n), "digest": sha256(d)} for n, d in enumerate(stored)])
    middle_bytes = middle.SerializeToString()
    lost = api.Directory(symlinks=[{"name": "s", "target": "nowhere"}]).SerializeToString()
    root = api.Directory(
        directories=[
            {"name": "a", "digest": sha256(middle_bytes)},
            {"name": "again", "digest": sha256(middle_bytes)},
            {"name": "lost", "digest": sha256(lost)},
        ]
    )
    root_bytes = root.SerializeToString()
    client.store(root_bytes, middle_bytes, *stored)
    every = sorted(each.SerializeToString() for each in (root, middle, *leaves))
    answers = expect.works("GetTree", lambda: list(client.get_tree(root_digest=sha256(root_bytes))))
    expect.same("directories", sorted(directories(answers)), every)
    expect.same("the last page's token", answers[-1].next_page_token, "")
    answers = list(client.get_tree(root_digest=sha256(root_bytes), page_size=7))
    expect.true(all(len(each.directories) <= 7 for each in answers), "a page of more than 7")
    expect.same("by pages", sorted(directories(answers)), every)
    token = answers[0].next_page_token
    rest = list(client.get_tree(root_digest=sha256(root_bytes), page_size=7, page_token=token))
    expect.same("from the second page", sorted(directories(answers[:1]) + directories(rest)), every)
    expect.refused("no root", NOT_FOUND, lambda: list(client.get_tree(root_digest=sha256(fresh(10)))))
    expect.refused("no digest", INVALID_ARGUMENT, lambda: list(client.get_tree()))
    bad = {"root_digest": sha256(root_bytes), "page_token": "no/token"}
    expect.refused("a bad token", INVALID_ARGUMENT, lambda: list(client.get_tree(**bad)))


def directories(answers):
    return [each.SerializeToString() for answer in answers for each in answer.directories]


SCENARIOS = [
    results_come_back,
    unknown_fields_stay,
    results_are_whole_or_none,
    results_inline_what_is_asked,
    raw_output_is_kept,
    actions_nobody_did,
    trees,
]
