"""A reader of a bucket takes as much memory for 8 GiB as for 100 MB."""
import hashlib

from client import LAST_CHUNK, Client, chunk, head, wait_until
from fault_target import KEEP
from harness import payload, slow
from object_api import ID
from s3 import IS_LONG, MIB, PART, S3Scenario, large_rgw

LARGE = 8 << 30 if IS_LONG else 400 * MIB
DEFAULT_PART = 8 * MIB      # READER_S3_PART_BYTES
PARALLEL = 8                # more than the server is ever behind
RING = 256 << 10            # READER_BUFFER_SIZE
CALL = 100 << 10            # libcurl's, for each part on its way


def blocks(size):
    """Blocks of 1 MiB that differ by their number."""
    block = bytearray(payload(MIB))
    for number in range(size // MIB):
        block[:6] = number.to_bytes(6, "big")
        yield block


def swallow(ex):
    """A part of which the server keeps nothing."""
    ex.proceed()
    ex.read_all()
    ex.leg.body.clear()
    ex.answer(200, b"", 'ETag: "x"')
    return KEEP


def flow(reader, size, known):
    """Stage an object; what the reader says of it."""
    length = f"Content-Length: {size}" if known \
        else "Transfer-Encoding: chunked"
    with Client(reader.port, timeout=300) as client:
        client.send(head("PUT", f"/objects/{ID % 1}", length))
        for block in blocks(size):
            client.send(block if known else chunk(block))
        client.send(b"" if known else LAST_CHUNK)
        return client.response().json()


class Memory(S3Scenario):

    def peak_after(self, size, known):
        """(before, highest) resident size of a fresh reader."""
        reader = self.s3_reader(large_rgw(), READER_S3_PART_BYTES=None,
                                READER_S3_PARALLEL=PARALLEL)
        before = reader.rss()
        answer = flow(reader, size, known)
        self.assertEqual(answer["size"], size)
        peak = reader.rss("VmHWM")
        reader.remove(ID % 1)
        wait_until(lambda: not reader.uploads(), "it is aborted")
        reader.stop()
        return before, peak

    @slow("sanitizers keep memory of their own")
    def test_the_peak_does_not_grow_with_the_size(self):
        for known in (True, False):
            with self.subTest(known=known):
                _, small = self.peak_after(100 * MIB, known)
                _, large = self.peak_after(LARGE, known)
                self.assertLessEqual(large - small, 1 * MIB)

    @slow("sanitizers keep memory of their own")
    def test_an_upload_costs_what_is_documented(self):
        """reader/README.md: parts, a ring, and calls of libcurl."""
        before, peak = self.peak_after(200 * MIB, True)
        self.assertLessEqual(
            peak - before, (1 + PARALLEL) * DEFAULT_PART + RING +
            (1 + PARALLEL) * CALL + MIB)

    @slow("sanitizers keep memory of their own")
    def test_parts_that_have_to_be_larger_are_fewer(self):
        """250 GiB are announced: parts of 26 MiB, of which two are at work."""
        part = 26 * MIB
        peer = self.peer(part=swallow)
        reader = self.s3_reader(peer, READER_S3_PARALLEL=4)
        before = reader.rss()
        with Client(reader.port, timeout=300) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {250 << 30}"))
            for block in blocks(8 * part):
                client.send(block)
            wait_until(lambda: len(peer.of("part")) >= 7, "parts come")
            self.assertEqual(peer.of("part")[0].size, part)
            self.assertLessEqual(reader.rss("VmHWM") - before,
                                 2 * part + RING + 5 * CALL + MIB)
            client.reset()

    @slow("sanitizers keep memory of their own")
    def test_many_uploads_cost_that_many_times(self):
        """Each is in the middle of its third part; none is finished."""
        n = 10
        reader = self.s3_reader(READER_S3_PARALLEL=1)
        before = reader.rss()
        data = payload(2 * PART + PART // 2)
        clients = [Client(reader.port) for _ in range(n)]
        for number, client in enumerate(clients):
            self.addCleanup(client.close)
            client.send(head("PUT", f"/objects/{ID % number}",
                             f"Content-Length: {len(data) + 1}"), data)
        wait_until(lambda: reader.metric("reader_bytes_received_total") ==
                   n * len(data), "all of it has arrived")
        self.assertLessEqual(reader.rss() - before,
                             n * (2 * PART + RING + 2 * CALL) + 2 * MIB)
        for client in clients:
            client.send(b"x")
            self.assertEqual(client.response().status, 200)


class Exact(S3Scenario):
    """8 GiB in the long run, read back by aws s3 cp."""

    @slow("too much data")
    def test_a_large_object_is_exact_by_the_reader_and_by_the_bucket(self):
        size = LARGE if IS_LONG else 128 * MIB
        reader = self.s3_reader(large_rgw(), READER_S3_PART_BYTES=None)
        answer = flow(reader, size, known=False)
        self.assertEqual(answer["size"], size)
        content = hashlib.sha256()
        for block in blocks(size):
            content.update(block)
        digest = content.hexdigest()
        self.assertEqual(answer["sha256"], digest)
        committed = reader.commit_digest(ID % 1, digest)
        self.assertEqual(committed.status, 201, committed)
        self.assertEqual(self.read_by_aws(reader),
                         {reader.key_of(ID % 1): digest})
        self.assertEqual(reader.download(ID % 1), (size, digest))
