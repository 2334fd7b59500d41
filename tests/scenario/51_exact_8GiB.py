"""8 GiB arrive exactly: only with SCENARIO_LONG=1 in the environment."""
import hashlib
import json
import os
import subprocess
import unittest

from client import Client, head
from harness import Scenario, payload, slow

GIB = 1 << 30
SIZE = int(os.environ.get("SCENARIO_EXACT_GIB", "8")) * GIB
PIECE = 1 << 20


def load_tests(loader, tests, pattern):
    """Nothing to see, and nothing to skip, in a run of ordinary length."""
    return tests if os.environ.get("SCENARIO_LONG") else unittest.TestSuite()


def pieces(size):
    """Blocks that differ by their number, so that none can be mistaken."""
    block = bytearray(payload(PIECE))
    for number in range(size // PIECE):
        block[0:6] = number.to_bytes(6, "big")
        yield block


class Exact(Scenario):

    def send(self, broadcaster, size):
        """Upload; the receipt, and the digest of what was sent."""
        digest = hashlib.sha256()
        with Client(broadcaster.port, timeout=600) as client:
            client.send(head("PUT", "/broadcast/large.bin",
                             f"Content-Length: {size}"))
            for piece in pieces(size):
                digest.update(piece)
                client.send(piece)
            return client.response(), digest.hexdigest()

    def digest_of(self, reader, object_id):
        """Of what the reader gives back, piece by piece."""
        digest = hashlib.sha256()
        with Client(reader.port, timeout=600) as client:
            client.request("GET", f"/objects/{object_id}")
            status, _, fields = client.take_head()
            self.assertEqual(status, 200)
            left = int(fields["content-length"])
            while left > 0:
                client.fill()
                digest.update(client.buffer)
                left -= len(client.buffer)
                client.buffer = b""
        return digest.hexdigest()

    @slow("too much data")
    def test_8_gib_are_the_same_in_a_file_store_and_in_its_receipt(self):
        file = self.reader()
        discard = self.reader(READER_STORE="discard")
        broadcaster = self.broadcaster([file, discard],
                                       BROADCASTER_STAGE_TIMEOUT_MS=600000,
                                       BROADCASTER_STALL_TIMEOUT_MS=600000,
                                       BROADCASTER_LAG_TIMEOUT_MS=0)
        response, digest = self.send(broadcaster, SIZE)
        self.assertEqual(response.status, 201, response)
        receipt = response.data
        self.assertEqual((receipt["size"], receipt["sha256"]), (SIZE, digest))
        for reader in (file, discard):
            entry = response.target(reader.name)
            self.assertEqual((entry["bytes"], entry["sha256"]), (SIZE, digest))
        self.assertEqual(self.digest_of(file, receipt["id"]), digest)

    def large_file(self):
        """A file with holes, and with bytes of its own in many places."""
        path = self.folder / "large.bin"
        with path.open("wb") as file:
            file.truncate(SIZE)
            for number in range(0, SIZE, 97 * PIECE + 1):
                file.seek(number)
                file.write(payload(1000, seed=number))
        with path.open("rb") as file:
            return path, hashlib.file_digest(file, "sha256").hexdigest()

    @slow("too much data")
    def test_8_gib_by_curl_from_a_file_a_pipe_and_a_form(self):
        two = self.readers(2, READER_STORE="discard")
        front = self.broadcaster(two)
        url = f"http://127.0.0.1:{front.port}/broadcast"
        path, digest = self.large_file()
        for args in (["-T", path, url + "/"], ["-T", "-", url + "/x"],
                     ["-F", f"file=@{path}", url]):
            with self.subTest(way=args[:2]), path.open("rb") as stdin:
                said = subprocess.run(["curl", "-sS", *args], stdin=stdin,
                                      stdout=subprocess.PIPE, check=True)
                receipt = json.loads(said.stdout)
                self.assertEqual(receipt["status"], 201, receipt)
                self.assertEqual([t["sha256"]
                                  for t in receipt["data"]["targets"]],
                                 [digest] * 2)
