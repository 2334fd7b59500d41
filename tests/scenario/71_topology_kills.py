"""Through nginx while instances are killed: nothing acknowledged is lost, every byte exact.

SCENARIO_UPLOADS and SCENARIO_READS say how much (60 and 600): make test-topology.
Reading goes on until every instance was killed once.
"""
import os
import random
import subprocess
import threading
import time

from client import Client, Closed, get, head, wait_until
from harness import Scenario, payload, sha256
from topology import Topology

UPLOADS = int(os.environ.get("SCENARIO_UPLOADS", "60"))
READS = int(os.environ.get("SCENARIO_READS", "600"))
WORKERS = 4             # of each sort
ATTEMPTS = 20           # for one read
PATIENT = 60            # seconds for one upload
SIZES = (1, 1000, 40000, 300000, 2000000)
TRANSIENT = (502, 503)


class Ledger:
    """What was acknowledged, and what it cost. Shared by all workers."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acknowledged = {}      # id -> number of the upload
        self.sent = 0               # uploads begun
        self.n_again = 0            # attempts that had to be repeated
        self.n_reads = 0
        self.all_killed = False     # each instance, in the midst of this
        self.errors = []

    def next_upload(self):
        with self.lock:
            self.sent += 1
            return self.sent if self.sent <= UPLOADS else None

    def acknowledge(self, object_id, number):
        with self.lock:
            self.acknowledged[object_id] = number

    def again(self):
        with self.lock:
            self.n_again += 1

    def claim_read(self):
        """The turn of one read; False when there were enough."""
        with self.lock:
            if self.n_reads >= READS and self.all_killed:
                return False
            self.n_reads += 1
            return True

    def choose(self, rng):
        with self.lock:
            ids = list(self.acknowledged)
        if not ids:
            return None
        object_id = rng.choice(ids)
        return object_id, self.acknowledged[object_id]


def content(number):
    return payload(SIZES[number % len(SIZES)] + number, seed=number)


def curl(path, *args, stdin=None):
    """(status, id) of an upload; status 0 when there was no answer."""
    run = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--max-time", "60", "-o", path,
         "-w", "%{http_code} %header{object-id}", *args],
        input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    status, _, object_id = run.stdout.decode().partition(" ")
    return (int(status), object_id) if run.returncode == 0 else (0, "")


class Uploader(threading.Thread):
    """Uploads by every way of curl, each until it is acknowledged."""

    def __init__(self, front, ledger, folder):
        super().__init__(daemon=True)
        self.url = f"http://127.0.0.1:{front.port}/broadcast"
        self.ledger = ledger
        self.folder = folder

    def run(self):
        try:
            while (number := self.ledger.next_upload()) is not None:
                self.upload(number)
        except Exception as error:
            self.ledger.errors.append(error)

    def upload(self, number):
        data = content(number)
        path = self.folder / "payload"
        path.write_bytes(data)
        deadline = time.monotonic() + PATIENT
        while time.monotonic() < deadline:
            status, object_id = self.send(number, path, data)
            if status in (200, 201):
                self.ledger.acknowledge(object_id, number)
                return
            self.wait_after(number, status)
        raise AssertionError(f"upload {number}: {status} for {PATIENT} s")

    def wait_after(self, number, status):
        """What Retry-After would ask for, shortened. 409: whoever was killed had
        staged this key's object, and a reader replaces it after 30 s only."""
        if status == 409 and number % 2:
            time.sleep(1)
        elif status in (0, *TRANSIENT):
            self.ledger.again()
            time.sleep(0.05)
        else:
            raise AssertionError(f"upload {number}: {status} "
                                 f"{(self.folder / 'answer').read_text()}")

    def send(self, number, path, data):
        answer = str(self.folder / "answer")
        key = ["-H", f"Idempotency-Key: load-{number}"] if number % 2 else []
        name = f"{self.url}/load-{number}"
        ways = (lambda: curl(answer, "-T", str(path), "-H", "Expect:", *key, name),
                lambda: curl(answer, "-T", str(path), "-H",
                             "Expect: 100-continue", *key, name),
                lambda: curl(answer, "-T", "-", *key, name, stdin=data),
                lambda: curl(answer, "-F",
                             f"file=@{path};filename=load-{number}", *key,
                             self.url))
        return ways[number // 2 % len(ways)]()


class Player(threading.Thread):
    """Reads random ranges of what was acknowledged, as a player would."""

    def __init__(self, front, ledger, seed):
        super().__init__(daemon=True)
        self.port = front.port
        self.ledger = ledger
        self.rng = random.Random(seed)

    def run(self):
        try:
            wait_until(lambda: self.ledger.acknowledged or self.ledger.errors,
                       "something to read")
            while not self.ledger.errors and self.ledger.claim_read():
                self.read_range(*self.ledger.choose(self.rng))
        except Exception as error:
            self.ledger.errors.append(error)

    def read_range(self, object_id, number):
        """A range, from where it broke off when it does."""
        data = content(number)
        first = self.rng.randrange(len(data))
        end = min(len(data), first + 1 + self.rng.randrange(1 << 18))
        got = b""
        for _ in range(ATTEMPTS):
            got += self.attempt(object_id, first + len(got), end - 1, len(data))
            if got == data[first:end]:
                return
            if got != data[first:first + len(got)]:
                raise AssertionError(f"{object_id} bytes {first}-{end}: other "
                                     "bytes than were sent")
            self.ledger.again()
            time.sleep(0.05)
        raise AssertionError(f"{object_id} bytes {first}-{end}: {ATTEMPTS} attempts")

    def attempt(self, object_id, first, last, size):
        """What arrived of these bytes."""
        try:
            with Client(self.port, timeout=60) as client:
                client.request("GET", f"/media/{object_id}",
                               f"Range: bytes={first}-{last}")
                status, _, fields = client.take_head()
                if status in TRANSIENT:
                    return b""
                if status != 206 or fields["content-range"] != \
                        f"bytes {first}-{last}/{size}":
                    raise AssertionError(f"{object_id}: {status} {fields}")
                wanted = last - first + 1
                while len(client.buffer) < wanted and client.fill():
                    pass
                return client.buffer[:wanted]
        except (Closed, OSError):
            return b""


class Kills(Scenario):

    def setUp(self):
        super().setUp()
        self.ledger = Ledger()
        self.n_kills = 0

    def build(self, **settings):
        topology = Topology(self.folder, BROADCASTER_THREADS=1, READER_THREADS=1,
                            **settings)
        self.addCleanup(lambda: topology.server and topology.server.remove())
        try:
            topology.start()
        finally:
            self.programs += topology.programs()
        return topology

    def workers(self, topology):
        ledger = self.ledger
        uploaders = [Uploader(topology.front, ledger, self.scratch(f"uploads-{i}"))
                     for i in range(WORKERS)]
        players = [Player(topology.front, ledger, seed) for seed in range(WORKERS)]
        return [*uploaders, *players]

    def load_while(self, topology, victims):
        """All the load, while one victim after the other is killed."""
        workers = self.workers(topology)
        for worker in workers:
            worker.start()
        while any(w.is_alive() for w in workers):
            victim = victims[self.n_kills % len(victims)]
            victim.kill()
            self.n_kills += 1
            self.ledger.all_killed = self.n_kills >= len(victims)
            victim.restart().wait_ready()
            self.settle(workers)
        self.assertEqual(self.ledger.errors, [])
        print(f"    {self.n_kills} kills, {UPLOADS} uploads, "
              f"{self.ledger.n_reads} reads, {self.ledger.n_again} attempts "
              "repeated", flush=True)

    @staticmethod
    def settle(workers):
        """The next instance is not killed before nginx has noticed that this one
        is back (fail_timeout, 1 s): one after another is what is tested."""
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline and any(w.is_alive() for w in workers):
            time.sleep(0.02)

    def listing(self, reader):
        found, after = {}, ""
        while True:
            page = get(reader.port, f"/objects?limit=1000{after}").json()
            found.update({o["id"]: o for o in page["objects"]})
            if not page["next"]:
                return found
            after = f"&after={page['next']}"

    def assert_exact(self, readers):
        """Each acknowledged object, whole, with its digest as it is read; and
        nothing is visible that nobody sent."""
        digests = {}
        for reader in readers:
            listed = self.listing(reader)
            for object_id, number in self.ledger.acknowledged.items():
                want = digests.setdefault(number, sha256(content(number)))
                self.assertIn(object_id, listed, reader.name)
                self.assertEqual(listed[object_id]["sha256"], want)
                body = reader.content(object_id).body
                self.assertEqual(sha256(body), want, object_id)
            for entry in listed.values():
                number = int(entry["name"].removeprefix("load-"))
                self.assertEqual(entry["sha256"], sha256(content(number)))
            self.assert_keys_are_unique(listed)

    def assert_keys_are_unique(self, listed):
        names = [o["name"] for o in listed.values()]
        for number in range(1, UPLOADS + 1, 2):
            self.assertEqual(names.count(f"load-{number}"), 1, number)

    def test_broadcasters_are_killed_one_after_another(self):
        topology = self.build()
        self.load_while(topology, topology.broadcasters)
        self.assertGreaterEqual(self.n_kills, len(topology.broadcasters))
        self.assertEqual(len(self.ledger.acknowledged), UPLOADS)
        # Of what is not running on the instance that is killed, nothing fails.
        self.assertLessEqual(self.ledger.n_again, self.n_kills * 2 * WORKERS)
        self.assert_exact(topology.readers)

    def test_an_upload_whose_instance_is_killed_ends_and_leaves_nothing(self):
        """An upload in its middle when its instance is killed: a clean end."""
        topology = self.build()
        with Client(topology.front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 1000000"),
                        payload(1000))
            [victim] = wait_until(
                lambda: [b for b in topology.broadcasters
                         if b.metric("broadcaster_uploads_active")],
                "the upload runs somewhere")
            victim.kill()
            answer = client.response()
        self.assertEqual(answer.status, 502, answer)
        for reader in topology.readers:
            self.assertEqual(self.listing(reader), {})
        victim.restart().wait_ready()
