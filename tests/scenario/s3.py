"""s3.py - readers whose store is a bucket, and the servers to have it in

    class Story(S3Scenario):
        def test_something(self):
            reader = self.s3_reader()               in a new bucket of Ceph's RGW
            reader = self.s3_reader(swift())        … of Swift
            reader = self.s3_reader(peer)           … of a scripted S3Peer

rgw() and swift() are started when they are first wanted and shared by all tests
of a run: who pauses, limits or kills something of them undoes it, or works on
rgw().gateway(), a process of its own in front of the same data.

That a server cannot be started is an error of each test that wants it.
"""
import atexit
import functools
import hashlib
import os
import subprocess
import uuid

from client import Client, chunk, fetch, head, LAST_CHUNK
from harness import IS_INSTRUMENTED, Reader, Scenario
from object_api import PATCH_TYPE, commit, commit_digest
from s3_peer import S3Peer
from s3_rgw import Rgw
from s3_servers import bring_up
from s3_swift import Swift

IS_LONG = bool(os.environ.get("SCENARIO_LONG"))
MIB = 1 << 20
PART = 5 * MIB              # the smallest that S3 takes


@functools.cache
def rgw():
    return shared(Rgw)


@functools.cache
def large_rgw():
    """For what may be more than memory has room for: in the long run on disk."""
    if not IS_LONG:
        return rgw()
    return shared(functools.partial(Rgw, store="bluestore",
                                    capacity=32 << 30))


@functools.cache
def swift():
    return shared(Swift)


def shared(cls):
    server = bring_up(cls)
    atexit.register(server.close)
    return server


def key_settings(place):
    """Whom a reader is to sign as."""
    return {"AWS_ACCESS_KEY_ID": place.key,
            "AWS_SECRET_ACCESS_KEY": place.secret}


class S3Reader(Reader):
    """A reader, and what is in its bucket.

    `place` is where that is: an Rgw, one of its gateways, a Swift, an S3Peer.
    """

    place = None

    @property
    def bucket(self):
        return self.settings["READER_S3_BUCKET"]

    @property
    def prefix(self):
        return self.settings["READER_S3_PREFIX"] or ""

    def keys(self):
        """Visible in the bucket: key -> size."""
        if isinstance(self.place, S3Peer):
            return {k: len(o[0]) for k, o in self.place.objects.items()}
        return self.place.client().keys(self.bucket)

    def contents(self):
        """Keys of what clients sent; the others describe it."""
        return {key: size for key, size in self.keys().items()
                if not key.endswith((".json", ".part"))}

    def key_of(self, object_id):
        """Where its content is."""
        [key] = [key for key in self.contents()
                 if key.startswith(f"{self.prefix}{object_id}/")]
        return key

    def uploads(self):
        """Multipart uploads that are neither complete nor aborted."""
        if isinstance(self.place, S3Peer):
            return [(u[0], i) for i, u in self.place.uploads.items()]
        return self.place.client().uploads(self.bucket)

    def leftovers(self):
        """What is in the bucket and belongs to no visible object."""
        ids = self.objects()
        return self.uploads() + [key for key in self.keys()
                                 if not any(i in key for i in ids)]

    def staged(self):
        return self.uploads()

    # ---- the object API ---------------------------------------------------------

    def stage(self, object_id, data, *fields, name="x.bin", chunked=False):
        """PUT; the answer, also one that comes before everything is sent."""
        length = "Transfer-Encoding: chunked" if chunked \
            else f"Content-Length: {len(data)}"
        with Client(self.port, timeout=120) as client:
            client.send(head(
                "PUT", f"/objects/{object_id}", *fields, length,
                f'Content-Disposition: attachment; filename="{name}"'))
            try:
                for start in range(0, len(data), MIB):
                    piece = data[start:start + MIB]
                    client.send(chunk(piece) if chunked else piece)
                client.send(LAST_CHUNK if chunked else b"")
            except ConnectionError:
                pass
            return client.response()

    def commit(self, object_id, data):
        return commit(self, object_id, data)

    def commit_digest(self, object_id, digest):
        return commit_digest(self, object_id, digest)

    def append(self, object_id, offset, data):
        return fetch(self.port, "PATCH", f"/objects/{object_id}",
                     f"Upload-Offset: {offset}", PATCH_TYPE, body=data)

    def offset(self, object_id):
        """Where it ends; None when it is not known."""
        answer = fetch(self.port, "HEAD", f"/objects/{object_id}")
        return int(answer.headers["upload-offset"]) \
            if answer.status == 200 else None

    def download(self, object_id):
        return download(self, object_id)

    def remove(self, object_id):
        return fetch(self.port, "DELETE", f"/objects/{object_id}")


def download(reader, object_id):
    """(size, SHA-256) of what it gives back, piece by piece."""
    content, size = hashlib.sha256(), 0
    with Client(reader.port, timeout=120) as client:
        client.request("GET", f"/objects/{object_id}")
        status, _, fields = client.take_head()
        if status != 200:
            raise AssertionError(f"{status} for {object_id}")
        while size < int(fields["content-length"]):
            if not client.buffer and not client.fill():
                break
            size += len(client.buffer)
            content.update(client.buffer)
            client.buffer = b""
    return size, content.hexdigest()


class S3Scenario(Scenario):

    def s3_reader(self, place=None, wait=True, bucket=None, **settings):
        """A reader with a bucket of its own; settings may change anything."""
        place = place or rgw()
        if bucket is None:
            bucket = self.new_bucket(place)
        reader = self.program(S3Reader, "reader", {})
        reader.place = place
        reader.settings = {
            "READER_STORE": "s3", "READER_THREADS": 1,
            "READER_S3_ENDPOINT": place.endpoint, "READER_S3_BUCKET": bucket,
            "READER_S3_PREFIX": None, "READER_S3_REGION": "us-east-1",
            "READER_S3_PART_BYTES": PART, "READER_S3_PATH_STYLE": "true",
            **key_settings(place), **settings}
        reader.start()
        return reader.wait_ready() if wait else reader

    def new_bucket(self, place):
        if isinstance(place, S3Peer):
            return place.bucket
        bucket = f"b-{uuid.uuid4().hex[:20]}"
        client = place.client()
        client.create_bucket(bucket)
        self.addCleanup(client.empty, bucket)
        return bucket

    def peer(self, **scripts):
        target = S3Peer(**scripts)
        self.faults.append(target)
        return target

    # ---- others who read the bucket -----------------------------------------------

    def aws(self, place, *words):
        """The aws command on that server; what it printed."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder),
               "LANG": "C.UTF-8", "AWS_DEFAULT_REGION": "us-east-1",
               "AWS_EC2_METADATA_DISABLED": "true",
               "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
               "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
               **key_settings(place)}
        done = subprocess.run(
            ["aws", "--endpoint-url", place.endpoint, *map(str, words)],
            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout

    def read_by_aws(self, reader):
        """Contents in the bucket: key -> SHA-256, as aws s3 cp has it."""
        folder = self.scratch(f"aws-{uuid.uuid4().hex[:6]}")
        self.aws(reader.place, "s3", "cp", "--recursive", "--only-show-errors",
                 "--exclude", "*.json", f"s3://{reader.bucket}/", folder)
        found = {}
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    found[path.relative_to(folder).as_posix()] = \
                        hashlib.file_digest(file, "sha256").hexdigest()
        return found

    # ---- invariants ------------------------------------------------------------------

    def assert_grew_less(self, reader, before, limit):
        """Its resident size; sanitizers keep memory of their own."""
        if not IS_INSTRUMENTED:
            self.assertLess(reader.rss() - before, limit)

    def assert_staged(self, answer, data):
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json()["size"], len(data))
        self.assertEqual(answer.json()["sha256"],
                         hashlib.sha256(data).hexdigest())

    def assert_kept(self, reader, object_id, data):
        """Staged and committed, and then there."""
        self.assert_staged(reader.stage(object_id, data), data)
        answer = reader.commit(object_id, data)
        self.assertEqual(answer.status, 201, answer)
        self.assert_there(reader, object_id, data)

    def assert_there(self, reader, object_id, data):
        self.assertEqual(reader.download(object_id),
                         (len(data), hashlib.sha256(data).hexdigest()))
