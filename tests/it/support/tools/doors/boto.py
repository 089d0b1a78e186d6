"""What people do with boto3: whole files in parts, pages, presigned URLs, metadata, hosts that are buckets."""

import io
import os
import socket
import tempfile
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError
from expect import refused, same, true

BUCKET = "bkt"
MIB = 1 << 20


class Client:
    """`keys`: ID:SECRET."""

    def __init__(self, endpoint, keys):
        self.endpoint = endpoint
        self.identity, _, self.secret = keys.partition(":")
        self.s3 = self.with_config()

    def with_config(self, endpoint=None, **wishes):
        wishes = {"s3": {"addressing_style": "path"}, "retries": {"total_max_attempts": 1}} | wishes
        return boto3.client(
            "s3",
            endpoint_url=endpoint or self.endpoint,
            region_name="eu-central-1",
            aws_access_key_id=self.identity,
            aws_secret_access_key=self.secret,
            config=Config(**wishes),
        )


def a_file_goes_in_parts_and_comes_in_ranges(client):
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, "source"), os.path.join(folder, "target")
        with open(source, "wb") as file:
            file.write(os.urandom(20 * MIB + 7))
        in_parts = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
        client.s3.upload_file(source, BUCKET, "large/file", Config=in_parts)
        found = client.s3.head_object(Bucket=BUCKET, Key="large/file")
        same("its length", found["ContentLength"], 20 * MIB + 7)
        true(found["ETag"].endswith('-3"'), f"an ETag of three parts: {found['ETag']}")
        client.s3.download_file(BUCKET, "large/file", target, Config=in_parts)
        with open(source, "rb") as first, open(target, "rb") as second:
            true(first.read() == second.read(), "the file that came is the one that went")


def what_is_said_of_an_object_comes_back(client):
    said = {
        "ContentType": "application/x-tar",
        "ContentEncoding": "gzip",
        "CacheControl": "max-age=60",
        "ContentDisposition": "attachment",
    }
    metadata = {"outputid": "0123", "with-dash": "two words"}
    client.s3.put_object(Bucket=BUCKET, Key="said", Body=b"x", Metadata=metadata, **said)
    for found in (client.s3.get_object(Bucket=BUCKET, Key="said"), client.s3.head_object(Bucket=BUCKET, Key="said")):
        same("metadata", found["Metadata"], metadata)
        same("the rest", {name: found.get(name) for name in said}, said)


def checksums_are_kept_and_looked_at(client):
    for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"):
        try:
            client.s3.put_object(Bucket=BUCKET, Key="sums", Body=b"123456789", ChecksumAlgorithm=algorithm)
        except Exception as error:  # boto3 needs a library of its own for some
            if "awscrt" in str(error).lower() or "crt" in str(error).lower():
                continue
            raise
        found = client.s3.get_object(Bucket=BUCKET, Key="sums", ChecksumMode="ENABLED")
        same(algorithm, found["Body"].read(), b"123456789")


def lists_have_pages_prefixes_and_folders(client):
    names = [f"listed/{folder}/{number:02}" for folder in "ab" for number in range(15)]
    for name in names:
        client.s3.put_object(Bucket=BUCKET, Key=name, Body=b"x")
    pages = client.s3.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix="listed/", PaginationConfig={"PageSize": 7}
    )
    same("all names", [entry["Key"] for page in pages for entry in page["Contents"]], names)
    older = client.s3.get_paginator("list_objects").paginate(
        Bucket=BUCKET, Prefix="listed/", PaginationConfig={"PageSize": 7}
    )
    same("by the older call", [entry["Key"] for page in older for entry in page["Contents"]], names)
    after = client.s3.list_objects_v2(Bucket=BUCKET, Prefix="listed/", StartAfter="listed/b/12")
    same("after a name", [entry["Key"] for entry in after["Contents"]], names[-2:])
    folders = client.s3.list_objects_v2(Bucket=BUCKET, Prefix="listed/", Delimiter="/")
    same("folders", [entry["Prefix"] for entry in folders["CommonPrefixes"]], ["listed/a/", "listed/b/"])
    gone = client.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": name} for name in names]})
    same("deleted", len(gone["Deleted"]), 30)
    same("nothing is left", client.s3.list_objects_v2(Bucket=BUCKET, Prefix="listed/")["KeyCount"], 0)


def odd_names_are_names(client):
    for key in ("a b", "a+b", "ä/ö", "a//b/", "%41", "a&b=c?d", "'quoted'", "~.-_", "tab\there"):
        client.s3.put_object(Bucket=BUCKET, Key=f"odd/{key}", Body=key.encode())
        same(key, client.s3.get_object(Bucket=BUCKET, Key=f"odd/{key}")["Body"].read(), key.encode())
        listed = client.s3.list_objects_v2(Bucket=BUCKET, Prefix=f"odd/{key}")
        true(f"odd/{key}" in [entry["Key"] for entry in listed["Contents"]], f"{key!r} is listed")


def presigned_addresses_need_no_keys(client):
    put = client.s3.generate_presigned_url("put_object", {"Bucket": BUCKET, "Key": "presigned"}, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(put, data=b"by URL", method="PUT")) as answer:
        same("PUT", answer.status, 200)
    wishes = {"Bucket": BUCKET, "Key": "presigned", "ResponseContentType": "text/plain"}
    get = client.s3.generate_presigned_url("get_object", wishes, ExpiresIn=60)
    with urllib.request.urlopen(get) as answer:
        same("GET", (answer.read(), answer.headers["content-type"]), (b"by URL", "text/plain"))
    changed = refused(
        "another name", urllib.error.HTTPError, lambda: urllib.request.urlopen(get.replace("presigned", "other"))
    )
    same("another name", changed.code, 403)


def the_owner_signs_nothing_on_loopback(client):
    unsigned = client.with_config(signature_version=UNSIGNED)
    unsigned.put_object(Bucket="unsigned", Key="a", Body=b"x")
    same("unsigned", unsigned.get_object(Bucket="unsigned", Key="a")["Body"].read(), b"x")


def a_host_can_be_a_bucket(client):
    look_up = socket.getaddrinfo

    def local(host, *arguments, **wishes):
        return look_up("127.0.0.1" if str(host).endswith("localhost") else host, *arguments, **wishes)

    socket.getaddrinfo = local
    try:
        port = client.endpoint.split(":")[2].split("/")[0]
        virtual = client.with_config(f"http://s3.localhost:{port}", s3={"addressing_style": "virtual"})
        virtual.put_object(Bucket=BUCKET, Key="by/host", Body=b"x")
        same("by its host", virtual.get_object(Bucket=BUCKET, Key="by/host")["Body"].read(), b"x")
    finally:
        socket.getaddrinfo = look_up
    same("by its path", client.s3.get_object(Bucket=BUCKET, Key="by/host")["Body"].read(), b"x")


def a_stream_of_unknown_length(client):
    client.s3.upload_fileobj(io.BytesIO(b"y" * (9 * MIB)), BUCKET, "stream")
    same("its length", client.s3.head_object(Bucket=BUCKET, Key="stream")["ContentLength"], 9 * MIB)


def what_is_not_served_says_so(client):
    for what, call in (
        ("versioning", lambda: client.s3.put_object_tagging(Bucket=BUCKET, Key="a", Tagging={"TagSet": []})),
        ("a policy", lambda: client.s3.put_bucket_policy(Bucket=BUCKET, Policy="{}")),
    ):
        error = refused(what, ClientError, call)
        code = error.response["ResponseMetadata"]["HTTPStatusCode"]
        true(400 <= code < 600 and error.response["Error"]["Message"], f"{what}: {error.response}")


SCENARIOS = [
    a_file_goes_in_parts_and_comes_in_ranges,
    what_is_said_of_an_object_comes_back,
    checksums_are_kept_and_looked_at,
    lists_have_pages_prefixes_and_folders,
    odd_names_are_names,
    presigned_addresses_need_no_keys,
    the_owner_signs_nothing_on_loopback,
    a_host_can_be_a_bucket,
    a_stream_of_unknown_length,
    what_is_not_served_says_so,
]
