"""Two readers of one bucket, and what a sweep finds there: nobody harms another."""
import json
import threading
import time
import urllib.parse

from client import Client, fetch, head, wait_until
from harness import payload, sha256
from object_api import ID, PATCH_TYPE
from s3 import PART, S3Scenario
from s3_peer import access_denied, behave, error, slow_down

QUICK = {"READER_S3_TIMEOUT_MS": 1000, "READER_S3_RETRIES": 2}
DATA = payload(4 * PART + 77)
DAY = 86400


class TwoReaders(S3Scenario):

    def start(self, settings=None, **scripts):
        self.s3 = self.peer(**scripts)
        self.a = self.s3_reader(self.s3, **{**QUICK, **(settings or {})})
        self.b = self.s3_reader(self.s3, **QUICK)

    def append(self, reader, first, end):
        answer = reader.append(ID % 1, first, DATA[first:end])
        self.assertEqual(answer.status, 204, answer)


class Pausing(TwoReaders):
    """What is paused rests in the bucket only."""

    def test_two_readers_go_on_in_turn(self):
        """Also when what is no part yet is as long as it was."""
        ends = [2 * PART + 1000, 3 * PART + 1000, 3 * PART + 2000, len(DATA)]
        self.start()
        for reader, first, end in zip((self.a, self.b) * 2, [0, *ends], ends):
            self.append(reader, first, end)
            for each in self.a, self.b:
                self.assertEqual(each.offset(ID % 1), end)
        self.assertEqual(self.a.commit(ID % 1, DATA).status, 201)
        self.assert_there(self.b, ID % 1, DATA)
        self.assertEqual(self.a.leftovers(), [])

    def test_parts_are_found_on_every_page_of_their_list(self):
        self.start()
        self.s3.parts_page = 1
        self.append(self.a, 0, 3 * PART + 10)
        self.append(self.b, 3 * PART + 10, len(DATA))
        self.assertGreater(len(self.s3.of("parts")), 2)
        self.assertEqual(self.b.commit(ID % 1, DATA).status, 201)
        self.assert_there(self.a, ID % 1, DATA)

    def test_a_client_that_is_behind_destroys_nothing(self):
        self.start()
        self.append(self.a, 0, PART + 10)
        self.append(self.b, PART + 10, 3 * PART)
        answer = self.a.append(ID % 1, PART + 10, DATA[PART + 10:PART + 20])
        self.assertEqual(answer.status, 409, answer)
        self.assertEqual(answer.headers["upload-offset"], str(3 * PART))
        self.append(self.b, 3 * PART, len(DATA))
        self.assertEqual(self.b.commit(ID % 1, DATA).status, 201)
        self.assert_there(self.a, ID % 1, DATA)

    def test_what_one_has_committed_is_committed_for_the_other(self):
        self.start()
        self.append(self.a, 0, PART)
        self.append(self.b, PART, len(DATA))
        self.assertEqual(self.b.commit(ID % 1, DATA).status, 201)
        found = fetch(self.a.port, "HEAD", f"/objects/{ID % 1}")
        self.assertEqual(found.headers["content-length"], str(len(DATA)))
        self.assertNotIn("upload-offset", found.headers)
        self.assertEqual(self.a.commit(ID % 1, DATA).status, 200)

    def test_who_goes_on_at_the_same_time_is_told(self):
        """Between two looks of b at the tail, another one as long is put."""
        self.start()
        ends = 2 * PART + 1000, 3 * PART + 1000
        self.append(self.a, 0, ends[0])
        self.s3.of_kind["get"] = [behave, behave, gated(behave)]
        n = len(self.s3.of("get"))
        answers = []
        thread = threading.Thread(target=lambda: answers.append(
            self.b.append(ID % 1, ends[0], DATA[ends[0]:ends[1]])))
        thread.start()
        wait_until(lambda: len(self.s3.of("get")) == n + 3, "b wants the tail")
        self.append(self.a, *ends)
        self.s3.open_gate()
        thread.join()
        self.assertEqual(answers[0].status, 409, answers[0])
        for each in self.a, self.b:
            self.assertEqual(each.offset(ID % 1), ends[1])
        self.append(self.b, ends[1], len(DATA))
        self.assertEqual(self.a.commit(ID % 1, DATA).status, 201)
        self.assert_there(self.b, ID % 1, DATA)

    def test_a_commit_needs_no_bytes_before_it(self):
        """Whoever is asked to commit goes on with what is paused."""
        self.start()
        self.append(self.a, 0, len(DATA))
        self.assertEqual(self.b.commit(ID % 1, DATA[:-1]).status, 409)
        self.assertEqual(self.b.commit(ID % 1, DATA).status, 201)
        self.assert_there(self.a, ID % 1, DATA)
        self.assertEqual(self.b.commit(ID % 2, DATA).status, 404)

    def test_a_pause_is_as_old_as_its_last_byte(self):
        """However long ago this reader had the last one of it."""
        self.start({"READER_STAGED_TTL": 3})
        self.append(self.a, 0, PART + 10)
        for i in range(7):
            time.sleep(0.7)
            self.append(self.b, PART + 10 + i, PART + 11 + i)
        self.assertEqual(len(self.s3.uploads), 1)
        wait_until(lambda: not self.s3.uploads, "it is swept")
        wait_until(lambda: not self.s3.objects, "its tail is, too")

    def test_what_is_paused_can_be_deleted_by_every_reader(self):
        self.start()
        self.append(self.a, 0, PART + 10)
        self.assertEqual(self.b.remove(ID % 1).status, 204)
        self.assertEqual((self.s3.uploads, self.s3.objects), ({}, {}))
        self.assertIsNone(self.a.offset(ID % 1))
        self.assertEqual(self.a.commit(ID % 1, DATA[:PART + 10]).status, 404)

    def test_a_deletion_that_fails_is_an_error_and_can_be_repeated(self):
        for kind in ("get", "abort", "delete"):
            with self.subTest(kind=kind):
                self.start()
                self.append(self.a, 0, PART + 10)
                self.s3.of_kind[kind] = access_denied
                self.assertGreaterEqual(self.b.remove(ID % 1).status, 500)
                self.s3.of_kind.clear()
                self.assertEqual(self.b.remove(ID % 1).status, 204)
                self.assertEqual((self.s3.uploads, self.s3.objects), ({}, {}))

    def test_what_a_commit_had_to_leave_goes_with_the_object(self):
        self.start()
        self.append(self.a, 0, len(DATA))
        self.s3.of_kind["delete"] = [access_denied]
        self.assertEqual(self.a.commit(ID % 1, DATA).status, 201)
        self.assertIn(f"{ID % 1}.part", self.s3.objects)
        self.assertEqual(self.a.remove(ID % 1).status, 204)
        self.assertEqual(self.s3.objects, {})

    def test_an_upload_that_somebody_has_aborted_cannot_be_gone_on_with(self):
        """Even when {id}.part counts on none of its parts."""
        self.start()
        self.append(self.a, 0, 100000)
        self.s3.uploads.clear()
        answer = self.b.append(ID % 1, 100000, b"more")
        self.assertEqual(answer.status, 404, answer)

    def test_a_store_that_fails_for_a_moment_costs_no_byte_that_was_taken(self):
        self.start()
        self.append(self.a, 0, PART + 10)
        self.s3.of_kind["get"] = [behave, behave, access_denied]
        answer = self.b.append(ID % 1, PART + 10, b"more")
        self.assertGreaterEqual(answer.status, 400, answer)
        self.assertEqual(self.a.offset(ID % 1), PART + 10)
        self.append(self.b, PART + 10, len(DATA))
        self.assertEqual(self.a.commit(ID % 1, DATA).status, 201)
        self.assert_there(self.a, ID % 1, DATA)


class Committing(TwoReaders):
    """Two of them, one identifier."""

    def commit_late(self, script, mine, other):
        """B's description waits until A has committed; B's answer."""
        for reader, data in ((self.a, mine), (self.b, other)):
            self.assert_staged(reader.stage(ID % 1, data), data)
        n = len(self.s3.of("put"))
        self.s3.of_kind["put"] = script
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(self.b.commit(ID % 1, other)))
        thread.start()
        wait_until(lambda: len(self.s3.of("put")) == n + 1, "b describes it")
        answer = self.a.commit(ID % 1, mine)
        self.assertEqual(answer.status, 201, answer)
        self.s3.open_gate()
        thread.join()
        return answers[0]

    def test_one_that_fails_leaves_what_the_other_has_committed(self):
        conflict = error(409, "ConditionalRequestConflict")
        for script in (access_denied, conflict, slow_down):
            with self.subTest(script=script):
                self.start(create_once=True)
                answer = self.commit_late(
                    [gated(script), behave, *[script] * 9],
                    DATA, DATA)
                self.assertGreaterEqual(answer.status, 500, answer)
                self.assert_there(self.a, ID % 1, DATA)

    def test_both_succeed_with_the_same_content(self):
        for data in (b"small", DATA):
            with self.subTest(size=len(data)):
                self.start(create_once=True)
                answer = self.commit_late([gated(behave)], data, data)
                self.assertIn(answer.status, (200, 201), answer)
                self.assert_there(self.a, ID % 1, data)
                self.assertEqual(len(self.s3.objects), 2)

    def test_with_another_content_the_second_is_refused(self):
        for data in (b"small", DATA):
            with self.subTest(size=len(data)):
                self.start(create_once=True)
                answer = self.commit_late([gated(behave)], data, data[::-1])
                self.assertEqual(answer.status, 409, answer)
                self.assert_there(self.a, ID % 1, data)

    def test_without_create_once_only_one_of_both_is_told_success(self):
        """Descriptions A, B, then contents B, A."""
        order = [threading.Event() for _ in range(3)]

        def put(ex):
            ex.proceed()
            ex.read_all()
            body = bytes(ex.leg.body)
            if ex.call.key.endswith(".json") and sha256(b"B").encode() in body:
                order[0].set()
                order[1].wait(20)
            elif body == b"A":
                order[1].set()
                order[2].wait(20)
            kept = behave(ex)
            if body == b"B":
                order[2].set()
            return kept

        self.start()
        for reader, data in ((self.a, b"A"), (self.b, b"B")):
            self.assert_staged(reader.stage(ID % 1, data), data)
        self.s3.of_kind["put"] = put
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(self.b.commit(ID % 1, b"B").status))
        thread.start()
        self.assertTrue(order[0].wait(20))
        answers.append(self.a.commit(ID % 1, b"A").status)
        thread.join()
        self.assertEqual(sorted(answers), [201, 409])

    def test_a_commit_under_way_is_not_taken_over_for_long(self):
        """A quarter of an hour is not too long for a Complete."""
        self.start({"READER_S3_TIMEOUT_MS": 20000}, create_once=True)
        other = DATA[::-1]
        for reader, data in ((self.a, DATA), (self.b, other)):
            self.assert_staged(reader.stage(ID % 1, data), data)
        self.s3.of_kind["complete"] = [gated(behave)]
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(self.a.commit(ID % 1, DATA).status))
        thread.start()
        wait_until(lambda: self.s3.of("complete"), "a completes")
        self.b.stop()
        self.b.settings.update(READER_S3_TIMEOUT_MS=60000,
                               READER_S3_RETRIES=8)
        self.b.restart().wait_ready()
        self.assert_staged(self.b.stage(ID % 2, other), other)
        self.s3.times[f"{ID % 1}.json"] -= 960
        self.assert_staged(self.b.stage(ID % 1, other), other)
        self.assertEqual(self.b.commit(ID % 1, other).status, 409)
        self.s3.open_gate()
        thread.join()
        self.assertEqual(answers, [201])
        self.assert_there(self.a, ID % 1, DATA)

    def test_half_a_commit_of_long_ago_is_taken_over(self):
        """By another content as well: the one before has come to nothing."""
        self.start(create_once=True)
        self.assert_staged(self.a.stage(ID % 1, b"first"), b"first")
        self.s3.of_kind["put"] = [behave, access_denied]
        self.s3.of_kind["get"] = [behave, access_denied]
        self.assertGreaterEqual(self.a.commit(ID % 1, b"first").status, 500)
        self.assertEqual(list(self.s3.objects), [f"{ID % 1}.json"])
        self.assert_staged(self.b.stage(ID % 1, b"other"), b"other")
        self.s3.times[f"{ID % 1}.json"] -= DAY
        self.assertEqual(self.b.commit(ID % 1, b"other").status, 201)
        self.assert_there(self.b, ID % 1, b"other")

    def test_a_complete_that_is_late_finds_its_content_removed_or_removes(self):
        """Unknown, and not there when it is looked for: deleted all the same."""
        self.start({"READER_S3_TIMEOUT_MS": 100, "READER_S3_RETRIES": 0})
        self.assert_staged(self.a.stage(ID % 1, DATA), DATA)
        self.s3.of_kind["complete"] = [gated(behave)]
        self.assertGreaterEqual(self.a.commit(ID % 1, DATA).status, 500)
        [content] = {c.key for c in self.s3.of("complete")}
        self.assertIn(content, [c.key for c in self.s3.of("delete")])
        self.s3.open_gate()


class Listing(TwoReaders):

    def put(self, number):
        """As a commit leaves it."""
        object_id = ID % number
        description = {
            "id": object_id, "name": "x", "content_type": "text/plain",
            "size": 1, "sha256": sha256(b"x"), "title": "", "creator": "",
            "created_at": "2026-01-31T23:59:59.123Z", "metadata": {}}
        self.s3.objects[f"{object_id}.json"] = (
            json.dumps(description).encode(), {}, '"d"')
        self.s3.objects[f"{object_id}/x"] = (b"x", {}, '"c"')

    def pages(self, **query):
        after = {}
        while True:
            words = urllib.parse.urlencode({**query, **after})
            page = fetch(self.a.port, "GET", f"/objects?{words}").json()
            yield page["objects"]
            if not page["next"]:
                return
            after = {"after": page["next"]}

    def test_objects_are_found_on_every_page_of_the_keys(self):
        """Also when a page ends between a description and its content."""
        n = 300
        for foreign in 0, 1:
            with self.subTest(foreign=foreign):
                self.start()
                for number in range(n):
                    self.put(number)
                for number in range(foreign):
                    self.s3.objects[f"0-{number}"] = (b"", {}, '"f"')
                for limit in 100, 1000:
                    found = [o["id"] for page in self.pages(limit=limit)
                             for o in page]
                    self.assertEqual(found, [ID % i for i in range(n)])
                found = [o["id"] for page in self.pages(limit=7, q="x",
                                                        sort="size")
                         for o in page]
                self.assertEqual(sorted(found), [ID % i for i in range(n)])
                self.assertEqual(len(set(found)), n)


class Probing(TwoReaders):
    """What the server honours is asked until it says so."""

    def test_a_server_that_is_busy_at_the_start_is_asked_again(self):
        for kind in ("list", "put"):
            with self.subTest(kind=kind):
                self.s3 = self.peer(create_once=True, **{kind: [slow_down]})
                reader = self.s3_reader(self.s3, wait=False, **QUICK)
                reader.wait_live()
                self.assertIn("create_once=no", reader.log())
                wait_until(lambda: "create_once=yes checks_bodies=yes"
                           in reader.log(), "it is asked again")
                self.assert_kept(reader, ID % 1, b"small")
                self.assertEqual([c.headers.get("if-none-match")
                                  for c in self.s3.of("put")
                                  if c.key == f"{ID % 1}.json"], ["*"])
                self.assertEqual(sorted(self.s3.objects),
                                 [f"{ID % 1}.json", f"{ID % 1}/x.bin"])


class Sweeping(TwoReaders):
    """A stale upload of an identifier that somebody else is at work on."""

    def leave(self):
        """An upload of long ago, when b has swept for the first time."""
        self.s3 = self.peer()
        self.b = self.s3_reader(self.s3, **QUICK)
        wait_until(lambda: self.s3.of("uploads"), "b sweeps")
        self.s3.uploads["old"] = (f"{ID % 1}/x.bin", {}, {1: b"x"})

    def sweep(self, **scripts):
        self.s3.of_kind.update(scripts)
        self.a = self.s3_reader(self.s3, READER_STAGED_TTL=2, **QUICK)

    def test_what_is_committed_meanwhile_stays(self):
        for kind in ("head", "abort"):
            with self.subTest(kind=kind):
                self.leave()
                self.sweep(**{kind: [gated(behave)]})
                wait_until(lambda: self.s3.of(kind), "the sweep is under way")
                self.assert_staged(self.b.stage(ID % 1, b"small"), b"small")
                answer = self.b.commit(ID % 1, b"small")
                self.assertEqual(answer.status, 201, answer)
                self.s3.open_gate()
                wait_until(lambda: not self.s3.uploads, "it is swept")
                time.sleep(0.5)
                self.assert_there(self.b, ID % 1, b"small")

    def test_what_the_sweeper_itself_receives_meanwhile_stays(self):
        """Its PATCH puts a tail where the sweep has seen that there is none."""
        self.leave()
        self.sweep(head=[behave, gated(behave)])
        wait_until(lambda: len(self.s3.of("head")) == 2, "the sweep is at it")
        with Client(self.a.port) as client:
            client.send(head("PATCH", f"/objects/{ID % 1}", PATCH_TYPE,
                             "Upload-Offset: 0",
                             f"Content-Length: {len(DATA)}"), DATA[:-1])
            wait_until(lambda: len(self.s3.uploads) == 2, "bytes come")
            self.s3.open_gate()
            wait_until(lambda: len(self.s3.of("uploads")) > 2, "a next round")
            self.assertEqual(self.s3.of("abort"), [])
            client.send(DATA[-1:])
            self.assertEqual(client.response().status, 204)
        self.assertEqual(self.a.commit(ID % 1, DATA).status, 201)
        self.assert_there(self.b, ID % 1, DATA)

    def test_a_description_that_is_young_is_left_with_its_upload(self):
        """Of a commit that may be under way; later both go."""
        self.leave()
        key = f"{ID % 1}.json"
        self.s3.objects[key] = (b"{}", {}, '"x"')
        self.s3.times[key] = time.time() + 4
        self.sweep()
        wait_until(lambda: any(c.key == key for c in self.s3.of("head")),
                   "the sweep has looked at it")
        self.assertEqual(list(self.s3.uploads), ["old"])
        wait_until(lambda: not self.s3.uploads and not self.s3.objects,
                   "it is swept")

    def test_a_removal_that_fails_is_made_up_for(self):
        for kind in ("delete", "abort"):
            with self.subTest(kind=kind):
                self.leave()
                self.s3.objects[f"{ID % 1}.part"] = (b"{}\n", {}, '"x"')
                # the first deletion is that of the probe
                self.sweep(**{kind: [*[behave] * (kind == "delete"),
                                     access_denied]})
                wait_until(lambda: not self.s3.uploads, "it is swept")
                self.assertEqual(self.s3.objects, {})

    def test_uploads_are_found_on_every_page_of_their_list(self):
        """Two of them under each key; those of others stay."""
        self.leave()
        for number in range(1, 131):
            for n in (1, 2):
                self.s3.uploads[f"old-{number}-{n}"] = (
                    f"{ID % number}/x.bin", {}, {1: b"x"})
            self.s3.uploads[f"other-{number}"] = (f"{ID % number}0", {}, {})
        self.sweep()
        wait_until(lambda: len(self.s3.uploads) == 130, "ours are swept")
        self.assertEqual({u.split("-")[0] for u in self.s3.uploads}, {"other"})

    def test_a_time_that_cannot_be_read_is_no_reason_to_remove(self):
        self.leave()
        self.s3.iso_time = lambda what: "2026-01-31T00:00:00Z" \
            if what == "old" else "yesterday"
        self.sweep()
        wait_until(lambda: len(self.s3.of("parts")) > 1, "it was looked at")
        self.assertEqual(self.s3.of("abort"), [])


def gated(script):
    """The script, once the gate is open."""
    def run(ex):
        ex.proceed()
        ex.read_all()
        ex.gate()
        return script(ex)
    return run
