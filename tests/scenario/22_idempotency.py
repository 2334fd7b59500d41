"""The same Idempotency-Key again: the receipt of what exists, not a second copy."""
from client import Client, Curl, fetch, head
from harness import Scenario, payload, sha256
from object_api import digest_field


class Idempotency(Scenario):

    def setUp(self):
        super().setUp()
        self.data = payload(100000)

    def put_keyed(self, front, data, *fields, key="k1"):
        return fetch(front.port, "PUT", "/broadcast/a.bin",
                     f"Idempotency-Key: {key}", *fields, body=data)

    def test_any_instance_answers_with_the_first_receipt(self):
        two = self.readers(2)
        first = self.put_keyed(self.broadcaster(two), self.data)
        self.assert_committed(first, two, self.data)
        again = self.put_keyed(self.broadcaster(two), self.data)
        self.assertEqual(again.status, 200, again)
        self.assertEqual(again.data["id"], first.data["id"])
        self.assertEqual(again.data["sha256"], sha256(self.data))
        self.assertEqual(again.data["size"], len(self.data))
        for reader in two:
            self.assertEqual(len(reader.objects()), 1)
            self.assertEqual(again.target(reader.name)["state"], "committed")

    def test_the_repeated_body_is_not_asked_for(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        self.put_keyed(front, self.data)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/a.bin", "Content-Length: 100000",
                             "Idempotency-Key: k1", "Expect: 100-continue"))
            answer = client.response()
            self.assertEqual(answer.status, 200)
            self.assertEqual(answer.interim, [])

    def test_another_key_is_another_object(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        ids = {self.put_keyed(front, self.data, key=f"k{i}").data["id"]
               for i in range(3)}
        self.assertEqual(len(ids), 3)

    def test_another_content_under_the_key_is_refused(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        self.put_keyed(front, self.data)
        other = payload(100000, seed=2)
        self.assertEqual(self.put_keyed(front, other,
                                        digest_field(other)).status, 422)
        self.assertEqual(self.put_keyed(front, b"short").status, 422)
        self.assertEqual(self.put_keyed(front, self.data,
                                        digest_field(self.data)).status, 200)

    def test_a_failed_upload_may_be_repeated_with_its_key(self):
        good, bad = self.readers(2)
        front = self.broadcaster([good, bad],
                                 BROADCASTER_CONNECT_TIMEOUT_MS=1000)
        bad.kill()
        self.assertEqual(self.put_keyed(front, self.data).status, 503)
        bad.restart().wait_ready()
        self.assert_committed(self.put_keyed(front, self.data), [good, bad],
                              self.data)

    def test_what_a_degraded_upload_lacks_is_completed_by_the_key(self):
        good, bad = self.readers(2)
        degraded = self.broadcaster([good, bad], BROADCASTER_QUORUM=1,
                                    BROADCASTER_CONNECT_TIMEOUT_MS=1000)
        bad.kill()
        first = self.put_keyed(degraded, self.data)
        self.assertEqual(first.status, 201)
        self.assertTrue(first.data["degraded"])
        bad.restart().wait_ready()
        strict = self.broadcaster([good, bad])
        second = self.put_keyed(strict, self.data)
        self.assert_committed(second, [good, bad], self.data)
        self.assertEqual(second.data["id"], first.data["id"])

    def test_a_form_is_recognised_with_all_its_files(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        paths = []
        for i in range(3):
            paths.append(self.folder / f"{i}.dat")
            paths[-1].write_bytes(payload(1000 * i, seed=i))
        args = ["-H", "Idempotency-Key: form-1"]
        for path in paths:
            args += ["-F", f"f=@{path}"]
        args.append(f"http://127.0.0.1:{front.port}/broadcast")
        first, again = Curl(*args), Curl(*args)
        self.assertEqual(first.status, 201, first)
        self.assertEqual(again.status, 200, again)
        self.assertEqual([o["id"] for o in again.data["objects"]],
                         [o["id"] for o in first.data["objects"]])
        self.assertEqual(len(reader.objects()), 3)

    def test_a_malformed_key_is_refused(self):
        front = self.broadcaster([self.reader()])
        for key in ("", "x" * 200, '""'):
            self.assertEqual(self.put_keyed(front, b"x", key=key).status, 400)
