"""What S3 servers do wrong: nothing is lost, nothing false becomes visible."""
import threading
import time

from client import Client, fetch, head, wait_until
from fault_target import (early, endless_answer, interim_flood,
                          never_answer, rst_at, say, stall_at)
from harness import payload, sha256
from object_api import ID
from s3 import MIB, PART, S3Scenario, rgw
from s3_peer import (access_denied, behave, error, error_in_200,
                     internal_error, lose_answer, lose_request, no_etag,
                     padded, redirect, result, row, say_xml, slow_down, slow_down_early,
                     truncated, wrong_etag, xml_bomb, XML)

QUICK = {"READER_S3_TIMEOUT_MS": 1000, "READER_S3_RETRIES": 2}
DATA = payload(2 * PART + 1000)
GARBAGE = b"\x16\x03\x01 this is no HTTP\r\n\r\n"
NO_XML = say(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<a><b></a")
CLOCK = error(403, "RequestTimeTooSkewed", "The difference is too large.")


class FaultyPeer(S3Scenario):
    """A server by script; every request that it sees has to be signed."""

    def start(self, settings=None, **scripts):
        self.s3 = self.peer(**scripts)
        self.box = self.s3_reader(self.s3, **{**QUICK, **(settings or {})})
        self.before = self.box.rss()

    def tearDown(self):
        self.assertEqual(self.s3.unsigned(), [])

    def assert_succeeds(self, data=DATA):
        """In spite of all: exact, once, and nothing beside it."""
        self.assert_staged(self.box.stage(ID % 1, data), data)
        self.assert_nothing_visible(self.box)
        answer = self.box.commit(ID % 1, data)
        self.assertEqual(answer.status, 201, answer)
        [content] = self.box.contents()
        self.assertEqual(self.s3.objects[content][0], data)
        self.assert_there(self.box, ID % 1, data)
        self.assertEqual(self.s3.uploads, {})

    def assert_fails(self, *words, data=DATA):
        """A clear error at the stage or the commit; then nothing is left."""
        answer = self.box.stage(ID % 1, data)
        if answer.status == 200:
            answer = self.box.commit(ID % 1, data)
        self.assertGreaterEqual(answer.status, 500, answer)
        for word in words:
            self.assertRegex(answer.body.decode(), word)
        self.assert_forgotten()
        return answer

    def assert_forgotten(self):
        """Nothing visible, and, as soon as the peer behaves, nothing left."""
        self.s3.of_kind.clear()
        self.assert_nothing_visible(self.box)
        self.box.remove(ID % 1)
        wait_until(lambda: not self.s3.uploads, "the upload is aborted")
        self.assertEqual(self.box.contents(), {})
        self.assert_grew_less(self.box, self.before, 40 * MIB)


def trickle(ex):
    """An answer of which a byte comes every 50 ms, without an end."""
    ex.proceed()
    ex.read_all()
    ex.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not ex.target.released.wait(0.05):
        ex.raw(b" ")


class Beginning(FaultyPeer):
    """CreateMultipartUpload that fails, for a moment or for good (row 54)."""

    def test_what_passes_is_tried_again(self):
        for script in (slow_down, internal_error, lose_request, never_answer,
                       say(GARBAGE)):
            with self.subTest(script=script):
                self.start(create=[script])
                self.assert_succeeds()
                self.assertGreater(len(self.s3.of("create")), 1)

    def test_an_upload_whose_answer_is_lost_is_not_left_behind(self):
        for script in (lose_answer, truncated_after, garbage_after,
                       created_without_id):
            for scripts in ([script], script):
                with self.subTest(script=script, scripts=scripts):
                    self.start(create=scripts)
                    if scripts == [script] != [created_without_id]:
                        self.assert_succeeds()
                    else:
                        self.assert_fails("S3")
                        self.assertNotEqual(self.s3.of("abort"), [])

    def test_what_does_not_pass_is_an_error(self):
        for script, word in ((slow_down, "SlowDown|busy|rate"),
                             (internal_error, "S3"), (never_answer, "S3"),
                             (redirect, "READER_S3_(REGION|ENDPOINT)"),
                             (say(GARBAGE), "S3"), (xml_bomb, "S3"),
                             (say_xml("<a><b></a>"), "S3")):
            with self.subTest(word=word):
                self.start(create=script)
                self.assert_fails(word)
                self.assertEqual(self.s3.of("part"), [])

    def test_a_refusal_is_not_repeated(self):
        for script, word in ((CLOCK, "clock"), (access_denied, "AccessDenied"),
                             (error(404, "NoSuchBucket"), "READER_S3_BUCKET"),
                             (error(403, "QuotaExceeded"), "quota")):
            with self.subTest(word=word):
                self.start(create=script)
                self.assert_fails(word)
                self.assertEqual(len(self.s3.of("create")), 1)

    def test_an_upload_id_that_nobody_can_send_back_is_an_error(self):
        for upload_id in ("+" * 4000, "x" * 512):
            with self.subTest(size=len(upload_id)):
                self.start(create=say_xml(result(
                    "InitiateMultipartUploadResult", UploadId=upload_id)))
                self.assert_fails("UploadId")
                self.assertEqual(self.s3.of("part"), [])

    def test_an_answer_without_end_costs_neither_memory_nor_time(self):
        for script in (endless_answer, interim_flood):
            with self.subTest(script=script.__name__):
                self.start(create=script)
                self.assert_fails("S3")


class Parts(FaultyPeer):
    """Rows 55, 56 and 59."""

    def test_what_passes_is_sent_again_from_memory(self):
        for script in (slow_down, slow_down_early, internal_error, rst_at(0),
                       rst_at(100000), lose_request, lose_answer, truncated,
                       stall_at(1000), never_answer, say(GARBAGE),
                       early(503, at=1000, then="close")):
            with self.subTest(script=script):
                self.start(part=[script])
                self.assert_succeeds()
                numbers = [c.query["partNumber"] for c in self.s3.of("part")]
                self.assertEqual(len(numbers), 4, self.s3.of("part"))
                self.assertEqual(set(numbers), {"1", "2", "3"})

    def test_an_answer_that_trickles_is_given_up(self):
        """A byte now and then is no stall; the whole has its time, too."""
        for kind in ("create", "part", "complete"):
            with self.subTest(kind=kind):
                self.start(settings={"READER_S3_TIMEOUT_MS": 200,
                                     "READER_S3_RETRIES": 0},
                           **{kind: trickle})
                self.assert_fails("S3")

    def test_a_server_that_stays_busy_fails_the_upload(self):
        for script, word in ((slow_down, "SlowDown|busy|rate"),
                             (stall_at(1000), "S3"), (rst_at(5000), "S3"),
                             (say(GARBAGE), "S3")):
            with self.subTest(word=word):
                self.start(part=script)
                self.assert_fails(word)
                self.assertEqual(len(self.s3.of("abort")), 1)

    def test_a_refused_part_fails_the_upload_at_once(self):
        for script, word in ((access_denied, "AccessDenied"),
                             (error(403, "QuotaExceeded"), "quota"),
                             (CLOCK, "clock"), (redirect, "REGION|ENDPOINT")):
            with self.subTest(word=word):
                self.start(part=[script, behave, behave])
                self.assert_fails(word)

    def test_a_client_that_sends_slowly_hears_of_a_refused_part(self):
        """Not only when its bytes have filled the next one."""
        self.start(part=access_denied)
        with Client(self.box.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {4 * PART}"))
            client.send(payload(PART + 1))
            wait_until(lambda: [c.status for c in self.s3.of("part")] == [403],
                       "the part is refused")
            for _ in range(40):
                client.offer(payload(1000), within=1)
                if client.can_read(0.1):
                    break
            answer = client.response()
        self.assertGreaterEqual(answer.status, 500, answer)
        self.assertIn("AccessDenied", answer.body.decode())
        self.assert_forgotten()

    def test_a_part_with_another_etag_is_never_committed(self):
        """Its MD5 counts where the server does not check the SHA-256.

        Where it does, the Complete says what is to be there, and is refused.
        """
        for script, checks, word in ((wrong_etag, False, "ETag"),
                                     (no_etag, False, "ETag"),
                                     (no_etag, True, "ETag"),
                                     (wrong_etag, True, "InvalidPart")):
            with self.subTest(script=script.__name__, checks=checks):
                self.start(part=script, checks_bodies=checks)
                said = "yes" if checks else "no"
                self.assertIn(f"checks_bodies={said}", self.box.log())
                self.assert_fails(word)

    def test_a_server_that_reads_slowly_slows_the_upload_down(self):
        """Slow is not stalled: a part takes 5 s, the timeout is 2 s.

        Of what was handed to the kernel some 4 MiB may wait in its buffers.
        """
        self.start(settings={"READER_S3_TIMEOUT_MS": 2000,
                             "READER_S3_PART_BYTES": 15 * MIB},
                   receive_buffer=65536, part=[slow_part(3 * MIB)])
        self.assert_succeeds(payload(15 * MIB))
        self.assertEqual(len(self.s3.of("part")), 1)

    def test_memory_waits_for_the_server(self):
        """No more is taken from the client than the formula has room for."""
        self.start(settings={"READER_S3_TIMEOUT_MS": 20000,
                             "READER_S3_PARALLEL": 2}, part=gate_part)
        data = bytes(64 * MIB)
        with Client(self.box.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"))
            taken = client.offer(data, within=1)
            self.assertLess(taken, 3 * PART + 8 * MIB)
            self.assert_grew_less(self.box, self.before, 3 * PART + 4 * MIB)
            self.s3.open_gate()
            client.send(data[taken:])
            self.assertEqual(client.response().status, 200)


def slow_part(rate):
    """Take a part at so many bytes a second, and keep it."""
    def script(ex):
        ex.proceed()
        began = time.monotonic()
        while ex.some(65536):
            ahead = ex.leg.size / rate - (time.monotonic() - began)
            if ahead > 0 and ex.target.released.wait(ahead):
                return None
        return behave(ex)
    return script


def gate_part(ex):
    """Read nothing until the gate opens."""
    ex.gate()
    return behave(ex)


class Completing(FaultyPeer):
    """Rows 57 and 58: a 200 that is none, and an answer that gets lost."""

    def test_an_error_within_a_200_is_tried_again(self):
        for script in (error_in_200(), error_in_200(padding=1000),
                       internal_error, slow_down, lose_request, NO_XML):
            with self.subTest(script=script):
                self.start(complete=[script])
                self.assert_succeeds()

    def test_an_error_within_every_200_is_an_error(self):
        for script in (error_in_200(), error_in_200("AccessDenied")):
            with self.subTest(script=script):
                self.start(complete=script)
                self.assert_fails()

    def test_white_space_before_the_answer_keeps_the_reader_waiting(self):
        self.start(complete=[padded])
        opener = threading.Timer(1.5, self.s3.open_gate)
        opener.start()
        self.addCleanup(opener.join)
        self.assert_succeeds()
        self.assertEqual(len(self.s3.of("complete")), 1)

    def test_a_lost_answer_is_settled_before_ours_is_given(self):
        for script in (lose_answer, truncated_after, garbage_after):
            with self.subTest(script=script.__name__):
                self.start(complete=[script])
                self.assert_succeeds()

    def test_a_refusal_after_a_lost_answer_is_settled_too(self):
        """What the last try is told says nothing about the first one."""
        for script in (access_denied, CLOCK, error(400, "InvalidPart")):
            with self.subTest(script=script):
                self.start(complete=[lose_answer, script])
                self.assert_succeeds()

    def test_a_refusal_after_a_lost_answer_leaves_nothing(self):
        """Nobody says whether it is there: then it is removed."""
        self.start(complete=[lose_answer, access_denied], head=lose_request)
        self.assert_fails()

    def test_an_answer_that_never_comes_is_settled_too(self):
        self.start(settings={"READER_S3_TIMEOUT_MS": 100}, complete=[silent])
        self.assert_succeeds()

    def test_a_commit_of_unknown_outcome_is_not_called_a_success(self):
        """Nothing was completed, and nobody can say so: no 201."""
        self.start(complete=lose_request, head=lose_request)
        self.assert_fails()

    def test_what_somebody_else_has_completed_is_not_ours(self):
        """As long as ours, under our key, when our answer is lost."""
        self.start(complete=[another_instead])
        self.assert_staged(self.box.stage(ID % 1, DATA), DATA)
        answer = self.box.commit(ID % 1, DATA)
        self.assertGreaterEqual(answer.status, 400, answer)
        [content] = self.box.contents()
        self.assertEqual(self.s3.objects[content][0], DATA[::-1])

    def test_an_upload_that_somebody_else_has_aborted_is_an_error(self):
        self.start()
        self.assert_staged(self.box.stage(ID % 1, DATA), DATA)
        self.s3.uploads.clear()
        answer = self.box.commit(ID % 1, DATA)
        self.assertIn(answer.status, (404, 409, 500, 502, 503), answer)
        self.assert_forgotten()

    def test_an_abort_that_fails_is_made_up_for_by_the_sweep(self):
        self.start(settings={"READER_STAGED_TTL": 1}, abort=[access_denied])
        self.assert_staged(self.box.stage(ID % 1, DATA), DATA)
        self.box.remove(ID % 1)
        self.box.kill()
        self.box.settings.update(READER_S3_EXCLUSIVE="true")
        self.box.restart().wait_ready()
        wait_until(lambda: not self.s3.uploads, "the sweep aborts it")


def another_instead(ex):
    """Have another content of this length there, and no such upload."""
    ex.read_all()
    with ex.target.lock:
        key, headers, _ = ex.target.uploads.pop(ex.call.query["uploadId"])
        ex.target.objects[key] = (DATA[::-1], headers, f'"{"0" * 32}-3"')
    ex.reset()


def created_without_id(ex):
    """Really create, and say another thing."""
    after_doing(ex)
    ex.answer(200, result("InitiateMultipartUploadResult"), XML)


def after_doing(ex):
    """Really complete, in silence."""
    ex.is_silent = True
    behave(ex)


def truncated_after(ex):
    after_doing(ex)
    ex.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<?xml version=")


def garbage_after(ex):
    after_doing(ex)
    ex.raw(GARBAGE)


def silent(ex):
    after_doing(ex)
    ex.stall()


class SmallObjects(FaultyPeer):
    """Those that are one PUT at their commit."""

    DATA = payload(1000)

    def test_what_passes_is_tried_again(self):
        for script in (slow_down, internal_error, lose_request, lose_answer,
                       truncated, say(GARBAGE)):
            with self.subTest(script=script):
                self.start()
                self.assert_staged(self.box.stage(ID % 1, self.DATA),
                                   self.DATA)
                for place in ([script], [behave, script]):
                    self.s3.of_kind["put"] = place
                answer = self.box.commit(ID % 1, self.DATA)
                self.assertEqual(answer.status, 201, answer)
                self.assert_there(self.box, ID % 1, self.DATA)

    def test_a_refusal_is_an_error_and_leaves_nothing(self):
        for script, word in ((access_denied, "AccessDenied"),
                             (error(403, "QuotaExceeded"), "quota"),
                             (slow_down, "SlowDown|busy|rate")):
            for before in ([], [behave]):
                with self.subTest(word=word, before=before):
                    self.start()
                    self.assert_staged(self.box.stage(ID % 1, self.DATA),
                                       self.DATA)
                    self.s3.of_kind["put"] = [*before, *[script] * 20]
                    answer = self.box.commit(ID % 1, self.DATA)
                    self.assertGreaterEqual(answer.status, 500, answer)
                    self.assertRegex(answer.body.decode(), word)
                    self.assert_forgotten()


class CreateOnce(FaultyPeer):
    """A server that honours If-None-Match, as Amazon's does."""

    def start(self, settings=None, **scripts):
        super().start(settings, create_once=True, **scripts)
        self.assertRegex(self.box.log(), "create_once=yes")

    def test_a_description_whose_answer_is_lost_is_ours(self):
        """Its second try meets the first one, and nobody else."""
        for script in (lose_answer, truncated_put):
            for data in (b"small", DATA):
                with self.subTest(script=script, size=len(data)):
                    self.start()
                    self.assert_staged(self.box.stage(ID % 1, data), data)
                    self.s3.of_kind["put"] = [script]
                    answer = self.box.commit(ID % 1, data)
                    self.assertEqual(answer.status, 201, answer)
                    self.assert_there(self.box, ID % 1, data)

    def test_of_two_readers_that_commit_one_id_one_wins(self):
        """The second one's description comes too late."""
        for mine, other in ((b"mine", b"other"), (DATA, DATA[::-1])):
            with self.subTest(size=len(mine)):
                self.start()
                second = self.s3_reader(self.s3, **QUICK)
                self.assert_staged(self.box.stage(ID % 1, mine), mine)
                self.assert_staged(second.stage(ID % 1, other), other)
                self.s3.of_kind["put"] = [gate_before]
                answers = []
                late = threading.Thread(target=lambda: answers.append(
                    second.commit(ID % 1, other)))
                late.start()
                wait_until(lambda: self.s3.of("put")[-1].key.endswith(".json"),
                           "it has looked and puts")
                self.assertEqual(self.box.commit(ID % 1, mine).status, 201)
                self.s3.open_gate()
                late.join()
                self.assertEqual([a.status for a in answers], [409])
                self.assert_there(self.box, ID % 1, mine)
                wait_until(lambda: not self.s3.uploads, "it is aborted")


    def test_a_commit_that_runs_is_not_taken_over(self):
        """A description without content is of somebody who puts that next."""
        for mine, other in ((b"mine", b"other"), (DATA, DATA[::-1])):
            with self.subTest(size=len(mine)):
                self.start()
                second = self.s3_reader(self.s3, **QUICK)
                self.assert_staged(self.box.stage(ID % 1, mine), mine)
                self.assert_staged(second.stage(ID % 1, other), other)
                self.s3.of_kind["complete"] = [gate_before]
                self.s3.of_kind["put"] = [behave, gate_before]
                kind = "complete" if len(mine) > PART else "put"
                n = len(self.s3.of(kind))
                answers = []
                slow = threading.Thread(target=lambda: answers.append(
                    self.box.commit(ID % 1, mine)))
                slow.start()
                wait_until(lambda: len(self.s3.of(kind)) ==
                           n + (2 if kind == "put" else 1), "it puts content")
                self.s3.of_kind.clear()
                answer = second.commit(ID % 1, other)
                self.s3.open_gate()
                slow.join()
                self.assertEqual(answer.status, 409, answer)
                self.assertEqual([a.status for a in answers], [201])
                self.assert_there(self.box, ID % 1, mine)
                wait_until(lambda: not self.s3.uploads, "it is aborted")


def truncated_put(ex):
    """Store it, and break off while saying so."""
    after_doing(ex)
    ex.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<?xml version=")


def gate_before(ex):
    """Do nothing until the gate opens."""
    ex.gate()
    return behave(ex)


class Reading(FaultyPeer):
    """A GET that breaks is never a short success."""

    def setUp(self):
        super().setUp()
        self.start()
        self.assert_staged(self.box.stage(ID % 1, DATA), DATA)
        self.box.commit(ID % 1, DATA)

    def test_a_content_that_breaks_off_is_gone_on_with_or_ends_broken(self):
        for script in (truncated, lose_request, slow_down, say(GARBAGE)):
            with self.subTest(script=script):
                self.s3.of_kind["get"] = [behave, script]
                try:
                    found = self.box.download(ID % 1)
                except AssertionError:
                    continue        # an error instead of the content
                if found[0] == len(DATA):
                    self.assertEqual(found[1], sha256(DATA))

    def test_lists_that_are_garbage_are_errors(self):
        for script in (NO_XML, xml_bomb, access_denied, endless_answer):
            with self.subTest(script=script):
                self.s3.of_kind["list"] = script
                answer = fetch(self.box.port, "GET", "/objects")
                self.assertGreaterEqual(answer.status, 500, answer)

    def test_a_list_that_does_not_go_on_is_an_error(self):
        """A server that gives its first page for ever."""
        for page in (row("Contents", Key=ID % 9 + ".json"), ""):
            with self.subTest(page=page):
                self.s3.of_kind["list"] = say_xml(result(
                    "ListBucketResult", page, IsTruncated="true"))
                answer = fetch(self.box.port, "GET", "/objects")
                self.assertGreaterEqual(answer.status, 500, answer)
                self.assertLessEqual(len(self.s3.of("list")), 10)

    def test_a_deletion_without_a_bucket_is_an_error(self):
        self.s3.of_kind["get"] = error(404, "NoSuchBucket")
        answer = self.box.remove(ID % 1)
        self.assertGreaterEqual(answer.status, 500, answer)
        self.assertRegex(answer.body.decode(), "READER_S3_BUCKET")


class RealServers(S3Scenario):
    """Faults of Ceph's RGW: busy, full, suspended, stopped, killed."""

    def setUp(self):
        super().setUp()
        self.gate = None

    def gateway(self, **options):
        gate = rgw().gateway(**options)
        self.addCleanup(gate.kill)
        return gate

    def account(self):
        """A user of our own: (name, settings of a reader)."""
        name = f"user-{self.folder.name[-8:]}"
        rgw().make_user(name, f"KEY{name}", f"SECRET{name}")
        return name, {"AWS_ACCESS_KEY_ID": f"KEY{name}",
                      "AWS_SECRET_ACCESS_KEY": f"SECRET{name}"}

    def own_bucket(self, keys):
        client = rgw().gate.client(keys["AWS_ACCESS_KEY_ID"],
                                   keys["AWS_SECRET_ACCESS_KEY"])
        bucket = f"own-{self.folder.name[-8:].lower().replace('_', '-')}-x"
        client.create_bucket(bucket)
        self.addCleanup(client.empty, bucket)
        return bucket, client

    def test_a_busy_gateway_is_asked_again(self):
        """One request at a time; more get 503 SlowDown."""
        gate = self.gateway(rgw_max_concurrent_requests=1)
        reader = self.s3_reader(gate, READER_S3_PARALLEL=4,
                                READER_S3_RETRIES=12, bucket=self.new_bucket(
                                    rgw()))
        data = payload(12 * PART)
        self.assert_kept(reader, ID % 1, data)
        self.assertGreater(reader.metric("reader_s3_retries_total"), 0)
        self.assertEqual(reader.uploads(), [])

    def test_a_user_without_room_is_told_about_the_quota(self):
        name, keys = self.account()
        bucket, client = self.own_bucket(keys)
        reader = self.s3_reader(bucket=bucket, **keys)
        rgw().limit(name, 3 * PART)
        answer = reader.stage(ID % 1, payload(8 * PART))
        if answer.status == 200:
            answer = reader.commit(ID % 1, payload(8 * PART))
        self.assertEqual(answer.status, 507, answer)
        self.assertIn(b"quota", answer.body)
        self.assert_nothing_visible(reader)
        wait_until(lambda: not client.uploads(bucket), "it is aborted")
        rgw().limit(name, None)
        data = payload(2 * PART)
        self.assert_kept(reader, ID % 2, data)

    def test_a_user_who_is_suspended_in_the_middle(self):
        name, keys = self.account()
        bucket, client = self.own_bucket(keys)
        reader = self.s3_reader(bucket=bucket, **keys)
        data = payload(6 * PART)
        with Client(reader.port) as upload:
            upload.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"),
                        data[:2 * PART + 1])
            wait_until(lambda: client.uploads(bucket), "it has begun")
            rgw().suspend(name)
            upload.offer(data[2 * PART + 1:])
            answer = upload.response()
        self.assertGreaterEqual(answer.status, 500, answer)
        self.assertRegex(answer.body.decode(), "UserSuspended|suspended")
        rgw().enable(name)
        self.assert_nothing_visible(reader)
        # Its abort was refused as well: the sweep of the next start does it.
        reader.kill()
        reader.settings.update(READER_S3_EXCLUSIVE="true")
        reader.restart().wait_ready()
        wait_until(lambda: not client.uploads(bucket), "it is aborted")
        self.assert_kept(reader, ID % 2, data)

    def test_a_stopped_osd_stalls_and_then_goes_on(self):
        reader = self.s3_reader(READER_S3_TIMEOUT_MS=60000,
                                READER_S3_PARALLEL=2)
        data = payload(8 * PART)
        osd = rgw().osd
        self.addCleanup(osd.resume)
        with Client(reader.port, timeout=60) as upload:
            upload.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"), data[:3 * PART])
            wait_until(reader.uploads, "it has begun")
            osd.pause()
            before = reader.rss()
            taken = upload.offer(data[3 * PART:], within=1)
            self.assertLess(taken, len(data) - 3 * PART)
            self.assert_grew_less(reader, before, 3 * PART)
            osd.resume()
            upload.send(data[3 * PART + taken:])
            self.assertEqual(upload.response().status, 200)
        self.assertEqual(reader.commit(ID % 1, data).status, 201)
        self.assert_there(reader, ID % 1, data)
        self.assertEqual(reader.uploads(), [])

    def test_an_osd_that_stays_stopped_fails_the_upload(self):
        reader = self.s3_reader(**QUICK)
        data = payload(8 * PART)
        osd = rgw().osd
        self.addCleanup(osd.resume)
        with Client(reader.port, timeout=60) as upload:
            upload.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"), data[:3 * PART])
            wait_until(reader.uploads, "it has begun")
            osd.pause()
            upload.offer(data[3 * PART:], within=1)
            answer = upload.response()
        self.assertGreaterEqual(answer.status, 500, answer)
        osd.resume()
        self.assert_nothing_visible(reader)
        reader.kill()
        reader.settings.update(READER_S3_EXCLUSIVE="true")
        reader.restart().wait_ready()
        wait_until(lambda: not reader.uploads(), "it is aborted", 60)
        self.assert_kept(reader, ID % 1, data)

    def test_a_gateway_that_is_killed_and_comes_back_costs_only_time(self):
        gate = self.gateway()
        reader = self.s3_reader(gate, bucket=self.new_bucket(rgw()))
        data = payload(12 * PART)
        with Client(reader.port, timeout=60) as upload:
            upload.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"), data[:3 * PART])
            wait_until(reader.uploads, "it has begun")
            gate.kill()
            taken = upload.offer(data[3 * PART:], within=0.5)
            gate.start()
            upload.send(data[3 * PART + taken:])
            answer = upload.response()
        self.assert_staged(answer, data)
        gate.kill()
        answers = []
        commit = threading.Thread(
            target=lambda: answers.append(reader.commit(ID % 1, data)))
        commit.start()
        wait_until(lambda: reader.log_lines("s3_retry", "GET"), "it asks again")
        gate.start()
        commit.join()
        self.assertEqual([a.status for a in answers], [201])
        self.assert_there(reader, ID % 1, data)
        self.assertEqual(reader.uploads(), [])

    def test_a_gateway_that_stays_dead_fails_the_upload(self):
        gate = self.gateway()
        reader = self.s3_reader(gate, bucket=self.new_bucket(rgw()), **QUICK)
        data = payload(8 * PART)
        with Client(reader.port, timeout=60) as upload:
            upload.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"), data[:3 * PART])
            wait_until(reader.uploads, "it has begun")
            gate.kill()
            upload.offer(data[3 * PART:], within=1)
            answer = upload.response()
        self.assertGreaterEqual(answer.status, 500, answer)
        gate.start()
        self.assert_nothing_visible(reader)
        reader.kill()
        reader.settings.update(READER_S3_EXCLUSIVE="true")
        reader.restart().wait_ready()
        wait_until(lambda: not reader.uploads(), "it is aborted")
        self.assert_kept(reader, ID % 1, data)
