// What programs do with Amazon's SDK for JavaScript, version 3: node s3.mjs ENDPOINT ID SECRET

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import { createRequire } from "node:module";

// The SDK lies where the tests were installed, not beside this file.
const require = createRequire(process.env.SDK_ROOT);
const S3 = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const [endpoint, accessKeyId, secretAccessKey] = process.argv.slice(2);
const client = new S3.S3Client({
  endpoint,
  region: "eu-west-1",
  forcePathStyle: true,
  maxAttempts: 1,
  credentials: { accessKeyId, secretAccessKey },
});
const Bucket = "bkt";
const send = (Name, input) => client.send(new S3[`${Name}Command`]({ Bucket, ...input }));
const bytes = async (answer) => Buffer.from(await answer.Body.transformToByteArray());
const in_pieces = (body, size) =>
  Readable.from(Array.from({ length: Math.ceil(body.length / size) }, (_, at) => body.subarray(at * size, (at + 1) * size)));

// A string, then a stream whose length is known: aws-chunked, chunked, with a checksum behind it.
const plain = await send("PutObject", { Key: "plain", Body: "hello", Metadata: { outputid: "1" } });
assert.equal(plain.ETag, '"5d41402abc4b2a76b9719d911017c592"');
const got = await send("GetObject", { Key: "plain", ChecksumMode: "ENABLED" });
assert.equal(String(await bytes(got)), "hello");
assert.deepEqual(got.Metadata, { outputid: "1" });

for (const length of [0, 1, 65_536, 3_000_000]) {
  const body = randomBytes(length);
  await send("PutObject", { Key: "stream", Body: in_pieces(body, 50_000), ContentLength: length });
  assert.ok((await bytes(await send("GetObject", { Key: "stream" }))).equals(body), `a stream of ${length} bytes`);
}

// A stream whose length is not known: one PUT, or parts.
for (const length of [1_000, 12 << 20]) {
  const body = randomBytes(length);
  await new Upload({ client, params: { Bucket, Key: "upload", Body: in_pieces(body, 100_000) } }).done();
  const answer = await send("GetObject", { Key: "upload", ChecksumMode: "ENABLED" });
  assert.ok((await bytes(answer)).equals(body), `an upload of ${length} bytes`);
}

const range = await send("GetObject", { Key: "plain", Range: "bytes=1-3" });
assert.equal(String(await bytes(range)), "ell");
assert.equal((await send("HeadObject", { Key: "plain" })).ContentLength, 5);
await assert.rejects(send("GetObject", { Key: "never" }), { name: "NoSuchKey" });
await assert.rejects(send("HeadObject", { Key: "never" }), { name: "NotFound" });
await send("HeadBucket", {});

for (const Key of ["list/a", "list/b", "list/c/d"]) await send("PutObject", { Key, Body: Key });
const listed = await send("ListObjectsV2", { Prefix: "list/", Delimiter: "/" });
assert.deepEqual(listed.Contents.map((entry) => entry.Key), ["list/a", "list/b"]);
assert.deepEqual(listed.CommonPrefixes.map((entry) => entry.Prefix), ["list/c/"]);

const url = await getSignedUrl(client, new S3.GetObjectCommand({ Bucket, Key: "plain" }), { expiresIn: 60 });
assert.equal(await (await fetch(url)).text(), "hello");
assert.equal((await fetch(url.replace("plain", "other"))).status, 403);

const gone = await send("DeleteObjects", { Delete: { Objects: [{ Key: "list/a" }, { Key: "list/b" }] } });
assert.equal(gone.Deleted.length, 2);
await assert.rejects(send("GetObject", { Key: "list/a" }), { name: "NoSuchKey" });
console.log("done");
