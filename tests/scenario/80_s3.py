"""A bucket as a store: exact, invisible until committed, on real servers."""
import pathlib

from client import Client, chunk, fetch, get, head, wait_until
from harness import payload, sha256, slow
from object_api import ID, PATCH_TYPE
from s3 import MIB, PART, S3Scenario, rgw, swift

SIZES = [0, 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1,
         100_000_003]
FAKED = "a clock is faked by what is loaded first, and so are they"
STRANGE = "a b+c&d=e%f%20g~h'(i)!*;:@$,/ü/漢字/😀"


class Sizes(S3Scenario):
    """What aws reads back, and the reader, is what was sent."""

    def store_all(self, reader):
        """Every size, of known and unknown length: id -> (size, digest)."""
        sent = {}
        for number, size in enumerate(SIZES):
            data = payload(size, seed=size + 1)
            for chunked in (False, True):
                object_id = ID % (2 * number + chunked)
                answer = reader.stage(object_id, data, chunked=chunked)
                self.assert_staged(answer, data)
                self.assertEqual(reader.commit(object_id, data).status, 201)
                sent[object_id] = (size, sha256(data))
        return sent

    def check(self, reader):
        sent = self.store_all(reader)
        by_aws = self.read_by_aws(reader)
        self.assertEqual(len(by_aws), len(sent))
        for object_id, (size, digest) in sent.items():
            with self.subTest(size=size, id=object_id):
                self.assertEqual(by_aws[reader.key_of(object_id)], digest)
        listed = reader.objects()
        self.assertEqual({i: (e["size"], e["sha256"])
                          for i, e in listed.items()}, sent)
        for object_id, (size, digest) in sent.items():
            with self.subTest("by the reader", size=size):
                self.assertEqual(reader.download(object_id), (size, digest))
        self.assertEqual(reader.uploads(), [])

    def test_every_size_is_exact_in_ceph(self):
        self.check(self.s3_reader())

    def test_every_size_is_exact_in_swift(self):
        self.check(self.s3_reader(swift()))

    def test_both_servers_refuse_a_damaged_part(self):
        """So the reader found at its start: it needs no MD5 of parts then."""
        for server in (rgw(), swift()):
            reader = self.s3_reader(server)
            self.assertIn("checks_bodies=yes", reader.log())
            self.assertEqual(reader.keys(), {})


class Steps(S3Scenario):
    """The reader's protocol, step by step, seen from the bucket."""

    def setUp(self):
        super().setUp()
        self.box = self.s3_reader()
        self.data = payload(2 * PART + 1000)

    def test_nobody_sees_what_is_not_committed(self):
        for number, size in enumerate((1000, len(self.data))):
            data = self.data[:size]
            with self.subTest(size=size):
                self.assert_staged(self.box.stage(ID % number, data), data)
                self.assert_nothing_visible(self.box)
                self.assertEqual(self.box.keys(), {})
                self.assertEqual(self.box.content(ID % number).status, 404)
                self.assertEqual(
                    self.box.commit(ID % number, data).status, 201)
                self.assert_there(self.box, ID % number, data)
                self.box.remove(ID % number)

    def test_commit_is_idempotent_and_checks_the_digest(self):
        for number, size in enumerate((1000, len(self.data))):
            object_id, data = ID % number, self.data[:size]
            with self.subTest(size=size):
                self.box.stage(object_id, data)
                self.assertEqual(self.box.commit(object_id, b"x").status, 409)
                self.assertEqual(self.box.keys().keys() & {object_id}, set())
                self.assertEqual(self.box.commit(object_id, data).status, 201)
                self.assertEqual(self.box.commit(object_id, data).status, 200)
                self.assertEqual(self.box.commit(object_id, b"x").status, 409)
        self.assertEqual(self.box.commit(ID % 9, b"x").status, 404)

    def test_abort_leaves_nothing_and_is_idempotent(self):
        for number, size in enumerate((1000, len(self.data))):
            self.box.stage(ID % number, self.data[:size])
            for _ in range(2):
                self.assertEqual(self.box.remove(ID % number).status, 204)
            self.assert_nothing_left(self.box)

    def test_delete_removes_the_object_from_the_bucket(self):
        self.assert_kept(self.box, ID % 1, self.data)
        for _ in range(2):
            self.assertEqual(self.box.remove(ID % 1).status, 204)
        self.assertEqual(self.box.keys(), {})
        self.assertEqual(self.box.content(ID % 1).status, 404)

    def test_an_upload_that_ends_in_the_middle_is_aborted(self):
        for fields, cut in ((f"Content-Length: {len(self.data)}", 0),
                            ("Transfer-Encoding: chunked", 1)):
            with Client(self.box.port) as client:
                client.send(head("PUT", f"/objects/{ID % 1}", fields))
                half = self.data[:PART + 1000]
                client.send(chunk(half)[:-2] if cut else half)
                wait_until(self.box.uploads, "an upload is in the bucket")
                client.reset()
            self.assert_nothing_left(self.box)

    def test_ranges_are_those_of_the_content(self):
        self.assert_kept(self.box, ID % 1, self.data)
        end = len(self.data)
        for first, last in ((0, 0), (0, 9), (PART - 5, PART + 5),
                            (end - 10, end - 1), (7, end - 1)):
            answer = self.box.content(ID % 1, f"Range: bytes={first}-{last}")
            self.assertEqual(answer.status, 206)
            self.assertEqual(sha256(answer.body),
                             sha256(self.data[first:last + 1]))
        answer = self.box.content(ID % 1, f"Range: bytes={end}-")
        self.assertEqual(answer.status, 416)

    def test_a_client_that_reads_slowly_holds_up_the_bucket(self):
        """Back-pressure: what it does not take is not in memory either."""
        data = payload(64 * MIB)
        self.assert_staged(self.box.stage(ID % 1, data), data)
        self.assertEqual(self.box.commit(ID % 1, data).status, 201)
        before = self.box.rss()
        with Client(self.box.port, receive_buffer=8192) as client:
            client.request("GET", f"/objects/{ID % 1}")
            client.take_head()
            client.take(100000)
            fetch(self.box.port, "GET", "/objects")     # a turn of its loop
            self.assert_grew_less(self.box, before, 8 * MIB)
            client.buffer = b""

    def test_objects_are_listed_in_pages_and_found_by_their_names(self):
        ids = [ID % number for number in range(5)]
        for number, object_id in enumerate(ids):
            data = b"x" * number
            name = f"song {number}.flac" if number % 2 else f"list {number}"
            self.assert_staged(self.box.stage(object_id, data, name=name),
                               data)
            self.assertEqual(self.box.commit(object_id, data).status, 201)
        first = get(self.box.port, "/objects?limit=3").json()
        self.assertEqual([o["id"] for o in first["objects"]], ids[:3])
        second = get(self.box.port,
                     f"/objects?limit=3&after={first['next']}").json()
        self.assertEqual([o["id"] for o in second["objects"]], ids[3:])
        self.assertIsNone(second["next"])
        songs = get(self.box.port, "/objects?q=SONG").json()["objects"]
        self.assertEqual([o["name"] for o in songs],
                         ["song 1.flac", "song 3.flac"])


class Resuming(S3Scenario):
    """What is in the bucket is gone on with, by any reader process."""

    def setUp(self):
        super().setUp()
        self.box = self.s3_reader()
        self.data = payload(3 * PART + 12345)

    def finish(self, reader, object_id):
        """Append what is missing, by what HEAD says; commit; compare."""
        at = reader.offset(object_id) or 0
        answer = reader.append(object_id, at, self.data[at:])
        self.assertEqual(answer.status, 204, answer)
        self.assertEqual(answer.headers["upload-offset"], str(len(self.data)))
        self.assertEqual(reader.commit(object_id, self.data).status, 201)
        self.assert_there(reader, object_id, self.data)
        self.assertEqual(reader.uploads(), [])

    def test_pieces_of_any_size_become_one_object(self):
        at = 0
        for size in (1, 1000, PART, PART + 1, 7):
            answer = self.box.append(ID % 1, at, self.data[at:at + size])
            self.assertEqual(answer.status, 204, answer)
            at += size
            self.assertEqual(answer.headers["upload-offset"], str(at))
        wrong = self.box.append(ID % 1, at - 1, b"x")
        self.assertEqual(wrong.status, 409)
        self.assertEqual(wrong.headers["upload-offset"], str(at))
        self.finish(self.box, ID % 1)

    def cut(self, reader, size):
        """PATCH and go away after `size` bytes; the offset then."""
        with Client(reader.port) as client:
            client.send(head("PATCH", f"/objects/{ID % 1}",
                             "Upload-Offset: 0",
                             PATCH_TYPE,
                             f"Content-Length: {len(self.data)}"),
                        self.data[:size])
            wait_until(reader.uploads, "an upload is in the bucket")
            client.reset()
        wait_until(lambda: reader.metric("reader_uploads_active") == 0,
                   "the request is over")
        return reader.offset(ID % 1)

    def test_a_lost_connection_is_gone_on_with(self):
        self.assertLessEqual(self.cut(self.box, 2 * PART + 1000),
                             2 * PART + 1000)
        self.finish(self.box, ID % 1)

    def test_another_process_goes_on_where_a_request_ended(self):
        at = self.cut(self.box, 2 * PART + 1000)
        self.box.kill()
        self.box.restart().wait_ready()
        self.assertEqual(self.box.offset(ID % 1), at)
        self.finish(self.box, ID % 1)

    def kill_within(self, whole, size, known=True):
        """Kill it in the middle of a PATCH, once it has noted a part."""
        with Client(self.box.port) as client:
            client.send(head("PATCH", f"/objects/{ID % 1}",
                             "Upload-Offset: 0", PATCH_TYPE,
                             f"Content-Length: {len(whole)}" if known else
                             "Transfer-Encoding: chunked"),
                        whole[:size] if known else chunk(whole[:size]))
            wait_until(lambda: ID % 1 + ".part" in self.box.keys(),
                       "it is noted how far it has got")
            self.box.kill()
        self.box.restart().wait_ready()

    def test_parts_that_were_stored_outlive_a_reader_that_is_killed(self):
        """The offset is the end of one of them, whatever request ran."""
        self.data = payload(9 * PART + 12345)
        for known in (True, False):
            with self.subTest(known=known):
                self.kill_within(self.data, 7 * PART + 1000, known)
                at = self.box.offset(ID % 1)
                self.assertIn(at, [n * PART for n in range(1, 8)])
                self.assert_nothing_visible(self.box)
                self.finish(self.box, ID % 1)
                self.assertEqual(len(self.box.keys()), 2)
                self.box.remove(ID % 1)

    def test_what_was_noted_goes_with_an_abort(self):
        self.kill_within(self.data, 3 * PART)
        at = self.box.offset(ID % 1)
        with Client(self.box.port) as client:
            client.send(head("PATCH", f"/objects/{ID % 1}",
                             f"Upload-Offset: {at}", PATCH_TYPE,
                             f"Content-Length: {3 * PART}"),
                        self.data[at:at + 2 * PART + 1])
            wait_until(lambda: self.box.metric("reader_uploads_active") == 1,
                       "it goes on")
            self.assertEqual(self.box.remove(ID % 1).status, 204)
        self.assert_nothing_left(self.box)
        self.assertEqual(self.box.keys(), {})

    def test_a_put_is_noted_nowhere(self):
        """It begins again: nobody goes on with it."""
        peer = self.peer()
        self.assert_kept(self.s3_reader(peer), ID % 1, payload(4 * PART))
        self.assertEqual([c.key for c in peer.of("put")
                          if c.key.endswith(".part")], [])

    def test_a_reader_killed_within_a_request_stores_nothing_false(self):
        """The next process knows a part of it or nothing, and tells."""
        with Client(self.box.port) as client:
            client.send(head("PATCH", f"/objects/{ID % 1}",
                             "Upload-Offset: 0", PATCH_TYPE,
                             f"Content-Length: {len(self.data)}"),
                        self.data[:2 * PART + 1000])
            wait_until(self.box.uploads, "an upload is in the bucket")
            self.box.kill()
        self.box.settings.update(READER_S3_EXCLUSIVE="true")
        self.box.restart().wait_ready()
        self.assertLessEqual(self.box.offset(ID % 1) or 0, 2 * PART + 1000)
        wait_until(lambda: not self.box.uploads(), "what was left is aborted")
        self.finish(self.box, ID % 1)

    def test_a_staged_object_of_a_killed_reader_is_not_committed_falsely(self):
        for number, size in enumerate((1000, 2 * PART + 1000)):
            data, object_id = self.data[:size], ID % (number + 2)
            self.assert_staged(self.box.stage(object_id, data), data)
            self.box.kill()
            self.box.restart().wait_ready()
            answer = self.box.commit(object_id, data)
            with self.subTest(size=size):
                self.assertEqual(answer.status, 404, answer)
                self.assertEqual(self.box.content(object_id).status, 404)


class Orphans(S3Scenario):
    """Multipart uploads that nobody commits any more: ours go, others stay."""

    def test_uploads_of_others_are_never_aborted(self):
        bucket = self.new_bucket(rgw())
        client = rgw().client()
        others = [(key, client.begin_upload(bucket, key))
                  for key in ("ours/by hand", "elsewhere", ID % 1)]
        reader = self.s3_reader(bucket=bucket, READER_S3_PREFIX="ours/",
                                READER_STAGED_TTL=1)
        self.assert_kept(reader, ID % 2, payload(2 * PART))
        reader.kill()
        reader.restart().wait_ready()
        self.assertEqual(sorted(reader.uploads()), sorted(others))

    @slow(FAKED)
    def test_a_clock_that_is_ahead_makes_nothing_old(self):
        """Ten minutes, which S3 allows: ages are those of the server's clock."""
        first = self.s3_reader()
        with Client(first.port) as client:
            data = payload(3 * PART)
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"),
                        data[:2 * PART])
            wait_until(first.uploads, "an upload is in the bucket")
            second = self.s3_reader(
                bucket=first.bucket, READER_STAGED_TTL=300,
                LD_PRELOAD=faketime(), FAKETIME="+10m")
            wait_until(lambda: second.metric("reader_s3_requests_total") >= 5,
                       "it has begun to sweep")
            self.assert_kept(second, ID % 2, b"and goes on with other things")
            client.send(data[2 * PART:])
            self.assert_staged(client.response(), data)
        self.assertEqual(first.commit(ID % 1, data).status, 201)
        self.assertEqual(second.log_lines("s3_upload_aborted"), [])

    def test_what_a_killed_reader_began_goes_with_its_time(self):
        for place, prefix in ((rgw(), None), (rgw(), STRANGE + "/"),
                              (swift(), STRANGE + "/")):
            with self.subTest(place=place.endpoint, prefix=prefix):
                self.check_orphan(self.s3_reader(
                    place, READER_S3_PREFIX=prefix, READER_STAGED_TTL=1))

    def check_orphan(self, reader):
        with Client(reader.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {3 * PART}"),
                        payload(2 * PART))
            wait_until(reader.uploads, "an upload is in the bucket")
            reader.kill()
        self.assertNotEqual(reader.uploads(), [])
        reader.restart().wait_ready()
        wait_until(lambda: not reader.uploads(), "it is aborted", 60)
        self.assert_nothing_left(reader)


class Keys(S3Scenario):
    """Whatever stands in a key or a name, it is found again."""

    def test_a_prefix_may_have_any_character(self):
        reader = self.s3_reader(READER_S3_PREFIX=STRANGE + "/")
        data = payload(PART + 1)
        for number, content in enumerate((b"small", data)):
            self.assert_kept(reader, ID % number, content)
        for key in reader.keys():
            self.assertTrue(key.startswith(STRANGE), key)
        self.assertEqual(set(self.read_by_aws(reader).values()),
                         {sha256(b"small"), sha256(data)})
        self.assertEqual(len(reader.objects()), 2)
        self.assertEqual(reader.remove(ID % 1).status, 204)
        self.assertEqual(len(reader.contents()), 1)

    def test_a_key_may_have_1024_bytes(self):
        """By the longest prefix and the longest name.

        RGW answers the Complete of such a key by a 200 with garbage in its
        Location, which is no XML: so the reader has to look what has come of it.
        """
        reader = self.s3_reader(READER_S3_PREFIX="ü+" * 327,
                                READER_S3_RETRIES=1)
        for number, data in enumerate((b"small", payload(PART + 1))):
            object_id = ID % number
            answer = reader.stage(object_id, data, name="n" * 1024)
            self.assert_staged(answer, data)
            self.assertEqual(reader.commit(object_id, data).status, 201)
            self.assert_there(reader, object_id, data)
            self.assertEqual(len(reader.key_of(object_id).encode()), 1024)
        self.assertEqual({o["name"] for o in reader.objects().values()},
                         {"n" * 1024})

    def test_a_type_with_many_blanks_is_signed_as_servers_do(self):
        """Signature Version 4 counts several blanks as one."""
        for place in (rgw(), swift()):
            reader = self.s3_reader(place)
            for number, size in enumerate((5, PART + 1)):
                data = payload(size)
                answer = reader.stage(
                    ID % number, data,
                    "Content-Type: audio/x-what;  a=1; \t b=\"2   3\"")
                self.assert_staged(answer, data)
                answer = reader.commit(ID % number, data)
                self.assertEqual(answer.status, 201, answer)

    def test_one_bucket_may_have_several_stores(self):
        bucket = self.new_bucket(rgw())
        readers = [self.s3_reader(bucket=bucket, READER_S3_PREFIX=prefix)
                   for prefix in ("a/", "a/b/", "c")]
        for number, reader in enumerate(readers):
            self.assert_kept(reader, ID % number, b"of one")
        for number, reader in enumerate(readers):
            self.assertEqual(list(reader.objects()), [ID % number])

    def test_names_and_types_are_kept_whatever_is_in_them(self):
        reader = self.s3_reader()
        names = ["x y+z&a=b%20.bin", "ü/漢字/😀 - %C3", "n" * 1024,
                 "é" * 512, "..", "a//b", "/", "'\\"]
        for number, name in enumerate(names):
            quoted = "".join(f"%{b:02X}" for b in name.encode())
            answer = fetch(
                reader.port, "PUT", f"/objects/{ID % number}",
                f"Content-Disposition: attachment; filename*=UTF-8''{quoted}",
                "Content-Type: audio/x-what;v=\"1, 2\"", body=b"x")
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(reader.commit(ID % number, b"x").status, 201)
        reader.stop()
        reader.restart().wait_ready()
        found = reader.objects()
        self.assertEqual([found[ID % n]["name"] for n in range(len(names))],
                         names)
        self.assertEqual({e["content_type"] for e in found.values()},
                         {'audio/x-what;v="1, 2"'})


class Tls(S3Scenario):

    def test_an_endpoint_with_a_certificate_of_our_own_ca(self):
        reader = self.s3_reader(READER_S3_ENDPOINT=rgw().tls_endpoint,
                                READER_S3_CA_FILE=rgw().ca)
        self.assert_kept(reader, ID % 1, payload(2 * PART + 1))

    def test_an_unknown_ca_is_an_error_that_says_so(self):
        reader = self.s3_reader(READER_S3_ENDPOINT=rgw().tls_endpoint,
                                READER_S3_RETRIES=1, wait=False).wait_live()
        said = wait_until(lambda: not_ready(reader), "it says why")
        self.assertRegex(said.lower(), "certificate")
        self.assertGreaterEqual(reader.stage(ID % 1, b"x").status, 500)

    def test_buckets_as_names_of_hosts(self):
        for endpoint in (rgw().gate.named_endpoint,
                         rgw().gate.named_tls_endpoint):
            reader = self.s3_reader(READER_S3_ENDPOINT=endpoint,
                                    READER_S3_PATH_STYLE="false",
                                    READER_S3_CA_FILE=rgw().ca)
            self.assert_kept(reader, ID % 1, payload(2 * PART + 1))
            self.assertEqual(len(reader.contents()), 1)


class Requests(S3Scenario):
    """What a server is sent because a setting says so; all of it signed."""

    SENT = {"x-amz-storage-class": "STANDARD_IA",
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
            "x-amz-meta-owner": "archive", "x-amz-meta-shelf": "7 b"}

    def test_class_encryption_metadata_and_session_token(self):
        peer = self.peer()
        reader = self.s3_reader(
            peer, READER_S3_STORAGE_CLASS="STANDARD_IA",
            READER_S3_SSE="aws:kms", READER_S3_SSE_KEY_ID="key-1",
            READER_S3_METADATA="owner=archive;shelf=7 b",
            AWS_SESSION_TOKEN="a session's token")
        for number, size in enumerate((1000, 2 * PART)):
            self.assert_kept(reader, ID % number, payload(size))
        [create] = peer.of("create")
        [put] = [c for c in peer.of("put") if c.size == 1000]
        self.assertEqual(put.headers["x-amz-meta-sha256"],
                         sha256(payload(1000)))
        for call in (create, put):
            sent = {n: call.headers.get(n) for n in self.SENT}
            self.assertEqual(sent, self.SENT)
        self.assertEqual({c.headers.get("x-amz-security-token")
                          for c in peer.calls}, {"a session's token"})
        encrypted = {n: v for n, v in self.SENT.items() if "encryption" in n}
        for call in peer.of("put"):     # descriptions and the probe, too
            sent = {n: call.headers.get(n) for n in encrypted}
            self.assertEqual(sent, encrypted, call)
        self.assertEqual(peer.unsigned(), [])
        self.assertTrue(all(c.headers["x-amz-content-sha256"] ==
                            c.leg.sha256 for c in peer.of("part")))

    def test_the_variables_of_aws_are_honoured(self):
        peer = self.peer()
        reader = self.s3_reader(
            peer, READER_S3_ENDPOINT=None, AWS_ENDPOINT_URL=peer.endpoint,
            READER_S3_REGION=None, AWS_REGION="eu-test-7")
        self.assert_kept(reader, ID % 1, payload(1000))
        self.assertEqual(peer.unsigned(), [])
        for call in peer.calls:
            self.assertIn("/eu-test-7/s3/aws4_request",
                          call.headers["authorization"])

    def test_what_a_pause_leaves_is_encrypted_too(self):
        peer = self.peer()
        reader = self.s3_reader(peer, READER_S3_SSE="AES256")
        self.assertEqual(reader.append(ID % 1, 0, b"content").status, 204)
        [tail] = [c for c in peer.of("put") if c.key.endswith(".part")]
        self.assertEqual(tail.headers.get("x-amz-server-side-encryption"),
                         "AES256")

    def test_nothing_is_sent_that_no_setting_asks_for(self):
        peer = self.peer()
        reader = self.s3_reader(peer)
        self.assert_kept(reader, ID % 1, payload(2 * PART))
        seen = {n for call in peer.calls for n in call.headers}
        self.assertEqual(seen & {*self.SENT, "x-amz-security-token",
                                 "cookie", "referer"}, set())

    def test_neither_keys_nor_token_are_logged(self):
        reader = self.s3_reader(READER_LOG_LEVEL="debug", READER_S3_RETRIES=1,
                                AWS_SECRET_ACCESS_KEY="the-secret-of-it",
                                AWS_SESSION_TOKEN="the-token-of-it",
                                wait=False).wait_live()
        said = wait_until(lambda: not_ready(reader), "it says why")
        self.assertNotRegex(said + reader.log(), "the-(secret|token)-of-it")


def faketime():
    [library] = pathlib.Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    return library


def not_ready(reader):
    """What /readyz says when it is not 200."""
    answer = get(reader.port, "/readyz")
    return answer.body.decode() if answer.status == 503 else None


class Refused(S3Scenario):
    """What is set up wrongly is answered by what to do about it."""

    def assert_says(self, words, place=None, **settings):
        """Both probe and upload fail, with all the words; nothing is left."""
        reader = self.s3_reader(place, wait=False, READER_S3_RETRIES=1,
                                **settings).wait_live()
        said = wait_until(lambda: not_ready(reader), "it says why")
        answer = reader.stage(ID % 1, payload(PART + 1))
        self.assertGreaterEqual(answer.status, 400, answer)
        for text in (said, answer.body.decode()):
            for word in words:
                self.assertRegex(text, word)
        reader.kill()
        return reader

    def test_a_wrong_secret(self):
        reader = self.assert_says(["AWS_SECRET_ACCESS_KEY"],
                                  AWS_SECRET_ACCESS_KEY="wrong")
        self.assertEqual((reader.keys(), reader.uploads()), ({}, []))

    def test_an_unknown_key(self):
        self.assert_says(["AWS_ACCESS_KEY_ID"], AWS_ACCESS_KEY_ID="UNKNOWN")

    def test_a_bucket_that_is_not_there(self):
        self.assert_says(["no-such-bucket", "READER_S3_BUCKET|NoSuchBucket"],
                         bucket="no-such-bucket")

    def test_a_wrong_region(self):
        """Ceph takes any region; Swift does not."""
        self.assert_says(["READER_S3_REGION|region"], swift(),
                         READER_S3_REGION="eu-west-7")

    def test_nobody_listens(self):
        port = self.dead_port()
        self.assert_says([str(port)],
                         READER_S3_ENDPOINT=f"http://127.0.0.1:{port}")

    @slow(FAKED)
    def test_a_clock_that_is_two_hours_late_or_early(self):
        for skew in ("-2h", "+2h"):
            with self.subTest(skew):
                self.assert_clock(skew)

    def assert_clock(self, skew):
        reader = self.s3_reader(wait=False, LD_PRELOAD=faketime(),
                                FAKETIME=skew).wait_live()
        said = wait_until(lambda: not_ready(reader), "it says why")
        answer = reader.stage(ID % 1, payload(PART + 1))
        self.assertGreaterEqual(answer.status, 500, answer)
        for text in (said, answer.body.decode()):
            self.assertRegex(text, "clock")
        self.assertEqual(reader.uploads(), [])

    def test_no_keys_at_all(self):
        """Anonymous: allowed where the bucket is, refused clearly elsewhere."""
        reader = self.s3_reader(wait=False, AWS_ACCESS_KEY_ID=None,
                                AWS_SECRET_ACCESS_KEY=None)
        reader.may_fail = True
        wait_until(lambda: not reader.is_running() or not_ready_safely(reader),
                   "it ends or says why")
        said = reader.log() if not reader.is_running() else not_ready(reader)
        self.assertRegex(said, "AWS_ACCESS_KEY_ID")


def not_ready_safely(reader):
    try:
        return not_ready(reader)
    except OSError:
        return None
