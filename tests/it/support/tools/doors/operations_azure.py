"""Every operation of the Azure Blob door by Azure's own client, as it should be and as it should not."""

import base64
import datetime
import hashlib
import itertools
import os
import time

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerSasPermissions, generate_container_sas
from azure.storage.blob._shared import policies

CONTAINER = "cache"
FAR = datetime.datetime(2090, 1, 1, tzinfo=datetime.timezone.utc)
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
NUMBERS = itertools.count()


class World:
    """One account with the key of one container."""

    def __init__(self, string):
        fields = dict(field.split("=", 1) for field in string.rstrip(";").split(";"))
        self.endpoint, self.account, self.key = fields["BlobEndpoint"], fields["AccountName"], fields["AccountKey"]
        self.status = None
        self.all = self.client(self.key_of_all())
        forged = base64.b64encode(bytes(64)).decode()
        self.forged = self.client({"account_name": self.account, "account_key": forged})

    def key_of_all(self):
        return {"account_name": self.account, "account_key": self.key}

    def client(self, credential, container=CONTAINER):
        def seen(response):
            self.status = response.http_response.status_code

        service = BlobServiceClient(
            self.endpoint, credential=credential, retry_total=0, raw_response_hook=seen, max_single_put_size=1 << 30
        )
        return service.get_container_client(container)

    def signed(self, rights, end=FAR, container=CONTAINER):
        """A client with a signature for a container."""
        permission = ContainerSasPermissions.from_string(rights)
        return self.client(generate_container_sas(self.account, container, self.key, permission=permission, expiry=end))


def make_containers(world):
    """The real one has none by being named."""
    for container in (CONTAINER, "other"):
        client = world.client(world.key_of_all(), container)
        if not client.exists():
            client.create_container()


def name():
    return f"name-{os.getpid()}-{next(NUMBERS)}"


def block(number):
    return base64.b64encode(f"{number:08}".encode()).decode()


class Operation:
    """A call that is made of a container and a blob's name, and what it needs to be there before."""

    def __init__(self, call, lacks, before=True):
        self.call, self.lacks, self.before = call, lacks, before

    def ready(self, world):
        blob = name()
        if self.before:
            world.all.upload_blob(blob, b"hello")
        return blob

    def cases(self):
        def by(client):
            def play(world):
                return self.call(world, client(world), self.ready(world))

            return play

        def early(world):
            blob = self.ready(world)
            policies.time = lambda: time.time() - 20 * 60
            try:
                return self.call(world, world.all, blob)
            finally:
                policies.time = time.time

        cases = {
            "happy": by(lambda world: world.all),
            "denied": by(lambda world: world.signed(self.lacks)),
            "expired": by(lambda world: world.signed("rwdlac", end=PAST)),
            "elsewhere": by(lambda world: world.signed("rwdlac", container="other")),
            "bad_signature": by(lambda world: world.forged),
            "bad_clock": early,
        }
        if self.before:
            cases["absent"] = lambda world: self.call(world, world.all, name())
        return cases


def get(world, container, blob, **wishes):
    body = container.download_blob(blob, **wishes).readall()
    return f"{world.status} {body}"


def head(world, container, blob, **wishes):
    found = container.get_blob_client(blob).get_blob_properties(**wishes)
    return f"{world.status} {found.size} {found.blob_type}"


def put(world, container, blob, **wishes):
    container.get_blob_client(blob).upload_blob(b"hello", **wishes)
    return f"{world.status} {world.all.download_blob(blob).readall()}"


def put_block(world, container, blob):
    container.get_blob_client(blob).stage_block(block(1), b"hello")
    return str(world.status)


def commit(world, container, blob, staged=(1, 2), listed=(1, 2), **wishes):
    client = container.get_blob_client(blob)
    for number in staged:
        world.all.get_blob_client(blob).stage_block(block(number), f"{number}".encode())
    client.commit_block_list([BlobBlock(block(number)) for number in listed], **wishes)
    status = world.status
    return f"{status} {world.all.download_blob(blob).readall()}"


def block_list(world, container, blob):
    world.all.get_blob_client(blob).stage_block(block(9), b"waits")
    committed, waiting = container.get_blob_client(blob).get_block_list("all")
    return f"{world.status} {len(committed)} committed, {len(waiting)} not"


def delete(world, container, blob, **wishes):
    container.get_blob_client(blob).delete_blob(**wishes)
    return str(world.status)


def delete_many(world, container, blob):
    """One that is there and one that is not, each answered for itself."""
    answers = container.delete_blobs(blob, "nothing", raise_on_any_failure=False)
    answers = [f"{answer.status_code} {answer.headers.get('x-ms-error-code', '')}".rstrip() for answer in answers]
    return f"{world.status}: {', '.join(answers)}"


def copy(world, container, blob, **wishes):
    """As object_store does: within a container, with the key of the whole for both."""
    target = container.get_blob_client(name())
    target.start_copy_from_url(world.all.get_blob_client(blob).url, **wishes)
    status = world.status
    return f"{status} {world.all.download_blob(target.blob_name).readall()}"


def list_blobs(world, container, _blob, **wishes):
    prefix = name()
    for letter in "cab":
        world.all.upload_blob(f"{prefix}/{letter}", b"hello")
    found = [blob.name.removeprefix(prefix) for blob in container.list_blobs(name_starts_with=prefix, **wishes)]
    return f"{world.status} {' '.join(found)}"


def get_container(world, container, _blob):
    container.get_container_properties()
    return str(world.status)


def create_container(world, container, _blob):
    container.create_container()
    return str(world.status)


def raw_put(world, blob, **wishes):
    """A body as it is said not to be."""
    client = world.all.get_blob_client(blob)
    client._client.block_blob.upload(content_length=5, body=b"hello", **wishes)
    return str(world.status)


def raw_block(world, blob, identity, **wishes):
    client = world.all.get_blob_client(blob)
    client._client.block_blob.stage_block(block_id=identity, content_length=5, body=b"hello", **wishes)
    return str(world.status)


def raw_commit(world, body):
    """A list of blocks that is none."""
    blob = name()
    put_block(world, world.all, blob)
    request = world.all._client._client  # the pipeline, below the operations
    from azure.core.rest import HttpRequest

    url = f"{world.all.url}/{blob}?comp=blocklist"
    sent = HttpRequest("PUT", url, content=body, headers={"Content-Type": "application/xml", "x-ms-version": "2025-05-05"})
    answer = request._pipeline.run(sent).http_response
    return f"{answer.status_code} {answer.headers.get('x-ms-error-code')}"


WRONG_MD5 = bytearray(hashlib.md5(b"other").digest())
UNLIKE = {"etag": '"0x1"', "match_condition": MatchConditions.IfNotModified}
NOT_THERE = {"match_condition": MatchConditions.IfMissing}


def bomb():
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY e0 "lol">{entities}]><BlockList><Latest>&e9;</Latest></BlockList>'


def with_blob(call):
    """A case for a blob that is there."""

    def play(world):
        blob = name()
        world.all.upload_blob(blob, b"hello")
        return call(world, blob)

    return play


def committed_twice(world):
    """An answer that was lost: the client sends the same list again."""
    blob = name()
    first = commit(world, world.all, blob)
    return f"{first}, {commit(world, world.all, blob, staged=())}"


OPERATIONS = {
    "get_blob": Operation(get, "cw").cases()
    | {
        "bad_precondition": with_blob(lambda world, blob: get(world, world.all, blob, **UNLIKE)),
        "bad_range": with_blob(lambda world, blob: get(world, world.all, blob, offset=100, length=10)),
        "range": with_blob(lambda world, blob: get(world, world.all, blob, offset=1, length=3)),
        "range_over_the_end": with_blob(lambda world, blob: get(world, world.all, blob, offset=3, length=30)),
    },
    "get_blob_properties": Operation(head, "cw").cases()
    | {"bad_precondition": with_blob(lambda world, blob: head(world, world.all, blob, **UNLIKE))},
    "put_blob": Operation(put, "rl", before=False).cases()
    | {
        "bad_precondition": with_blob(lambda world, blob: put(world, world.all, blob, overwrite=True, **UNLIKE)),
        "bad_body": lambda world: raw_put(world, name(), transactional_content_md5=WRONG_MD5),
        "there_already": with_blob(lambda world, blob: put(world, world.all, blob, overwrite=False)),
        "again": with_blob(lambda world, blob: put(world, world.all, blob, overwrite=True)),
    },
    "put_block": Operation(put_block, "rl", before=False).cases()
    | {
        "bad_body": lambda world: raw_block(world, name(), block(1), transactional_content_md5=WRONG_MD5),
        "bad_id": lambda world: raw_block(world, name(), "no base64!"),
        "id_too_long": lambda world: raw_block(world, name(), base64.b64encode(bytes(65)).decode()),
    },
    "put_block_list": Operation(commit, "rl", before=False).cases()
    | {
        "absent": lambda world: commit(world, world.all, name(), staged=(), listed=(1,)),
        "bad_precondition": with_blob(lambda world, blob: commit(world, world.all, blob, **UNLIKE)),
        "there_already": with_blob(lambda world, blob: commit(world, world.all, blob, **NOT_THERE)),
        "bad_body": lambda world: raw_commit(world, b"<BlockList><Latest>"),
        "bomb": lambda world: raw_commit(world, bomb().encode()),
        "never_staged": lambda world: commit(world, world.all, name(), staged=(1,), listed=(1, 2)),
        "in_another_order": lambda world: commit(world, world.all, name(), staged=(3, 1, 2), listed=(1, 2, 3)),
        "one_of_them_twice": lambda world: commit(world, world.all, name(), staged=(1, 2), listed=(1, 2, 1)),
        "empty": lambda world: commit(world, world.all, name(), staged=(1,), listed=()),
        "twice": committed_twice,
    },
    "get_block_list": Operation(block_list, "cw").cases()
    | {"absent": lambda world: str(world.all.get_blob_client(name()).get_block_list("all"))},
    "delete_blob": Operation(delete, "rl").cases()
    | {"bad_precondition": with_blob(lambda world, blob: delete(world, world.all, blob, **UNLIKE))},
    "delete_blobs": Operation(delete_many, "rl").cases(),
    "copy_blob": Operation(copy, "rl").cases()
    | {
        "bad_precondition": with_blob(lambda world, blob: copy(world, world.all, blob, **UNLIKE)),
        "source_unlike": with_blob(
            lambda world, blob: copy(
                world,
                world.all,
                blob,
                source_etag='"0x1"',
                source_match_condition=MatchConditions.IfNotModified,
            )
        ),
    },
    "list_blobs": Operation(list_blobs, "rcw").cases()
    | {"absent": lambda world: f"{[*world.all.list_blobs(name_starts_with='nothing')]}"},
    "get_container": Operation(get_container, "l", before=False).cases()
    | {"absent": lambda world: get_container(world, world.client(world.key_of_all(), name()), None)},
    "create_container": Operation(create_container, "rl", before=False).cases()
    | {"absent": lambda world: create_container(world, world.client(world.key_of_all(), name()), None)},
}


def observe(world):
    def play(case):
        try:
            return case(world)
        except HttpResponseError as error:
            return f"{error.status_code} {error.response.headers.get('x-ms-error-code')}"

    return play
