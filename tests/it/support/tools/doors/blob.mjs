// What programs do with Azure's SDK for JavaScript, lage's own among them: node blob.mjs CONNECTION_STRING READER

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { Readable } from "node:stream";

// The SDK lies where the tests were installed, not beside this file.
const require = createRequire(process.env.SDK_ROOT);
const { BlobServiceClient } = require("@azure/storage-blob");

const [string, readonly] = process.argv.slice(2);
const options = { retryOptions: { maxTries: 1 } };
const container = BlobServiceClient.fromConnectionString(string, options).getContainerClient("cache");
const reader = BlobServiceClient.fromConnectionString(readonly, options).getContainerClient("cache");
const MIB = 1 << 20;

for (const length of [0, 3, 10 * MIB + 1]) {
  const body = randomBytes(length);
  const blob = container.getBlockBlobClient(`stream-${length}`);
  await blob.uploadStream(Readable.from([body]), 4 * MIB, 5);
  assert.ok((await blob.downloadToBuffer()).equals(body), `a stream of ${length} bytes`);
  const answer = await reader.getBlobClient(`stream-${length}`).download(0);
  assert.equal(answer.contentLength, length);
  assert.ok(answer.etag && answer.lastModified, "what a client reads of an answer");
}

// Two uploads of one blob at once, as lage does it: both succeed.
const twice = container.getBlockBlobClient("twice");
const body = randomBytes(9 * MIB);
await Promise.all([1, 2].map(() => twice.uploadStream(Readable.from([body]), 4 * MIB, 5)));
assert.ok((await twice.downloadToBuffer()).equals(body));

const small = container.getBlockBlobClient("folder/small ä");
await small.upload("hello", 5, { blobHTTPHeaders: { blobContentType: "text/plain" }, metadata: { one: "1" } });
const properties = await small.getProperties();
assert.equal(properties.contentType, "text/plain");
assert.deepEqual(properties.metadata, { one: "1" });
assert.ok(await small.exists());
assert.ok(!(await container.getBlobClient("never").exists()));
await assert.rejects(container.getBlobClient("never").download(0), { statusCode: 404, code: "BlobNotFound" });
await assert.rejects(reader.getBlockBlobClient("x").upload("y", 1), {
  statusCode: 403,
  code: "AuthorizationPermissionMismatch",
});
await assert.rejects(small.upload("again", 5, { conditions: { ifNoneMatch: "*" } }), { code: "BlobAlreadyExists" });

const names = [];
for await (const blob of reader.listBlobsFlat({ prefix: "folder/" })) names.push(blob.name);
assert.deepEqual(names, ["folder/small ä"]);
assert.ok((await container.createIfNotExists()) && (await container.exists()), "as nx-remotecache-azure begins");
await small.delete();
assert.ok(!(await small.exists()));
console.log("done");
