"""What people do with Azure's SDK for Python: blocks, ranges in parallel, lists, metadata, signatures."""

import os

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient, ContentSettings
from expect import refused, same, true

MIB = 1 << 20


class Client:
    """`string`: a connection string that may write; `reader`: one that may only read."""

    def __init__(self, string, reader):
        wishes = {"retry_total": 0, "max_single_put_size": 4 * MIB, "max_block_size": 4 * MIB}
        self.container = BlobServiceClient.from_connection_string(string, **wishes).get_container_client("cache")
        self.reader = BlobServiceClient.from_connection_string(reader, retry_total=0).get_container_client("cache")


def seventy_mib_go_in_blocks_and_come_in_ranges(client):
    body = os.urandom(70 * MIB)
    client.container.upload_blob("large", body, max_concurrency=4)
    blob = client.container.get_blob_client("large")
    same("its length", blob.get_blob_properties().size, len(body))
    committed, waiting = blob.get_block_list("all")
    same("its blocks", (len(committed), len(waiting)), (18, 0))
    true(blob.download_blob(max_concurrency=4).readall() == body, "the blob that came is the one that went")
    true(blob.download_blob(offset=5 * MIB, length=3).readall() == body[5 * MIB : 5 * MIB + 3], "a range")


def what_is_said_of_a_blob_comes_back(client):
    settings = ContentSettings(content_type="text/plain", content_encoding="gzip", cache_control="max-age=60")
    metadata = {"one": "1", "two_words": "a b"}
    client.container.upload_blob("said", b"x", content_settings=settings, metadata=metadata)
    found = client.container.get_blob_client("said").get_blob_properties()
    same("metadata", found.metadata, metadata)
    same(
        "settings",
        (found.content_settings.content_type, found.content_settings.content_encoding),
        ("text/plain", "gzip"),
    )


def lists_have_pages_prefixes_and_folders(client):
    names = [f"listed/{folder}/{number:02}" for folder in "ab" for number in range(8)]
    for name in names:
        client.container.upload_blob(name, b"x")
    pages = client.container.list_blobs(name_starts_with="listed/", results_per_page=5).by_page()
    same("all names", [blob.name for page in pages for blob in page], names)
    same("by the reader", [blob.name for blob in client.reader.list_blobs(name_starts_with="listed/b")], names[8:])
    folders = [entry.name for entry in client.container.walk_blobs("listed/", delimiter="/")]
    same("folders", folders, ["listed/a/", "listed/b/"])
    client.container.delete_blobs(*names)
    same("nothing is left", [*client.container.list_blobs(name_starts_with="listed/")], [])


def odd_names_are_names(client):
    for name in ("a b", "a+b", "ä/ö", "a//b/c", "%41", "a&b=c?d", "'quoted'", "~.-_"):
        client.container.upload_blob(f"odd/{name}", name.encode())
        same(name, client.container.download_blob(f"odd/{name}").readall(), name.encode())
        listed = [blob.name for blob in client.container.list_blobs(name_starts_with=f"odd/{name}")]
        true(f"odd/{name}" in listed, f"{name!r} is listed: {listed}")


def a_reader_reads_and_does_not_write(client):
    client.container.upload_blob("shared", b"x", overwrite=True)
    same("it reads", client.reader.download_blob("shared").readall(), b"x")
    error = refused("it writes", HttpResponseError, lambda: client.reader.upload_blob("shared", b"y", overwrite=True))
    same("it writes", (error.status_code, error.error_code), (403, "AuthorizationPermissionMismatch"))
    error = refused("it deletes", HttpResponseError, lambda: client.reader.delete_blob("shared"))
    same("it deletes", error.status_code, 403)
    error = refused("it deletes many", HttpResponseError, lambda: client.reader.delete_blobs("shared", "other"))
    same("it deletes many", [part.status_code for part in error.parts], [403, 403])
    same("unchanged", client.container.download_blob("shared").readall(), b"x")


def what_is_there_is_not_written_again_unasked(client):
    client.container.upload_blob("once", b"1")
    refused("again", ResourceExistsError, lambda: client.container.upload_blob("once", b"2"))
    client.container.upload_blob("once", b"3", overwrite=True)
    same("asked", client.container.download_blob("once").readall(), b"3")
    refused("absent", ResourceNotFoundError, lambda: client.container.download_blob("never"))
    true(not client.container.get_blob_client("never").exists(), "what is not there does not exist")


SCENARIOS = [
    seventy_mib_go_in_blocks_and_come_in_ranges,
    what_is_said_of_a_blob_comes_back,
    lists_have_pages_prefixes_and_folders,
    odd_names_are_names,
    a_reader_reads_and_does_not_write,
    what_is_there_is_not_written_again_unasked,
]
