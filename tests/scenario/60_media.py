"""Playback through the broadcaster: exact bytes, whatever happens to readers."""
import pathlib
import random
import signal
import subprocess
import time

import alloc_count
import postgres
from client import Client, Closed, fetch, get, head, wait_until
from fault_target import not_found, refuse, say, stall_at
from harness import Scenario, payload, running_uploads, sha256, slow
from media_peer import etag_of, holder, in_turn
from object_api import ID, commit, stage

KIB, MIB = 1 << 10, 1 << 20
ONE = ID % 1


class Playback(Scenario):
    """Readers that hold an object, and a broadcaster in front of them."""

    def store(self, data, n=2, name="x.bin", fields=(), **settings):
        """n real readers that hold `data`; its id."""
        self.boxes = self.readers(n)
        self.front = self.broadcaster(self.boxes, **settings)
        answer = self.put(self.front, data, *fields, name=name)
        self.assertEqual(answer.status, 201, answer)
        return answer.data["id"]

    def peers(self, *scripts, **settings):
        """A broadcaster in front of scripted readers, asked in this order.

        None is given up because the machine is busy: who fails is scripted.
        """
        self.targets = [self.fault(on_other=script) for script in scripts]
        self.front = self.broadcaster(
            self.targets, **{"BROADCASTER_MEDIA_ASK_MS": 60000,
                             "BROADCASTER_MEDIA_STALL_MS": 60000, **settings})

    def get(self, object_id, *fields, query=""):
        return get(self.front.port, f"/media/{object_id}{query}", *fields)

    def play(self, object_id=ONE, **options):
        """A player that stops after the head; (client, fields of the answer)."""
        client = Client(self.front.port, **options)
        self.addCleanup(client.close)
        client.send(head("GET", f"/media/{object_id}"))
        status, _, fields = client.take_head()
        self.assertEqual(status, 200)
        return client, fields

    def assert_rest(self, client, data):
        """The client gets exactly these bytes now."""
        for at in range(0, len(data), MIB):
            piece = data[at:at + MIB]
            self.assertTrue(client.take(len(piece)) == piece,
                            f"other bytes between {at} and {at + MIB}")

    def line(self, *words):
        """The log line of the one playback with these words."""
        return wait_until(
            lambda: self.front.log_lines("event=playback", *words),
            f"a playback is logged with {words}")[0]


class Answers(Playback):
    """What a player is told."""

    def test_bytes_and_fields_are_those_of_the_object(self):
        data = payload(300000)
        answer = self.get(self.store(data, fields=["Content-Type: video/mp4"]))
        self.assertEqual((answer.status, answer.body), (200, data))
        fields = answer.headers
        self.assertEqual(fields["etag"], f'"{sha256(data)}"')
        self.assertEqual(fields["content-type"], "video/mp4")
        self.assertEqual(fields["accept-ranges"], "bytes")
        self.assertEqual(fields["x-content-type-options"], "nosniff")
        self.assertEqual(fields["cache-control"], "no-cache")
        self.assertTrue(fields["repr-digest"].startswith("sha-256=:"))
        self.assertIn("last-modified", fields)
        self.assertNotIn("vary", fields)

    def test_an_empty_object_and_one_of_a_byte_are_played(self):
        self.boxes = self.readers(2)
        self.front = self.broadcaster(self.boxes)
        for data in (b"", b"x"):
            object_id = self.put(self.front, data).data["id"]
            answer = self.get(object_id)
            self.assertEqual((answer.status, answer.body), (200, data))

    def test_a_range_is_answered_with_206(self):
        data = payload(100000)
        object_id = self.store(data)
        for asked, first, last in (("5-9", 5, 9), ("99990-", 99990, 99999),
                                   ("-7", 99993, 99999), ("0-", 0, 99999),
                                   ("50-200000", 50, 99999)):
            answer = self.get(object_id, f"Range: bytes={asked}")
            self.assertEqual(answer.status, 206, asked)
            self.assertEqual(answer.body, data[first:last + 1])
            self.assertEqual(answer.headers["content-range"],
                             f"bytes {first}-{last}/100000")

    def test_a_range_behind_the_end_is_answered_with_416(self):
        answer = self.get(self.store(bytes(10)), "Range: bytes=10-")
        self.assertEqual((answer.status, answer.body), (416, b""))
        self.assertEqual(answer.headers["content-range"], "bytes */10")

    def test_conditions_are_evaluated(self):
        data = payload(1000)
        object_id, etag = self.store(data), f'"{sha256(data)}"'
        answer = self.get(object_id, f"If-None-Match: {etag}")
        self.assertEqual((answer.status, answer.body), (304, b""))
        self.assertEqual(answer.headers["etag"], etag)
        self.assertEqual(self.get(object_id, 'If-None-Match: "x"').status, 200)
        self.assertEqual(self.get(object_id, 'If-Match: "x"').status, 412)
        self.assertEqual(self.get(object_id, f"If-Match: {etag}").status, 200)
        self.assertEqual(self.get(object_id, f"If-Match: W/{etag}").status,
                         412)
        for field, status in (("If-None-Match", 304), ("If-Match", 200)):
            lines = f'{field}: "x"', f'{field}: "y", {etag}'
            self.assertEqual(self.get(object_id, *lines).status, status)
            for box in self.boxes:
                self.assertEqual(box.content(object_id, *lines).status, status)
        lines = 'If-Match: "x"', 'If-Match: "y"'
        self.assertEqual(self.get(object_id, *lines).status, 412)
        part = ("Range: bytes=1-2", f"If-Range: {etag}")
        self.assertEqual(self.get(object_id, *part).status, 206)
        part = ("Range: bytes=1-2", 'If-Range: "other"')
        self.assertEqual(self.get(object_id, *part).status, 200)

    def test_conditions_may_have_many_lines(self):
        """Together longer than one line may be; too many are the client's fault."""
        data = payload(1000)
        object_id, etag = self.store(data), f'"{sha256(data)}"'
        for field, status in (("If-None-Match", 304), ("If-Match", 200)):
            lines = [f'{field}: "{c * 8000}"' for c in "abc"]
            answer = self.get(object_id, *lines, f"{field}: {etag}")
            self.assertEqual(answer.status, status, field)
            for method in ("GET", "DELETE"):
                for wrong in ([f'{field}: "{"x" * 4400}"'] * 7,
                              [f'{field}: "x"'] * 65):
                    answer = fetch(self.front.port, method,
                                   f"/media/{object_id}", *wrong)
                    self.assertEqual(answer.status, 431, (field, answer))
                answer = fetch(self.front.port, method, f"/media/{ID % 9}",
                               *[f'{field}: "x"'] * 64)
                self.assertNotIn(answer.status, (431, 502), answer)
                answer = fetch(self.front.port, method, f"/media/{ID % 9}",
                               f'{field}:"{"x" * (8192 - len(field) - 3)}"')
                self.assertEqual(answer.status, 431, "with a blank it is longer")

    def test_dates_are_conditions_too(self):
        object_id = self.store(b"x" * 1000)
        stored = self.get(object_id).headers["last-modified"]
        before = "Sun, 06 Nov 1994 08:49:37 GMT"
        long_before = "Wed, 31 Dec 1969 23:59:59 GMT"
        for condition, status in ((f"If-Modified-Since: {stored}", 304),
                                  (f"If-Modified-Since: {before}", 200),
                                  ("If-Modified-Since: today", 200),
                                  (f"If-Unmodified-Since: {stored}", 200),
                                  (f"If-Unmodified-Since: {before}", 412),
                                  (f"If-Modified-Since: {long_before}", 200),
                                  (f"If-Unmodified-Since: {long_before}",
                                   412)):
            for method in ("GET", "HEAD"):
                answer = fetch(self.front.port, method, f"/media/{object_id}",
                               condition)
                self.assertEqual(answer.status, status, (method, condition))
        etag_first = ('If-None-Match: "x"', f"If-Modified-Since: {stored}")
        self.assertEqual(self.get(object_id, *etag_first).status, 200)

    def test_every_reader_says_the_same_date(self):
        """Though one has the content seconds after the other."""
        self.boxes = self.readers(2)
        self.front = self.broadcaster(self.boxes)
        with Client(self.front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 2"), b"x")
            wait_until(lambda: [u for u in running_uploads(self.front)
                                if u["received"]], "both have accepted it")
            self.boxes[1].signal(signal.SIGSTOP)
            client.send(b"y")
            time.sleep(1.1)     # dates have seconds
            self.boxes[1].signal(signal.SIGCONT)
            object_id = client.response().data["id"]
        dates = [box.content(object_id).headers["last-modified"]
                 for box in self.boxes]
        self.assertEqual(dates[0], dates[1])
        for _ in range(2):      # they take turns
            for field, status in (("Unmodified", 200), ("Modified", 304)):
                answer = self.get(object_id, f"If-{field}-Since: {dates[0]}")
                self.assertEqual(answer.status, status)

    def test_a_download_that_is_up_to_date_is_not_fetched_again(self):
        object_id = self.store(payload(5000))
        copy = self.scratch("downloads") / "copy"
        url = f"http://127.0.0.1:{self.front.port}/media/{object_id}"
        for expected in ("200", "304"):
            # its own code is 304 also for a 200 that is not new enough
            done = subprocess.run(
                ["curl", "-sS", "-R", "-o", copy, "-D", "-",
                 *(["-z", copy] if copy.exists() else []), url],
                check=True, text=True, stdout=subprocess.PIPE)
            self.assertEqual(done.stdout.split()[1], expected)
        self.assertEqual(copy.read_bytes(), payload(5000))

    def test_head_tells_the_same_without_content(self):
        data = payload(5000)
        object_id = self.store(data)
        answer = fetch(self.front.port, "HEAD", f"/media/{object_id}")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.headers["content-length"], "5000")
        self.assertEqual(answer.headers["etag"], f'"{sha256(data)}"')
        gone = fetch(self.front.port, "HEAD", f"/media/{ID % 99}")
        self.assertEqual(gone.status, 404)

    def test_one_connection_serves_many_ranges(self):
        data = payload(100000)
        object_id = self.store(data)
        with Client(self.front.port) as client:
            for first in range(0, 100000, 20000):
                client.request("GET", f"/media/{object_id}",
                               f"Range: bytes={first}-{first + 9}")
                answer = client.response()
                self.assertEqual(answer.body, data[first:first + 10])

    def test_an_id_that_is_none_is_refused(self):
        self.peers(not_found)
        for bad in ("x", "../etc/passwd", ONE.upper(), ONE + "/", "%2e%2e"):
            self.assertEqual(self.get(bad).status, 400, bad)
        self.assertEqual(self.targets[0].legs, [])

    def test_other_methods_are_refused(self):
        self.peers(not_found)
        answer = fetch(self.front.port, "PUT", f"/media/{ONE}", body=b"x")
        self.assertEqual(answer.status, 405)
        self.assertEqual(answer.headers["allow"], "GET, HEAD, DELETE")


class Labels(Playback):
    """Names and types come from strangers."""

    def disposition(self, content_type, name="x.bin", query=""):
        object_id = self.store(b"content", n=1, name=name,
                               fields=[f"Content-Type: {content_type}"])
        answer = self.get(object_id, query=query)
        self.assertEqual(answer.body, b"content")
        return answer.headers

    def test_what_browsers_show_is_inline(self):
        for content_type in ("video/mp4", "audio/mpeg", "image/png",
                             "application/pdf", "Video/MP4; codecs=x"):
            fields = self.disposition(content_type)
            self.assertTrue(fields["content-disposition"].startswith("inline"))
            self.assertNotIn("content-security-policy", fields)

    def test_what_could_run_scripts_is_saved_and_put_in_a_sandbox(self):
        for content_type in ("text/html", "image/svg+xml", "text/xml",
                             "application/xhtml+xml", "text/javascript"):
            fields = self.disposition(content_type)
            self.assertTrue(
                fields["content-disposition"].startswith("attachment"))
            self.assertIn("sandbox", fields["content-security-policy"])

    # The second one of such a list would be shown (Fetch, 3.7).
    NO_TYPES = ("audio/x, text/html", "video/mp4;,text/html",
                "image/png;,text/html", "application/pdf;,text/html",
                "audio", "/", 'video/"x', "audio/é", "audio/x; y",
                "audio/" + "x" * 250)

    def assert_bytes(self, answer):
        """It cannot be shown by a browser."""
        fields = answer.headers
        self.assertEqual(answer.status, 200)
        self.assertEqual(fields["content-type"], "application/octet-stream")
        self.assertTrue(fields["content-disposition"].startswith("attachment"))

    def test_what_is_no_media_type_is_none(self):
        """Neither in a head nor in a form, nor at a reader itself."""
        box = self.reader()
        self.front = self.broadcaster([box])
        path = self.folder / "file"
        path.write_bytes(b"\x01")
        for number, kind in enumerate(self.NO_TYPES):
            answer = self.put(self.front, b"\x01", f"Content-Type: {kind}")
            self.assertEqual(answer.status, 201, kind)
            ids = [answer.data["id"], ID % number]
            self.assertEqual(stage(box, ID % number, b"\x01",
                                       f"Content-Type: {kind}").status, 200)
            self.assertEqual(commit(box, ID % number, b"\x01").status, 201)
            for port, url in ((self.front.port, "broadcast"),
                              (box.port, "upload")):
                done = fetch(port, "POST", f"/{url}",
                             "Content-Type: multipart/form-data; boundary=b",
                             body=b'--b\r\nContent-Disposition: form-data; '
                             b'name="f"; filename="x"\r\nContent-Type: ' +
                             kind.encode() + b"\r\n\r\n\x01\r\n--b--\r\n")
                self.assertLess(done.status, 300, (kind, done))
                data = done.json()["data"]
                ids.append(data.get("id") or data["objects"][0]["id"])
            for object_id in ids:
                self.assertEqual(box.objects()[object_id]["content_type"],
                                 "application/octet-stream", kind)
                self.assert_bytes(self.get(object_id))
                self.assert_bytes(box.content(object_id))

    def test_what_is_no_media_type_is_told_from_its_content(self):
        object_id = self.store(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(50),
                               n=1, fields=["Content-Type: image/x, text/html"])
        self.assertEqual(self.get(object_id).headers["content-type"],
                         "image/png")

    def test_what_older_releases_stored_is_not_shown(self):
        """In a database, in a folder; and what any reader says."""
        database = postgres.shared().create_database()
        boxes = [self.reader(**database.env(), READER_STORE="postgres",
                             READER_FILE_DIR=None), self.reader()]
        for box in boxes:
            self.assertEqual(stage(box, ONE, b"x").status, 200)
            self.assertEqual(commit(box, ONE, b"x").status, 201)
        database.query("UPDATE stream_broadcast.object SET content_type = "
                       "'audio/x, text/html'")
        meta, = boxes[1].store.glob("**/meta.json")
        meta.write_text(meta.read_text().replace("application/octet-stream",
                                                 "audio/x, text/html"))
        liar = self.fault(on_other=holder(b"x",
                                          Content_Type="audio/x, text/html"))
        for box in (*boxes, liar):
            self.front = self.broadcaster([box])
            answer = self.get(ONE)
            self.assert_bytes(answer)
            self.assertIn("sandbox", answer.headers["content-security-policy"])
            if box is not liar:
                self.assert_bytes(box.content(ONE))

    def test_download_makes_an_attachment_of_everything(self):
        fields = self.disposition("video/mp4", query="?download=1")
        self.assertTrue(fields["content-disposition"].startswith("attachment"))

    def test_a_hostile_name_stays_a_name(self):
        name = "%22%3B%20filename%3D%22evil.exe%E2%82%AC%27%25.mp4"
        field = self.disposition("video/mp4", name=name)["content-disposition"]
        self.assertEqual(field.count('filename="'), 1, field)
        self.assertIn("filename*=UTF-8''%22%3B%20filename%3D%22evil.exe"
                      "%E2%82%AC%27%25.mp4", field)


class Failover(Playback):
    """A reader dies, the player never notices."""

    def test_a_reader_is_killed_in_the_middle_of_one_transfer(self):
        data = payload(48 * MIB)
        object_id = self.store(data)
        path = self.folder / "played"
        curl = subprocess.Popen(
            ["curl", "-sS", "--noproxy", "*", "--limit-rate", "24M", "-f", "-o",
             path, f"http://127.0.0.1:{self.front.port}/media/{object_id}"])
        self.addCleanup(curl.kill)
        wait_until(lambda: path.exists() and path.stat().st_size > MIB,
                   "curl has received a part")
        self.boxes[0].kill()
        self.assertEqual(curl.wait(60), 0)
        self.assertEqual(sha256(path.read_bytes()), sha256(data))
        self.assertIn("failovers=1", self.line("result=complete"))
        self.assertEqual(self.front.metric(
            "broadcaster_playback_failovers_total"), 1)

    def test_a_database_dies_in_the_middle_and_a_file_store_goes_on(self):
        cluster = postgres.Cluster().start()
        self.addCleanup(cluster.remove)
        self.boxes = [self.reader(**cluster.create_database().env(),
                                  READER_STORE="postgres",
                                  READER_FILE_DIR=None), self.reader()]
        self.front = self.broadcaster(self.boxes)
        data = payload(32 * MIB)
        object_id = self.put(self.front, data).data["id"]
        players = []
        for _ in self.boxes:    # they take turns: one player each
            player, _ = self.play(object_id, receive_buffer=64 * KIB)
            self.assertTrue(player.take(MIB) == data[:MIB])
            players.append(player)
        cluster.kill9()
        for player in players:
            self.assert_rest(player, data[MIB:])
        self.line("result=complete", "failovers=1", self.boxes[1].address)
        self.line("result=complete", "failovers=0", self.boxes[1].address)

    def assert_goes_on(self, *scripts, size=MIB, failovers=1, **settings):
        """The first reader fails in some way; all bytes arrive."""
        data = payload(size)
        self.peers(*[script(data) for script in scripts], **settings)
        answer = self.get(ONE)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(sha256(answer.body), sha256(data))
        self.assertIn(f"failovers={failovers} ", self.line("result=complete"))
        return data

    def test_a_reset_is_not_noticed(self):
        self.assert_goes_on(lambda d: holder(d, rst_at=300000), holder)

    def test_an_early_end_is_not_noticed(self):
        self.assert_goes_on(lambda d: holder(d, fin_at=300000), holder)

    def test_an_end_before_the_first_byte_is_not_noticed(self):
        self.assert_goes_on(lambda d: holder(d, fin_at=0), holder)

    def test_an_end_before_the_last_byte_is_not_noticed(self):
        self.assert_goes_on(lambda d: holder(d, fin_at=MIB - 1), holder)

    def test_a_stall_is_not_noticed(self):
        self.assert_goes_on(lambda d: holder(d, stall_at=300000), holder,
                            BROADCASTER_MEDIA_STALL_MS=1000)

    def test_readers_that_fail_one_after_another_are_not_noticed(self):
        self.assert_goes_on(lambda d: holder(d, rst_at=100000),
                            lambda d: holder(d, fin_at=200000),
                            lambda d: holder(d, rst_at=300000), holder,
                            failovers=3)

    def test_two_readers_that_always_break_off_carry_it_to_the_end(self):
        self.assert_goes_on(lambda d: holder(d, rst_at=100000),
                            lambda d: holder(d, rst_at=100000),
                            size=450000, failovers=4)

    def test_the_next_reader_is_asked_for_the_missing_bytes_of_that_content(self):
        data = self.assert_goes_on(lambda d: holder(d, fin_at=300000), holder)
        asked = self.targets[1].requests("GET")[0].headers
        self.assertEqual(asked["range"], f"bytes=300000-{MIB - 1}")
        self.assertEqual(asked["if-match"], f'"{etag_of(data)}"')

    def test_a_range_goes_on_within_the_range(self):
        data = payload(MIB)
        self.peers(holder(data, rst_at=1000), holder(data))
        answer = self.get(ONE, "Range: bytes=5000-99999")
        self.assertEqual((answer.status, answer.body),
                         (206, data[5000:100000]))
        self.assertEqual(self.targets[1].requests("GET")[0].headers["range"],
                         "bytes=6000-99999")

    def test_a_reader_with_another_content_is_passed_over(self):
        other = payload(MIB, seed=2)
        self.assert_goes_on(lambda d: holder(d, fin_at=300000),
                            lambda d: holder(other), holder)

    def test_liars_are_passed_over_when_going_on(self):
        """Another digest, range, size, status; no length; an error."""
        whole = f"bytes 0-{MIB - 1}/{MIB}"
        late = f"bytes 300001-{MIB - 1}/{MIB}"
        lies = [{"ETag": f'"{etag_of(b"x")}"', "Repr_Digest": None},
                {"ETag": None}, {"Content_Range": whole},
                {"Content_Range": late}, {"Content_Range": "bytes x"},
                {"Content_Range": f"bytes 300000-{MIB - 1}/{MIB + 1}"},
                {"status": 200}, {"status": 416}, {"status": 503},
                {"Content_Length": None}]
        self.assert_goes_on(
            lambda d: holder(d, fin_at=300000),
            *[lambda d, lie=lie: holder(d, **lie) for lie in lies], holder)
        for target in self.targets[1:]:
            self.assertEqual(len(target.requests("GET")), 1)

    def test_a_restarted_reader_goes_on_where_it_was_killed(self):
        data = payload(16 * MIB)
        object_id = self.store(data, n=1)
        client, fields = self.play(object_id, receive_buffer=64 * KIB)
        self.assertEqual(fields["content-length"], str(len(data)))
        self.assertEqual(client.take(MIB), data[:MIB])
        self.boxes[0].kill()
        self.boxes[0].restart().wait_ready()
        self.assert_rest(client, data[MIB:])
        self.boxes[0].may_fail = False

    def test_when_nobody_can_go_on_the_connection_is_cut(self):
        data = payload(MIB)
        self.peers(in_turn(holder(data, rst_at=300000),
                           holder(data, status=503)), not_found,
                   BROADCASTER_CONNECT_TIMEOUT_MS=300)
        client, fields = self.play()
        self.assertEqual(fields["content-length"], str(MIB))
        with self.assertRaises(Closed):
            client.take(MIB)
        self.line("result=failed")

    def test_a_short_content_never_looks_like_success(self):
        data = payload(MIB)
        self.peers(in_turn(holder(data, fin_at=300000), not_found))
        client, _ = self.play()
        with self.assertRaises(Closed):
            client.take(MIB)

    def test_readers_that_break_off_at_the_same_byte_are_given_up(self):
        data = payload(MIB)
        broken = in_turn(holder(data, fin_at=300000), holder(data, fin_at=0))
        self.peers(broken, not_found, BROADCASTER_CONNECT_TIMEOUT_MS=1000)
        client, _ = self.play()
        with self.assertRaises(Closed):
            client.take(MIB)
        self.line("result=failed")
        asked = len(self.targets[0].requests("GET"))
        self.assertLess(asked, 10, "there are pauses between the tries")

    def test_a_player_that_has_left_is_not_kept_for_a_broken_copy(self):
        data = payload(MIB)
        broken = in_turn(holder(data, fin_at=300000), holder(data, fin_at=0))
        self.peers(broken, BROADCASTER_CONNECT_TIMEOUT_MS=60000)
        client, _ = self.play()
        self.assertTrue(client.take(300000) == data[:300000])
        client.close()
        self.line("result=client_aborted")
        self.assertEqual(self.front.metric("broadcaster_playbacks_active"), 0)

    def test_who_brings_nothing_is_asked_after_all_others(self):
        self.assert_goes_on(lambda d: holder(d, fin_at=300000),
                            lambda d: holder(d, fin_at=0),
                            lambda d: holder(d, fin_at=0), holder)
        self.assertEqual([len(t.requests("GET")) for t in self.targets],
                         [1, 1, 1, 1])

    def test_silence_of_one_does_not_use_up_the_time_of_another(self):
        """The silent one's is all that there is; then all are asked once more."""
        def goes_on(*scripts):
            self.assert_goes_on(*[lambda d, s=s: s(d) for s in scripts],
                                BROADCASTER_CONNECT_TIMEOUT_MS=1000,
                                BROADCASTER_MEDIA_STALL_MS=1000)
        breaks = {"fin_at": 300000}
        with self.subTest("a good head, and no more"):
            goes_on(lambda d: in_turn(holder(d, **breaks),
                                      holder(d, stall_at=0)),
                    lambda d: in_turn(refuse(503), holder(d)))
        with self.subTest("no answer at all"):
            goes_on(lambda d: in_turn(holder(d, **breaks), refuse(503),
                                      holder(d)),
                    lambda d: stall_at(0))

    def damaged(self, data, n_files):
        """A copy in a database that lacks a chunk, n files; the object's id."""
        database = postgres.shared().create_database()
        self.boxes = [self.reader(**database.env(), READER_STORE="postgres",
                                  READER_FILE_DIR=None), *self.readers(n_files)]
        self.front = self.broadcaster(self.boxes,
                                      BROADCASTER_CONNECT_TIMEOUT_MS=1000)
        object_id = self.put(self.front, data).data["id"]
        database.query(
            "DELETE FROM stream_broadcast.chunk WHERE (object, seq) = (SELECT "
            "object, max(seq) / 2 FROM stream_broadcast.chunk GROUP BY object)")
        return object_id

    def test_a_damaged_copy_is_cut_and_the_broadcaster_drains(self):
        data = payload(8 * MIB)
        client, _ = self.play(self.damaged(data, n_files=0))
        with self.assertRaises(Closed):
            client.take(len(data))
        self.line("result=failed")
        self.front.stop()

    def test_a_damaged_copy_is_made_up_for_by_another(self):
        data = payload(8 * MIB)
        object_id = self.damaged(data, n_files=1)
        for _ in self.boxes:    # they take turns
            self.assertTrue(self.get(object_id).body == data)

    @slow("many bytes")
    def test_ranges_are_exact_while_readers_are_killed_in_turn(self):
        data = payload(8 * MIB)
        object_id = self.store(data, n=3, BROADCASTER_THREADS=2)
        dice = random.Random(7)
        for turn in range(12):
            victim = self.boxes[turn % 3]
            victim.kill()
            for _ in range(20):
                first = dice.randrange(len(data))
                last = min(first + dice.randrange(2 * MIB), len(data) - 1)
                answer = self.get(object_id, f"Range: bytes={first}-{last}")
                self.assertEqual(answer.status, 206)
                self.assertEqual(answer.body, data[first:last + 1])
            victim.restart().wait_ready()
        for box in self.boxes:
            box.may_fail = False


class Choice(Playback):
    """Which reader is asked, and what is said when none has it."""

    def test_readers_take_turns(self):
        data = payload(1000)
        self.peers(*[holder(data)] * 3)
        for _ in range(6):
            self.assertEqual(self.get(ONE).body, data)
        self.assertEqual([len(t.requests("GET")) for t in self.targets],
                         [2, 2, 2])

    def test_the_next_reader_is_asked_when_one_has_no_good_answer(self):
        data = payload(1000)
        for script in (not_found, holder(data, status=500),
                       holder(data, status=302), holder(data, ETag=None),
                       holder(data, ETag='W/"x"'), holder(data, ETag='"x"'),
                       holder(data, Repr_Digest="sha-256=:AAAA:"),
                       holder(data, Content_Length=None),
                       holder(data, status=206),
                       holder(data, status=304), holder(data, status=412),
                       say(b"garbage\r\n\r\n"), say(b""),
                       say(b"HTTP/1.1 200 OK\r\nContent-Le")):
            self.peers(script, holder(data))
            answer = self.get(ONE)
            self.assertEqual((answer.status, answer.body), (200, data))
            self.assertEqual(len(self.targets[0].requests("GET")), 1)

    def test_a_reader_that_is_down_is_asked_last_for_a_while(self):
        data = payload(1000)
        good = self.fault(on_other=holder(data))
        self.front = self.broadcaster([f"127.0.0.1:{self.dead_port()}", good])
        for _ in range(4):
            self.assertEqual(self.get(ONE).body, data)

    def test_a_silent_reader_delays_nobody_for_long(self):
        data = payload(1000)
        self.peers(holder(data, gate=True), holder(data),
                   BROADCASTER_MEDIA_ASK_MS=100,
                   BROADCASTER_CONNECT_TIMEOUT_MS=60000)
        for _ in range(4):
            self.assertEqual(self.get(ONE).body, data)
        self.assertEqual(len(self.targets[0].requests("GET")), 1)

    def test_a_slow_reader_is_waited_for_when_there_is_no_other(self):
        data = payload(1000)
        self.peers(holder(data, gate=True), not_found,
                   BROADCASTER_MEDIA_ASK_MS=10)
        with Client(self.front.port) as client:
            client.request("GET", f"/media/{ONE}")
            wait_until(lambda: self.targets[1].requests("GET"),
                       "the other one was asked")
            self.targets[0].open_gate()
            self.assertEqual(client.response().body, data)

    def test_a_reader_that_never_answers_is_given_up(self):
        self.peers(holder(b"x", gate=True), BROADCASTER_MEDIA_ASK_MS=10,
                   BROADCASTER_CONNECT_TIMEOUT_MS=200)
        answer = self.get(ONE)
        self.assertEqual(answer.status, 502)
        self.assertIn("200 ms", answer.json()["readers"][0]["error"])

    def test_absent_is_said_only_if_every_reader_says_so(self):
        self.peers(not_found, not_found)
        answer = self.get(ONE)
        self.assertEqual(answer.status, 404)
        self.assertEqual([r["state"] for r in answer.json()["readers"]],
                         ["absent", "absent"])
        self.line("result=absent")

    def test_a_reader_that_could_not_be_asked_is_named(self):
        self.peers(not_found, holder(b"x", status=500))
        answer = self.get(ONE)
        self.assertEqual(answer.status, 502)
        states = {r["name"]: r["state"] for r in answer.json()["readers"]}
        self.assertEqual(states, {self.targets[0].name: "absent",
                                  self.targets[1].name: "failed"})

    def test_a_busy_reader_makes_it_503(self):
        self.peers(not_found, holder(b"x", status=503))
        answer = self.get(ONE)
        self.assertEqual(answer.status, 503)
        self.assertIn("retry-after", answer.headers)

    def test_what_is_staged_is_absent(self):
        reader = self.reader()
        self.front = self.broadcaster([reader])
        fetch(reader.port, "PUT", f"/objects/{ONE}", body=b"staged")
        for method in ("GET", "HEAD"):
            answer = fetch(self.front.port, method, f"/media/{ONE}")
            self.assertEqual(answer.status, 404)

    def test_without_readers_there_is_nothing_to_play(self):
        plain = self.fault()
        self.front = self.broadcaster([f"http://{plain.address}/put"])
        self.assertEqual(self.get(ONE).status, 501)

    def test_the_token_of_readers_is_sent(self):
        data = payload(1000)
        reader = self.reader(READER_TOKEN="secret")
        self.front = self.broadcaster([reader], READER_TOKEN="secret")
        object_id = self.put(self.front, data).data["id"]
        self.assertEqual(self.get(object_id).body, data)

    def test_an_idle_connection_that_died_is_not_taken_for_an_answer(self):
        data = payload(1000)
        object_id = self.store(data, n=1)
        self.assertEqual(self.get(object_id).status, 200)
        self.boxes[0].kill()
        self.boxes[0].restart().wait_ready()
        self.assertEqual(self.get(object_id).body, data)
        self.boxes[0].may_fail = False


class Limits(Playback):
    """Memory, numbers and time."""

    @slow("sanitizers keep memory of their own")
    def test_a_stopped_player_stops_the_reader(self):
        data = payload(64 * MIB)
        object_id = self.store(data, n=1, BROADCASTER_BUFFER_SIZE=64 * KIB)
        self.get(object_id, "Range: bytes=0-999999")
        before = self.front.rss()
        client, _ = self.play(object_id, receive_buffer=256 * KIB)
        self.assertLess(self.settled_bytes(), 32 * MIB)
        self.assertLess(self.front.rss() - before, 512 * KIB)
        self.assert_rest(client, data)

    def test_a_stopped_player_hides_little_in_the_kernel(self):
        data = payload(64 * MIB)
        object_id = self.store(data, n=1)
        client, _ = self.play(object_id, receive_buffer=256 * KIB)
        self.assert_rest(client, data[:24 * MIB])   # buffers grow meanwhile
        self.settled_bytes()
        box = self.boxes[0].port
        for what, local, remote, queue in (
                ("what the player does not take", self.front.port, None, 0),
                ("what comes from the reader", None, box, 1),
                ("what the reader cannot send", box, None, 0)):
            held = self.queued(local, remote, queue)
            self.assertGreater(held, 0, what)
            self.assertLess(held, MIB, what)

    @staticmethod
    def queued(local, remote, queue):
        """Most bytes in a connection's send (0) or receive (1) queue."""
        held = [0]
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            words = line.split()
            ports = [int(word.split(":")[1], 16) for word in words[1:3]]
            if words[3] == "01" and local in (None, ports[0]) \
                    and remote in (None, ports[1]):
                held.append(int(words[4].split(":")[queue], 16))
        return max(held)

    def settled_bytes(self):
        """Content bytes sent, once that no longer grows."""
        seen = [-1, 0]

        def is_settled():
            now = self.front.metric("broadcaster_playback_bytes_total")
            seen[1] = seen[1] + 1 if now == seen[0] else 0
            seen[0] = now
            return now > 0 and seen[1] > 20
        wait_until(is_settled, "no more bytes are sent")
        return seen[0]

    def test_a_player_that_reads_nothing_is_cut_off(self):
        self.peers(holder(bytes(64 * MIB)), BROADCASTER_WRITE_TIMEOUT_MS=300)
        self.play(receive_buffer=16 * KIB)
        self.line("result=client_aborted")

    def test_a_player_that_goes_away_ends_the_playback(self):
        self.peers(holder(bytes(64 * MIB)))
        client, _ = self.play(receive_buffer=16 * KIB)
        client.reset()
        self.line("result=client_aborted")
        wait_until(lambda: not self.front.metric(
            "broadcaster_playbacks_active"), "nothing is left of it")

    def test_a_player_that_goes_away_while_readers_are_asked_is_forgotten(self):
        self.peers(holder(b"x", gate=True))
        client = Client(self.front.port)
        client.request("GET", f"/media/{ONE}")
        wait_until(lambda: self.targets[0].requests("GET"), "it was asked")
        client.reset()
        wait_until(lambda: not self.front.metric(
            "broadcaster_playbacks_active"), "nothing is left of it")

    def test_a_hundred_players_at_a_time_get_exact_bytes(self):
        data = payload(3 * MIB)
        object_id = self.store(data, BROADCASTER_THREADS=2,
                               BROADCASTER_BUFFER_SIZE=64 * KIB)
        folder = self.scratch("played")
        url = f"http://127.0.0.1:{self.front.port}/media/{object_id}"
        outputs = [word for n in range(100)
                   for word in ("-o", str(folder / str(n)), url)]
        subprocess.run(["curl", "-sS", "-f", "--noproxy", "*", "--parallel",
                        "--parallel-immediate", "--parallel-max", "100",
                        *outputs], check=True, timeout=120,
                       capture_output=True)
        self.assertEqual({sha256(path.read_bytes())
                          for path in folder.iterdir()}, {sha256(data)})
        self.assertEqual(len(list(folder.iterdir())), 100)

    @slow("sanitizers keep memory of their own")
    def test_a_hundred_players_cost_what_is_documented(self):
        """See broadcaster/README.md; one thread, two readers."""
        n, ring = 100, 64 * KIB
        object_id = self.store(bytes(16 * MIB), BROADCASTER_BUFFER_SIZE=ring)
        self.get(object_id)
        before = self.front.rss()
        clients = [self.play(object_id, receive_buffer=16 * KIB)[0]
                   for _ in range(n)]
        self.settled_bytes()
        cost = self.front.rss() - before
        self.assertLessEqual(cost, 2 * 352 * KIB + n * (ring + 16 * KIB))
        self.assertEqual(
            self.front.metric("broadcaster_playbacks_active"), n)
        for client in clients:
            client.close()

    @slow("a preloaded malloc")
    def test_nothing_is_allocated_while_content_flows(self):
        count = alloc_count.AllocCount(self.folder / "allocations")
        object_id = self.store(bytes(64 * MIB), n=1, **count.environment)
        client, _ = self.play(object_id)
        self.assert_rest(client, bytes(8 * MIB))
        early = count.calls()
        self.assert_rest(client, bytes(40 * MIB))
        late = count.calls()
        self.assertGreater(early, 0, "the counter is not in the program")
        self.assertEqual(late, early)

    def test_playbacks_beyond_the_limit_get_503(self):
        self.peers(holder(bytes(64 * MIB)), BROADCASTER_MAX_PLAYBACKS=1)
        client, _ = self.play(receive_buffer=16 * KIB)
        answer = self.get(ONE)
        self.assertEqual(answer.status, 503)
        self.assertIn("retry-after", answer.headers)
        client.close()
        wait_until(lambda: self.get(ONE, "Range: bytes=0-0").status == 206,
                   "there is room again")

    def test_a_drain_lets_playbacks_finish(self):
        data = payload(32 * MIB)
        object_id = self.store(data, n=1)
        client, _ = self.play(object_id, receive_buffer=256 * KIB)
        self.front.signal(signal.SIGTERM)
        wait_until(lambda: self.front.log_lines("event=drain"), "it drains")
        self.assertEqual(self.get(object_id).status, 503)
        self.assert_rest(client, data)
        self.assertEqual(self.front.wait(), 0)

    def test_the_drain_deadline_cuts_playbacks(self):
        object_id = self.store(bytes(64 * MIB), n=1,
                               BROADCASTER_DRAIN_TIMEOUT_MS=100)
        client, _ = self.play(object_id, receive_buffer=16 * KIB)
        self.front.may_fail = True
        self.front.signal(signal.SIGTERM)
        self.assertEqual(self.front.wait(), 1)
        with self.assertRaises(Closed):
            self.assert_rest(client, bytes(64 * MIB))

    def test_descriptors_are_given_back(self):
        data = payload(1000)
        object_id = self.store(data, n=1)
        self.get(object_id)
        before = self.front.fds()
        for _ in range(50):
            self.get(object_id)
        wait_until(lambda: self.front.fds() <= before + 2,
                   "descriptors are closed")
