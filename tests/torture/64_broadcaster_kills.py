"""A broadcaster is killed 200 times in the middle of uploads."""
import os
import random
import threading
import time

from client import (LAST_CHUNK, Client, Closed, chunk, fetch, head,
                    wait_until)
from harness import Scenario, payload, sha256

KILLS = int(os.environ.get("TORTURE_KILLS", "200"))
SEED = int(os.environ.get("TORTURE_SEED", "64"))
BOUNDARY = "killed"
SOURCES = [payload(size, seed=size) for size in (10, 4000, 70000, 400000,
                                                 3000000)]
BY_DIGEST = {sha256(data): data for data in SOURCES}


def part(data):
    return (f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"f\"; "
            f"filename=\"x\"\r\n\r\n").encode() + data + b"\r\n"


def pieces_of(data, n=16):
    step = max(1, len(data) // n)
    return [data[i:i + step] for i in range(0, len(data), step)]


def raw(data, other):
    return [head("PUT", "/broadcast/raw", f"Content-Length: {len(data)}"),
            *pieces_of(data)]


def chunked(data, other):
    return [head("PUT", "/broadcast/chunked", "Transfer-Encoding: chunked"),
            *map(chunk, pieces_of(data)), LAST_CHUNK]


def form(data, other):
    body = part(data) + part(other) + f"--{BOUNDARY}--\r\n".encode()
    return [head("POST", "/broadcast", f"Content-Length: {len(body)}",
                 f"Content-Type: multipart/form-data; boundary={BOUNDARY}"),
            *pieces_of(body)]


class Uploader(threading.Thread):
    """One client; answer is None when the broadcaster died under it."""

    def __init__(self, port, pieces, pause):
        super().__init__(daemon=True)
        self.client = Client(port)
        self.pieces = pieces
        self.pause = pause
        self.answer = None

    def run(self):
        try:
            with self.client:
                for piece in self.pieces:
                    self.client.send(piece)
                    time.sleep(self.pause)      # spread over the kill
                self.answer = self.client.response()
        except (Closed, OSError):
            pass


class BroadcasterKills(Scenario):

    def start(self):
        self.random = random.Random(SEED)
        self.stores = self.readers(2, READER_STAGED_TTL=2)
        self.fds = max(reader.fds() for reader in self.stores)
        self.n_one_sided = self.n_promised = self.n_visible = 0

    def uploaders(self, front):
        for _ in range(self.random.randint(1, 4)):
            make = self.random.choice((raw, chunked, form))
            pieces = make(self.random.choice(SOURCES),
                          self.random.choice(SOURCES))
            yield Uploader(front.port, pieces,
                           self.random.choice((0, 0, 0.0005, 0.002)))

    def check_visible(self, reader, objects):
        for object_id, entry in objects.items():
            data = BY_DIGEST.get(entry["sha256"])
            self.assertIsNotNone(data, entry)
            self.assertEqual(entry["size"], len(data))
            self.assert_stored(reader, object_id, data)

    def check_promises(self, uploaders, seen):
        for uploader in uploaders:
            if not uploader.answer or uploader.answer.status != 201:
                continue
            data = uploader.answer.data
            for receipt in data.get("objects", [data]):
                self.n_promised += 1
                for objects in seen:
                    self.assertIn(receipt["id"], objects)

    def settle(self):
        """No request of the dead broadcaster runs in a reader any more."""
        for reader in self.stores:
            wait_until(lambda r=reader: r.fds() <= self.fds,
                       "its connections are closed")

    def one_kill(self, front):
        uploaders = list(self.uploaders(front))
        for uploader in uploaders:
            uploader.start()
        time.sleep(self.random.choice((0.005, 0.02, 0.06))
                   * self.random.random())
        front.kill()
        for uploader in uploaders:
            uploader.join()
        self.settle()
        seen = [reader.objects() for reader in self.stores]
        for reader, objects in zip(self.stores, seen):
            self.check_visible(reader, objects)
            self.n_visible += len(objects)
        self.n_one_sided += len(set(seen[0]) ^ set(seen[1]))
        self.check_promises(uploaders, seen)
        for reader, objects in zip(self.stores, seen):
            for object_id in objects:
                fetch(reader.port, "DELETE", f"/objects/{object_id}")

    def test_no_kill_leaves_a_part_of_an_object_visible(self):
        self.start()
        front = self.broadcaster(self.stores)
        for i in range(KILLS):
            with self.subTest(seed=SEED, kill=i):
                self.one_kill(front)
            front.restart().wait_live()
        print(f"    seed {SEED}: {KILLS} kills; {self.n_visible} objects "
              f"visible afterwards, {self.n_promised} promised, "
              f"{self.n_one_sided} on one reader only", flush=True)
        self.assert_nothing_left(*self.stores)
        self.assertGreater(self.n_visible, 0)
