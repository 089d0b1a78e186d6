"""Every operation of the S3 door by Amazon's own client, as it should be and as it should not."""

import datetime
import hashlib
import itertools
import os
import urllib.error
import urllib.request
import xml.etree.ElementTree

import boto3
import botocore.auth
import botocore.awsrequest
from botocore.config import Config
from botocore.exceptions import ClientError

BUCKET = "bkt"
NUMBERS = itertools.count()
NOW = botocore.auth.get_current_datetime


class World:
    """A store with keys that may do all in one bucket, keys that may read there, and keys that may not."""

    def __init__(self, endpoint, all_keys, reader, writer):
        self.endpoint = endpoint
        self.all = self.client(all_keys)
        self.reader, self.writer = self.client(reader), self.client(writer)
        self.forged = self.client(all_keys.partition(":")[0] + ":something-else")

    def client(self, keys):
        identity, _, secret = keys.partition(":")
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=identity,
            aws_secret_access_key=secret,
            config=Config(
                signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}
            ),
        )


def name():
    return f"name-{os.getpid()}-{next(NUMBERS)}"


def early(minutes):
    """A clock that is behind."""
    return lambda *arguments, **wishes: NOW(*arguments, **wishes) - datetime.timedelta(minutes=minutes)


def status(answer):
    return answer["ResponseMetadata"]["HTTPStatusCode"]


class Operation:
    """A call that is made of a client, a bucket and a key; `presigned`: its name and parameters for a URL."""

    def __init__(self, call, lacks, before=True, presigned=None, method="GET"):
        self.call, self.lacks, self.before, self.presigned, self.method = call, lacks, before, presigned, method

    def ready(self, world):
        key = name()
        if self.before:
            world.all.put_object(Bucket=BUCKET, Key=key, Body=b"hello")
        return key

    def cases(self):
        def by(client, bucket=BUCKET):
            def play(world):
                return self.call(world, client(world), bucket, self.ready(world))

            return play

        def late(world):
            key = self.ready(world)
            botocore.auth.get_current_datetime = early(20)
            try:
                return self.call(world, world.all, BUCKET, key)
            finally:
                botocore.auth.get_current_datetime = NOW

        def expired(world):
            key = self.ready(world)
            operation, parameters = self.presigned
            botocore.auth.get_current_datetime = early(20)
            try:
                wishes = {"Bucket": BUCKET} | ({"Key": key} | parameters if parameters is not None else {})
                url = world.all.generate_presigned_url(operation, wishes, ExpiresIn=60, HttpMethod=self.method)
            finally:
                botocore.auth.get_current_datetime = NOW
            return fetched(url, self.method)

        cases = {
            "happy": by(lambda world: world.all),
            "denied": by(lambda world: getattr(world, self.lacks)),
            "elsewhere": by(lambda world: world.all, bucket="other"),
            "bad_signature": by(lambda world: world.forged),
            "bad_clock": late,
        }
        if self.presigned:
            cases["expired"] = expired
        if self.before:
            cases["absent"] = lambda world: self.call(world, world.all, BUCKET, name())
        return cases


def fetched(url, method):
    body = b"" if method in ("PUT", "POST") else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method)) as answer:
            return f"{answer.status} {answer.read()}"
    except urllib.error.HTTPError as error:
        body = error.read()
        code = xml.etree.ElementTree.fromstring(body).findtext("Code") if body else ""
        return f"{error.code} {code}".rstrip()


def get(_world, client, bucket, key, **wishes):
    answer = client.get_object(Bucket=bucket, Key=key, **wishes)
    return f"{status(answer)} {answer['Body'].read()}"


def head(_world, client, bucket, key, **wishes):
    answer = client.head_object(Bucket=bucket, Key=key, **wishes)
    return f"{status(answer)} {answer['ContentLength']} {answer['ETag']}"


def put(_world, client, bucket, key, **wishes):
    answer = client.put_object(Bucket=bucket, Key=key, Body=b"hello", **wishes)
    return f"{status(answer)} {answer['ETag']}"


def delete(_world, client, bucket, key, **wishes):
    return str(status(client.delete_object(Bucket=bucket, Key=key, **wishes)))


def delete_many(_world, client, bucket, key):
    answer = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}, {"Key": "nothing"}]})
    failed = [error["Code"] for error in answer.get("Errors", [])]
    return f"{status(answer)} {len(answer.get('Deleted', []))} gone {' '.join(failed)}".rstrip()


def raw_post(world, path, body):
    """A body that no client writes."""
    request = botocore.awsrequest.AWSRequest("POST", f"{world.endpoint}/{BUCKET}{path}", data=body)
    request.headers["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    credentials = world.all._request_signer._credentials
    botocore.auth.S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    sent = urllib.request.Request(request.url, data=body, method="POST", headers=dict(request.headers.items()))
    try:
        with urllib.request.urlopen(sent) as answer:
            return f"{answer.status}"
    except urllib.error.HTTPError as error:
        return f"{error.code} {xml.etree.ElementTree.fromstring(error.read()).findtext('Code')}"


def bomb(root):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    return f'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY e0 "lol">{entities}]><{root}>&e9;</{root}>'.encode()


def raw_complete(world, body):
    """A list of parts that is none."""
    key = name()
    return raw_post(world, f"/{key}?uploadId={begun(world, key)}", body)


def list_objects(world, client, bucket, _key, **wishes):
    prefix = name()
    for letter in "cab":
        world.all.put_object(Bucket=BUCKET, Key=f"{prefix}/{letter}", Body=b"hello")
    answer = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **wishes)
    found = [entry["Key"].removeprefix(prefix) for entry in answer.get("Contents", [])]
    return f"{status(answer)} {' '.join(found)}"


def by_pages(world):
    prefix = name()
    for number in range(5):
        world.all.put_object(Bucket=BUCKET, Key=f"{prefix}/{number}", Body=b"hello")
    pages = world.all.get_paginator("list_objects_v2").paginate(
        Bucket=BUCKET, Prefix=prefix, PaginationConfig={"PageSize": 2}
    )
    return " ".join(str(len(page.get("Contents", []))) for page in pages)


def folders(world):
    prefix = name()
    for key in ("a/1", "a/2", "b", "c/1"):
        world.all.put_object(Bucket=BUCKET, Key=f"{prefix}/{key}", Body=b"hello")
    answer = world.all.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/", Delimiter="/")
    found = [entry["Key"] for entry in answer.get("Contents", [])]
    common = [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
    return " ".join(key.removeprefix(f"{prefix}/") for key in found + common)


def create(_world, client, bucket, key):
    return str(status(client.create_multipart_upload(Bucket=bucket, Key=key)))


def begun(world, key):
    return world.all.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]


def part(world, client, bucket, key, **wishes):
    answer = client.upload_part(
        Bucket=bucket, Key=key, UploadId=begun(world, key), PartNumber=1, Body=b"hello", **wishes
    )
    return f"{status(answer)} {answer['ETag']}"


def complete(world, client, bucket, key, parts=(1, 2), wrong_tag=False, **wishes):
    upload = begun(world, key)
    # Whole parts of the least size that the real one takes, but for the last.
    tags = {}
    for number in sorted(parts):
        body = (b"%d" % number) * (5 << 20 if number != max(parts) else 1)
        answer = world.all.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=body)
        tags[number] = '"0"' if wrong_tag else answer["ETag"]
    listed = {"Parts": [{"PartNumber": number, "ETag": tags[number]} for number in parts]}
    answer = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload=listed, **wishes)
    length = world.all.head_object(Bucket=BUCKET, Key=key)["ContentLength"]
    count = answer["ETag"].strip('"').partition("-")[2]
    return f"{status(answer)} {length} of {count} parts"


def complete_nothing(world):
    """Parts that were never uploaded."""
    key = name()
    listed = {"Parts": [{"PartNumber": 1, "ETag": '"5d41402abc4b2a76b9719d911017c592"'}]}
    answer = world.all.complete_multipart_upload(
        Bucket=BUCKET, Key=key, UploadId=begun(world, key), MultipartUpload=listed
    )
    return str(status(answer))


def abort(world, client, bucket, key):
    return str(status(client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=begun(world, key))))


def of_no_upload(call):
    def play(world):
        return call(world, "0123456789abcdef0123456789abcdef")

    return play


def list_parts(world, client, bucket, key):
    upload = begun(world, key)
    for number in (7, 3):
        world.all.upload_part(Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=b"hello")
    answer = client.list_parts(Bucket=bucket, Key=key, UploadId=upload)
    return f"{status(answer)} {[entry['PartNumber'] for entry in answer.get('Parts', [])]}"


def list_uploads(world, client, bucket, key):
    begun(world, key)
    answer = client.list_multipart_uploads(Bucket=bucket, Prefix=key)
    return f"{status(answer)} {len(answer.get('Uploads', []))}"


def head_bucket(_world, client, bucket, _key):
    return str(status(client.head_bucket(Bucket=bucket)))


def location(_world, client, bucket, _key):
    return f"{status(answer := client.get_bucket_location(Bucket=bucket))} {answer['LocationConstraint']}"


def touch(_world, client, bucket, key, **wishes):
    """As BuildKit does: an object is copied onto itself."""
    answer = client.copy_object(
        Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": key}, MetadataDirective="REPLACE", **wishes
    )
    return f"{status(answer)} {answer['CopyObjectResult']['ETag']}"


def part_copy(world, client, bucket, key, **wishes):
    target = name()
    upload = begun(world, target)
    answer = client.upload_part_copy(
        Bucket=bucket,
        Key=target,
        UploadId=upload,
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": key},
        **wishes,
    )
    return f"{status(answer)} {answer['CopyPartResult']['ETag']}"


def lying(call, **wishes):
    return lambda world: call(world, world.all, BUCKET, name(), **wishes)


def with_object(call, **wishes):
    """A case for an object that is there."""

    def play(world):
        key = name()
        world.all.put_object(Bucket=BUCKET, Key=key, Body=b"hello")
        return call(world, world.all, BUCKET, key, **wishes)

    return play


WRONG_TAG = '"00000000000000000000000000000000"'
WRONG_MD5 = "AAAAAAAAAAAAAAAAAAAAAA=="
ZERO_CRC = "AAAAAA=="

OPERATIONS = {
    "get_object": Operation(get, "writer", presigned=("get_object", {})).cases()
    | {
        "bad_precondition": with_object(get, IfMatch=WRONG_TAG),
        "not_modified": with_object(get, IfNoneMatch='"5d41402abc4b2a76b9719d911017c592"'),
        "bad_range": with_object(get, Range="bytes=100-110"),
        "range": with_object(get, Range="bytes=1-3"),
        "suffix": with_object(get, Range="bytes=-2"),
        "range_over_the_end": with_object(get, Range="bytes=3-30"),
    },
    "head_object": Operation(head, "writer", presigned=("head_object", {}), method="HEAD").cases()
    | {
        "bad_precondition": with_object(head, IfMatch=WRONG_TAG),
        "bad_range": with_object(head, Range="bytes=100-110"),
        # go-cache-plugin asks so before it uploads, and passes the MD5 on without quotes.
        "like": with_object(head, IfMatch='"5d41402abc4b2a76b9719d911017c592"'),
        "like_without_quotes": with_object(head, IfMatch="5d41402abc4b2a76b9719d911017c592"),
    },
    "put_object": Operation(put, "reader", before=False, presigned=("put_object", {}), method="PUT").cases()
    | {
        "bad_precondition": with_object(put, IfNoneMatch="*"),
        "unlike": with_object(put, IfMatch=WRONG_TAG),
        "like": with_object(put, IfMatch='"5d41402abc4b2a76b9719d911017c592"'),
        "bad_body": lying(put, ContentMD5=WRONG_MD5),
        "bad_checksum": lying(put, ChecksumCRC32=ZERO_CRC),
        "metadata": with_object(put, Metadata={"outputid": "1", "with-dash": "2"}),
    },
    "delete_object": Operation(delete, "reader", presigned=("delete_object", {}), method="DELETE").cases(),
    "delete_objects": Operation(delete_many, "reader").cases()
    | {
        "bad_body": lambda world: raw_post(world, "/?delete", b"<Delete><Object>"),
        "bomb": lambda world: raw_post(world, "/?delete", bomb("Delete")),
    },
    "list_objects": Operation(list_objects, "writer", presigned=("list_objects_v2", None)).cases()
    | {
        "absent": lambda world: str(world.all.list_objects_v2(Bucket=BUCKET, Prefix="nothing")["KeyCount"]),
        "pages": by_pages,
        "folders": folders,
        "bad_token": lambda world: list_objects(world, world.all, BUCKET, None, MaxKeys=-1),
    },
    "create_multipart_upload": Operation(
        create, "reader", before=False, presigned=("create_multipart_upload", {}), method="POST"
    ).cases(),
    "upload_part": Operation(
        part, "reader", before=False, presigned=("upload_part", {"UploadId": "x", "PartNumber": 1}), method="PUT"
    ).cases()
    | {
        "absent": of_no_upload(
            lambda world, upload: status(
                world.all.upload_part(Bucket=BUCKET, Key=name(), UploadId=upload, PartNumber=1, Body=b"")
            )
        ),
        "bad_body": lying(part, ContentMD5=WRONG_MD5),
        "bad_checksum": lying(part, ChecksumCRC32=ZERO_CRC),
    },
    "complete_multipart_upload": Operation(
        complete,
        "reader",
        before=False,
        presigned=("complete_multipart_upload", {"UploadId": "x"}),
        method="POST",
    ).cases()
    | {
        "absent": complete_nothing,
        "no_upload": of_no_upload(
            lambda world, upload: status(
                world.all.complete_multipart_upload(
                    Bucket=BUCKET,
                    Key=name(),
                    UploadId=upload,
                    MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": WRONG_TAG}]},
                )
            )
        ),
        "bad_precondition": with_object(complete, IfNoneMatch="*"),
        "bad_body": lying(complete, wrong_tag=True),
        "bad_xml": lambda world: raw_complete(world, b"<CompleteMultipartUpload><Part>"),
        "bomb": lambda world: raw_complete(world, bomb("CompleteMultipartUpload")),
        "from_any_number": lying(complete, parts=(2, 9)),
        "in_another_order": lying(complete, parts=(2, 1)),
    },
    "abort_multipart_upload": Operation(
        abort,
        "reader",
        before=False,
        presigned=("abort_multipart_upload", {"UploadId": "x"}),
        method="DELETE",
    ).cases()
    | {
        "absent": of_no_upload(
            lambda world, upload: status(
                world.all.abort_multipart_upload(Bucket=BUCKET, Key=name(), UploadId=upload)
            )
        )
    },
    "list_parts": Operation(list_parts, "writer", before=False, presigned=("list_parts", {"UploadId": "x"})).cases()
    | {
        "absent": of_no_upload(
            lambda world, upload: status(world.all.list_parts(Bucket=BUCKET, Key=name(), UploadId=upload))
        )
    },
    "list_multipart_uploads": Operation(
        list_uploads, "writer", before=False, presigned=("list_multipart_uploads", None)
    ).cases(),
    "head_bucket": Operation(
        head_bucket, "writer", before=False, presigned=("head_bucket", None), method="HEAD"
    ).cases()
    | {"absent": lambda world: head_bucket(world, world.all, "absent", None)},
    "get_bucket_location": Operation(
        location, "writer", before=False, presigned=("get_bucket_location", None)
    ).cases(),
    "copy_object": Operation(touch, "reader").cases()
    | {"bad_precondition": with_object(touch, CopySourceIfMatch=WRONG_TAG)},
    "upload_part_copy": Operation(part_copy, "reader").cases()
    | {
        "bad_precondition": with_object(part_copy, CopySourceIfMatch=WRONG_TAG),
        "bad_range": with_object(part_copy, CopySourceRange="bytes=100-110"),
        "range": with_object(part_copy, CopySourceRange="bytes=1-3"),
    },
}


def observe(world):
    def play(case):
        try:
            return str(case(world))
        except ClientError as error:
            return f"{status(error.response)} {error.response['Error']['Code']}"

    return play
