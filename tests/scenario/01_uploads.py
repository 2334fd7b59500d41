"""Whatever a client sends, in whatever way, arrives everywhere byte for byte."""
import pathlib

from client import LAST_CHUNK, Client, Curl, chunk, fetch, get, head
from harness import Scenario, payload, sha256

SIZES = [0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65536, 65537,
         (1 << 20) - 1, 1 << 20, (1 << 20) + 1]
RINGS = [1024, 1025, 4096, 65536, 262144, 1 << 20]


class WaysIn(Scenario):
    """Every way that curl has, against two readers."""

    def setUp(self):
        super().setUp()
        self.two = self.readers(2)
        self.front = self.broadcaster(self.two)
        self.data = payload(300000)
        self.file = self.folder / "some file.bin"
        self.file.write_bytes(self.data)

    def url(self, rest=""):
        return f"http://127.0.0.1:{self.front.port}/broadcast{rest}"

    def name_of(self, curl):
        receipt = self.assert_committed(curl.response, self.two, self.data)
        return receipt["name"]

    def test_curl_T_takes_the_name_from_the_file(self):
        curl = Curl("-T", self.file, self.url("/"))
        self.assertEqual(self.name_of(curl), "some file.bin")

    def test_curl_T_with_a_name_in_the_url(self):
        curl = Curl("-T", self.file, self.url("/other%20name.iso"))
        self.assertEqual(self.name_of(curl), "other name.iso")

    def test_curl_T_from_standard_input_is_chunked(self):
        curl = Curl("-T", "-", self.url("/pipe.tar"), stdin=self.data)
        self.assertEqual(self.name_of(curl), "pipe.tar")

    def test_data_binary_posts_a_raw_body(self):
        curl = Curl("--data-binary", f"@{self.file}", self.url())
        self.assert_committed(curl.response, self.two, self.data)

    def test_a_form_with_one_file(self):
        curl = Curl("-F", f"file=@{self.file}", self.url())
        self.assertEqual(curl.status, 201, curl)
        objects = self.form_objects(curl)
        self.assertEqual(len(objects), 1)
        self.assertEqual(objects[0]["name"], "some file.bin")
        for reader in self.two:
            self.assert_stored(reader, objects[0]["id"], self.data)

    def form_objects(self, curl):
        return curl.data["objects"] if "objects" in curl.data else [curl.data]

    def test_a_form_with_fields_and_several_files_keeps_their_order(self):
        contents = [payload(n, seed=n) for n in (0, 1, 70000, 262144)]
        args = ["-F", "comment=not a file"]
        for i, content in enumerate(contents):
            path = self.folder / f"{i}.dat"
            path.write_bytes(content)
            args += ["-F", f"files[]=@{path};type=image/x-{i}"]
        curl = Curl(*args, self.url())
        self.assertEqual(curl.status, 201, curl)
        objects = self.form_objects(curl)
        self.assertEqual([o["name"] for o in objects],
                         [f"{i}.dat" for i in range(4)])
        for entry, content in zip(objects, contents):
            self.assertEqual(entry["sha256"], sha256(content))
            for reader in self.two:
                self.assert_stored(reader, entry["id"], content)

    def test_the_content_type_is_kept(self):
        curl = Curl("-T", self.file, "-H", "Content-Type: video/mp4",
                    self.url("/"))
        receipt = self.assert_committed(curl.response, self.two, self.data)
        for reader in self.two:
            answer = reader.content(receipt["id"])
            self.assertEqual(answer.headers["content-type"], "video/mp4")

    def test_what_is_stored_is_listed_under_its_name(self):
        curl = Curl("-T", self.file, self.url("/"))
        receipt = self.assert_committed(curl.response, self.two, self.data)
        for reader in self.two:
            entry = reader.objects()[receipt["id"]]
            self.assertEqual(entry["name"], "some file.bin")
            self.assertEqual(entry["size"], len(self.data))
            self.assertEqual(entry["sha256"], sha256(self.data))

    def test_two_uploads_on_one_connection(self):
        with Client(self.front.port) as client:
            for i in range(2):
                data = payload(5000, seed=i)
                client.request("PUT", "/broadcast/k.bin", body=data)
                self.assert_committed(client.response(), self.two, data)

    def test_utf8_names_survive(self):
        path = self.folder / "Grüße – 你好.txt"
        path.write_bytes(self.data)
        for curl in (Curl("-F", f"file=@{path}", self.url()),
                     Curl("-T", path, self.url("/"))):
            self.assertEqual(curl.status, 201, curl)
            self.assertEqual(self.form_objects(curl)[0]["name"], path.name)

    def test_expect_continue_is_answered_before_the_body(self):
        with Client(self.front.port) as client:
            client.send(head("PUT", "/broadcast/e.bin", "Content-Length: 5",
                             "Expect: 100-continue"))
            self.assertEqual(client.interim(), 100)
            client.send(b"hello")
            self.assert_committed(client.response(), self.two, b"hello")

    def test_a_receipt_for_people(self):
        curl = Curl("-T", self.file, "-H", "Accept: text/plain", self.url("/"))
        self.assertEqual(curl.status, 201, curl)
        text = curl.body.decode()
        for reader in self.two:
            self.assertIn(reader.name, text)
        self.assertIn("committed", text)
        self.assertNotIn("{", text)


class Sizes(Scenario):
    """Sizes around every border that a buffer could have."""

    def try_sizes(self, ring, n_readers=2):
        readers = self.readers(n_readers)
        front = self.broadcaster(readers, BROADCASTER_BUFFER_SIZE=ring)
        with Client(front.port) as client:
            for size in SIZES:
                with self.subTest(size=size, ring=ring):
                    data = payload(size, seed=size)
                    client.request("PUT", "/broadcast/s.bin", body=data)
                    self.assert_committed(client.response(), readers, data)

    def try_chunked(self, ring):
        readers = self.readers(2)
        front = self.broadcaster(readers, BROADCASTER_BUFFER_SIZE=ring)
        for size in SIZES:
            with self.subTest(size=size, ring=ring), \
                    Client(front.port) as client:
                data = payload(size, seed=size)
                client.send(head("PUT", "/broadcast/c.bin",
                                 "Transfer-Encoding: chunked"))
                for at in range(0, size, 50021):
                    client.send(chunk(data[at:at + 50021]))
                client.send(LAST_CHUNK)
                self.assert_committed(client.response(), readers, data)


for _ring in RINGS:
    setattr(Sizes, f"test_all_sizes_through_a_ring_of_{_ring}",
            lambda self, ring=_ring: self.try_sizes(ring))
for _ring in (1024, 65536):
    setattr(Sizes, f"test_all_sizes_chunked_through_a_ring_of_{_ring}",
            lambda self, ring=_ring: self.try_chunked(ring))


class Targets(Scenario):
    """One to eight readers; tokens; names; plain endpoints."""

    def test_one_to_eight_readers(self):
        readers = self.readers(8)
        data = payload(200001)
        for n in range(1, 9):
            with self.subTest(readers=n):
                front = self.broadcaster(readers[:n])
                self.assert_committed(self.put(front, data), readers[:n], data)
                front.stop()

    def test_a_named_target_is_called_by_its_name(self):
        reader = self.reader()
        front = self.broadcaster([f"archive={reader.address}"])
        answer = self.put(front, b"abc")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.states(), {"archive": "committed"})

    def test_every_target_also_has_an_entry_under_its_address(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        answer = self.put(front, b"abc")
        self.assertEqual(answer.data[reader.address],
                         answer.target(reader.name))

    def test_tokens_are_demanded_and_sent(self):
        reader = self.reader(READER_TOKEN="tiger")
        front = self.broadcaster([reader], READER_TOKEN="tiger",
                                 BROADCASTER_TOKEN="open sesame")
        denied = self.put(front, b"abc")
        self.assertEqual(denied.status, 401)
        self.assertIn("bearer", denied.headers["www-authenticate"].lower())
        answer = self.put(front, b"abc", "Authorization: Bearer open sesame")
        self.assert_committed(answer, [reader], b"abc")
        self.assertEqual(get(reader.port, "/objects").status, 401)

    def test_a_wrong_reader_token_fails_the_upload(self):
        reader = self.reader(READER_TOKEN="tiger")
        front = self.broadcaster([reader], READER_TOKEN="lion")
        answer = self.put(front, b"abc")
        self.assertIn(answer.status, (502, 503))
        self.assertEqual(answer.states(), {reader.name: "failed"})

    def test_a_plain_endpoint_gets_one_put(self):
        plain, reader = self.fault(), self.reader()
        front = self.broadcaster([f"http://{plain.address}/drop/here?x=1",
                                  reader])
        data = payload(100000)
        answer = self.put(front, data)
        self.assertEqual(answer.status, 201, answer)
        leg = plain.puts()[0]
        self.assertEqual(leg.target, "/drop/here?x=1")
        self.assertEqual(bytes(leg.body), data)
        self.assertTrue(leg.terminated)

    def test_a_form_endpoint_gets_one_form(self):
        plain = self.fault()
        front = self.broadcaster([f"http://{plain.address}/up#form=media"])
        data = payload(100000)
        answer = self.put(front, data, name="song.ogg")
        self.assertEqual(answer.status, 201, answer)
        leg = plain.requests("POST")[0]
        self.assertEqual(leg.target, "/up")
        self.assertIn(b'name="media"', leg.body[:400])
        self.assertIn(b'filename="song.ogg"', leg.body[:400])
        self.assertIn(data, bytes(leg.body))
        self.assertTrue(leg.terminated)

    def test_an_exec_reader_gets_the_bytes_on_standard_input(self):
        out = self.folder / "out"
        reader = self.reader(READER_STORE="exec",
                             READER_EXEC_COMMAND=f"cat > {out}")
        front = self.broadcaster([reader])
        data = payload(500000)
        self.assertEqual(self.put(front, data).status, 201)
        self.assertEqual(out.read_bytes(), data)

    def test_a_discarding_reader_reports_the_digest(self):
        reader = self.reader(READER_STORE="discard")
        front = self.broadcaster([reader])
        data = payload(500000)
        answer = self.put(front, data)
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.target(reader.name)["sha256"], sha256(data))


class Policy(Scenario):
    """How many copies the operator demands, and what the client is told."""

    def test_all_is_the_default_and_one_dead_target_fails_it(self):
        reader = self.reader()
        front = self.broadcaster([reader, f"127.0.0.1:{self.dead_port()}"])
        answer = self.put(front, b"abc")
        self.assertIn(answer.status, (502, 503), answer)
        self.assert_nothing_left(reader)

    def test_majority_of_three_survives_one_dead_target(self):
        readers = self.readers(2)
        dead = f"127.0.0.1:{self.dead_port()}"
        front = self.broadcaster([*readers, dead],
                                 BROADCASTER_QUORUM="majority")
        data = payload(70000)
        answer = self.put(front, data)
        receipt = self.assert_committed(answer, readers, data)
        self.assertTrue(receipt["degraded"])
        self.assertEqual(answer.target(dead)["state"], "failed")
        self.assertTrue(answer.target(dead)["error"])

    def test_majority_of_three_does_not_survive_two(self):
        reader = self.reader()
        dead = [f"127.0.0.1:{self.dead_port()}" for _ in range(2)]
        front = self.broadcaster([reader, *dead],
                                 BROADCASTER_QUORUM="majority")
        answer = self.put(front, b"abc")
        self.assertIn(answer.status, (502, 503), answer)
        self.assertEqual(len(answer.data["targets"]), 3)
        self.assert_nothing_left(reader)

    def test_a_number_of_copies(self):
        reader = self.reader()
        dead = [f"127.0.0.1:{self.dead_port()}" for _ in range(2)]
        front = self.broadcaster([*dead, reader], BROADCASTER_QUORUM="1")
        receipt = self.assert_committed(self.put(front, b"abc"), [reader],
                                        b"abc")
        self.assertTrue(receipt["degraded"])

    def test_not_degraded_when_every_copy_is_there(self):
        readers = self.readers(2)
        front = self.broadcaster(readers, BROADCASTER_QUORUM="1")
        receipt = self.assert_committed(self.put(front, b"abc"), readers,
                                        b"abc")
        self.assertFalse(receipt["degraded"])

    def test_a_required_target_that_is_dead_fails_the_upload(self):
        reader = self.reader()
        dead = f"127.0.0.1:{self.dead_port()}"
        front = self.broadcaster([reader, dead], BROADCASTER_QUORUM="1",
                                 BROADCASTER_REQUIRED=dead)
        answer = self.put(front, b"abc")
        self.assertIn(answer.status, (502, 503), answer)
        self.assert_nothing_left(reader)

    def test_a_scanner_that_refuses_the_content_vetoes_the_commit(self):
        reader = self.reader()
        scanner = self.reader(READER_STORE="exec",
                              READER_EXEC_COMMAND="! grep -q EICAR")
        front = self.broadcaster([reader, f"scanner={scanner.address}"],
                                 BROADCASTER_QUORUM="1",
                                 BROADCASTER_REQUIRED="scanner")
        clean = self.put(front, b"harmless")
        self.assertEqual(clean.status, 201, clean)
        answer = self.put(front, b"xx EICAR xx")
        self.assertEqual(answer.status, 422, answer)
        self.assertEqual(answer.target("scanner")["state"], "failed")
        self.assertEqual(list(reader.objects()), [clean.data["id"]])

    def test_status_in_the_body_equals_the_http_status(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        for answer in (self.put(front, b"abc"),
                       self.put(front, b"abc", name="%2e%2e")):
            self.assertEqual(answer.json()["status"], answer.status)
            self.assertTrue(answer.json()["message"])

    def test_a_claimed_digest_that_is_wrong_fails_the_upload(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        wrong = "Repr-Digest: sha-256=:" + "A" * 43 + "=:"
        answer = self.put(front, b"abc", wrong)
        self.assertGreaterEqual(answer.status, 400, answer)
        self.assertLess(answer.status, 500, answer)
        self.assert_nothing_left(reader)

    def test_the_same_idempotency_key_stores_once(self):
        readers = self.readers(2)
        front = self.broadcaster(readers)
        first = self.put(front, b"abc", "Idempotency-Key: k-1")
        again = self.put(front, b"abc", "Idempotency-Key: k-1")
        self.assert_committed(first, readers, b"abc")
        self.assertIn(again.status, (200, 201), again)
        self.assertEqual(again.data["id"], first.data["id"])
        for reader in readers:
            self.assertEqual(len(reader.objects()), 1)


class WithoutTheBroadcaster(Scenario):
    """A reader alone is a usable upload server."""

    def test_a_form_posted_to_a_reader(self):
        reader = self.reader()
        path = pathlib.Path(self.folder / "alone.txt")
        path.write_bytes(b"all alone")
        curl = Curl("-F", f"file=@{path}",
                    f"http://127.0.0.1:{reader.port}/upload")
        self.assertIn(curl.status, (200, 201), curl)
        [entry] = reader.objects().values()
        self.assertEqual(entry["name"], "alone.txt")
        self.assert_stored(reader, entry["id"], b"all alone")

    def test_ranges_of_an_object(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        data = payload(10000)
        object_id = self.put(front, data).data["id"]
        part = reader.content(object_id, "Range: bytes=100-199")
        self.assertEqual((part.status, part.body), (206, data[100:200]))
        tail = reader.content(object_id, "Range: bytes=-10")
        self.assertEqual((tail.status, tail.body), (206, data[-10:]))
        beyond = reader.content(object_id, "Range: bytes=10000-")
        self.assertEqual(beyond.status, 416)

    def test_a_deleted_object_is_gone_and_deleting_again_is_fine(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        object_id = self.put(front, b"abc").data["id"]
        for _ in range(2):
            answer = fetch(reader.port, "DELETE", f"/objects/{object_id}")
            self.assertEqual(answer.status, 204)
        self.assertEqual(reader.content(object_id).status, 404)
        self.assert_nothing_left(reader)
