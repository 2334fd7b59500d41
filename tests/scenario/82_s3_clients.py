"""curl to broadcaster to a bucket, a database and a directory, all at once."""
import hashlib
import json
import subprocess

import postgres
from client import Client, Curl, fetch, head, wait_until
from harness import payload, sha256
from s3 import IS_LONG, MIB, PART, S3Scenario, download, large_rgw

SIZE = 2 << 30 if IS_LONG else 64 * MIB
KINDS = ("file", "postgres", "s3")
PATIENT = {"BROADCASTER_STAGE_TIMEOUT_MS": 600000,
           "BROADCASTER_STALL_TIMEOUT_MS": 60000,
           "BROADCASTER_LAG_TIMEOUT_MS": 0}


class Clients(S3Scenario):
    """What people upload with, into a bucket."""

    def test_curl_in_every_way_and_aws_reads_it_back(self):
        reader = self.s3_reader()
        front = self.broadcaster([reader])
        url = f"http://127.0.0.1:{front.port}/broadcast"
        path = self.folder / "a file & more.bin"
        path.write_bytes(payload(2 * PART + 1))
        digest = sha256(path.read_bytes())
        for args in (["-T", path, url + "/"], ["-T", "-", url + "/stdin"],
                     ["-F", f"file=@{path}", url],
                     ["--data-binary", f"@{path}", url]):
            with self.subTest(args=args[:1]):
                curl = Curl(*args, stdin=path.read_bytes())
                self.assertEqual(curl.status, 201, curl)
                self.assertEqual(curl.data["sha256"], digest)
        by_aws = self.read_by_aws(reader)
        self.assertEqual(list(by_aws.values()), [digest] * 4)
        self.assertEqual(reader.uploads(), [])

    def test_a_client_that_leaves_in_the_middle_leaves_nothing(self):
        reader = self.s3_reader()
        front = self.broadcaster([reader])
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             f"Content-Length: {4 * PART}"),
                        payload(2 * PART))
            wait_until(reader.uploads, "an upload is in the bucket")
            client.reset()
        self.assert_nothing_left(reader)
        self.assertEqual(reader.keys(), {})


class ThreeStores(S3Scenario):
    """The card this project was asked for."""

    def setUp(self):
        super().setUp()
        database = postgres.shared().create_database()
        self.addCleanup(database.drop)
        self.stores = {
            "file": self.reader(),
            "postgres": self.reader(READER_STORE="postgres",
                                    READER_FILE_DIR=None, **database.env()),
            "s3": self.s3_reader(large_rgw())}
        self.path = self.folder / "large.bin"

    def make_file(self):
        """Blocks that differ; its digest."""
        digest = hashlib.sha256()
        block = bytearray(payload(MIB))
        with self.path.open("wb") as file:
            for number in range(SIZE // MIB):
                block[:6] = number.to_bytes(6, "big")
                file.write(block)
                digest.update(block)
        return digest.hexdigest()

    def front(self, **settings):
        entries = [f"{kind}={reader.address}"
                   for kind, reader in self.stores.items()]
        return self.broadcaster(entries, **{**PATIENT, **settings})

    def curl(self, front, *options):
        return subprocess.Popen(
            ["curl", "-sS", "--noproxy", "*", *options, "-T", self.path,
             f"http://127.0.0.1:{front.port}/broadcast/"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def receipt(self, curl):
        return json.loads(curl.communicate(timeout=600)[0])["data"]

    def digest_in(self, kind, object_id):
        """What the store gives back."""
        return download(self.stores[kind], object_id)[1]

    def test_one_curl_three_equal_digests(self):
        digest = self.make_file()
        receipt = self.receipt(self.curl(self.front()))
        self.assertEqual((receipt["size"], receipt["sha256"]), (SIZE, digest))
        self.assertEqual({t["name"]: (t["state"], t["sha256"])
                          for t in receipt["targets"]},
                         {kind: ("committed", digest) for kind in KINDS})
        for kind in KINDS:
            self.assertEqual(self.digest_in(kind, receipt["id"]), digest)
        s3 = self.stores["s3"]
        self.assertEqual(
            s3.place.client().download(s3.bucket, s3.key_of(receipt["id"])),
            (SIZE, digest))

    def kill_and_check(self, victim):
        """Two of three are enough; the third has nothing, then and later."""
        front = self.front(BROADCASTER_QUORUM="2")
        curl = self.curl(front, "--limit-rate", str(SIZE // 4))
        wait_until(lambda: front.metric("broadcaster_received_bytes_total")
                   > SIZE // 4, "a quarter has arrived", 300)
        self.stores[victim].kill()
        receipt = self.receipt(curl)
        states = {t["name"]: t["state"] for t in receipt["targets"]}
        others = [kind for kind in KINDS if kind != victim]
        self.assertEqual(states.pop(victim), "failed", receipt)
        self.assertEqual(states, {kind: "committed" for kind in others})
        self.assertTrue(receipt["degraded"])
        for kind in others:
            self.assertEqual(self.digest_in(kind, receipt["id"]), self.digest)
        self.stores[victim].settings.update(
            {"READER_S3_EXCLUSIVE": "true"} if victim == "s3" else {})
        self.stores[victim].restart().wait_ready()
        self.assert_nothing_visible(self.stores[victim])
        front.stop()

    def test_each_store_may_be_killed_when_two_are_enough(self):
        self.digest = self.make_file()
        for victim in KINDS:
            with self.subTest(victim=victim):
                self.kill_and_check(victim)
                self.remove_everything()
        s3 = self.stores["s3"]
        wait_until(lambda: not s3.uploads(), "what the killed one began")
        self.assertEqual(s3.contents(), {})

    def test_a_server_that_dies_costs_its_copy_only(self):
        """Not the reader, but what it stores into: database, then bucket."""
        gate = large_rgw().gateway()
        self.addCleanup(gate.kill)
        cluster = postgres.Cluster().start()
        self.addCleanup(cluster.remove)
        self.stores = {
            "file": self.reader(),
            "postgres": self.reader(READER_STORE="postgres",
                                    READER_FILE_DIR=None,
                                    **cluster.create_database().env()),
            "s3": self.s3_reader(gate, bucket=self.new_bucket(large_rgw()),
                                 READER_S3_RETRIES=1)}
        self.digest = self.make_file()
        for victim, kill in (("postgres", cluster.kill9), ("s3", gate.kill)):
            with self.subTest(victim=victim):
                self.kill_server_and_check(victim, kill)
            cluster.start()

    def kill_server_and_check(self, victim, kill):
        front = self.front(BROADCASTER_QUORUM="2")
        curl = self.curl(front, "--limit-rate", str(SIZE // 4))
        wait_until(lambda: front.metric("broadcaster_received_bytes_total")
                   > SIZE // 4, "a quarter has arrived", 300)
        kill()
        receipt = self.receipt(curl)
        states = {t["name"]: t["state"] for t in receipt["targets"]}
        self.assertEqual(states, {kind: "failed" if kind == victim
                                  else "committed" for kind in KINDS})
        for kind in KINDS:
            if kind != victim:
                self.assertEqual(self.digest_in(kind, receipt["id"]),
                                 self.digest)
        front.stop()

    def remove_everything(self):
        for reader in self.stores.values():
            for object_id in reader.objects():
                fetch(reader.port, "DELETE", f"/objects/{object_id}")
