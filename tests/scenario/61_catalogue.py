"""What people say about their uploads is kept, found, listed and paged."""
import base64
import itertools
import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.parse
import zlib

import postgres
from client import Client, Curl, fetch, get, head, wait_until
from fault_target import lose_commit_answer, stage
from harness import BIN, Scenario, payload, sha256
from object_api import ID, commit

BOUND = "Content-Type: multipart/form-data; boundary=bound"


def metadata_field(**pairs):
    return "Upload-Metadata: " + ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}"
        for key, value in pairs.items())


def part(name, value, file=None, mime=None):
    """One part of a form, with nothing escaped."""
    about = f'Content-Disposition: form-data; name="{name}"'
    if file is not None:
        about += f'; filename="{file}"'
    if mime:
        about += f"\r\nContent-Type: {mime}"
    value = value if isinstance(value, bytes) else value.encode()
    return b"--bound\r\n" + about.encode() + b"\r\n\r\n" + value + b"\r\n"


def form(*parts):
    return b"".join(parts) + b"--bound--\r\n"


def url(peer, path):
    return f"http://127.0.0.1:{peer.port}{path}"


class Fields(Scenario):
    """Form fields and Upload-Metadata reach every reader with the commit."""

    def setUp(self):
        super().setUp()
        self.boxes = self.readers(2)
        self.front = self.broadcaster(self.boxes)
        self.path = self.folder / "song.bin"
        self.data = payload(70000)
        self.path.write_bytes(self.data)

    def only_row(self, box):
        rows = list(box.objects().values())
        self.assertEqual(len(rows), 1, rows)
        return rows[0]

    def assert_rows(self, title, creator, metadata):
        for box in self.boxes:
            row = self.only_row(box)
            self.assertEqual((row["title"], row["creator"], row["metadata"]),
                             (title, creator, metadata))
            self.assert_stored(box, row["id"], self.data)

    def post(self, body, *fields, path="/broadcast"):
        return fetch(self.front.port, "POST", path, BOUND, *fields, body=body)

    def test_fields_before_and_after_the_file_are_its_details(self):
        answer = Curl("-F", "title=Blue in Green", "-F", f"file=@{self.path}",
                      "-F", "creator=Miles Davis", "-F", "year=1959",
                      url(self.front, "/broadcast"))
        receipt = self.assert_committed(answer.response, self.boxes, self.data)
        self.assertEqual(receipt["title"], "Blue in Green")
        self.assertEqual(receipt["creator"], "Miles Davis")
        self.assert_rows("Blue in Green", "Miles Davis", {"year": "1959"})

    def test_all_files_of_a_form_share_its_fields(self):
        answer = self.post(form(part("a", b"1", "one"), part("title", "T"),
                                part("b", b"22", "two"), part("k", "v")))
        self.assertEqual(answer.status, 201, answer)
        for box in self.boxes:
            self.assertEqual({(o["name"], o["title"], o["metadata"]["k"])
                              for o in box.objects().values()},
                             {("one", "T", "v"), ("two", "T", "v")})
        self.assertEqual([o["title"] for o in answer.data["objects"]],
                         ["T", "T"])

    def test_unicode_and_hostile_values_are_data(self):
        title = "Größe \u2603 \U0001F3B5 \"quoted\" \\ '; DROP TABLE x;-- \r\nX: y"
        body = form(part("title", title), part("f", self.data, "x.bin"),
                    part("creator", "<script>alert(1)</script>"),
                    part("a\"b{}", "\x01\x1f\t"), part("empty", ""))
        answer = self.post(body.replace(b'name="a"b{}"', b'name="a\\"b{}"'))
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.data["title"], title)
        self.assert_rows(title, "<script>alert(1)</script>",
                         {'a"b{}': "\x01\x1f\t", "empty": ""})

    def test_the_first_of_several_fields_of_one_name_counts(self):
        answer = self.post(form(part("k", "1"), part("k", "2"),
                                part("f", self.data, "x"), part("k", "3")))
        self.assertEqual(answer.status, 201, answer)
        self.assert_rows("", "", {"k": "1"})

    def test_limits_are_exact(self):
        good = [part("title", "t" * 511), part("creator", "c" * 511),
                # {"k":"…"} takes 8 bytes around the value
                part("k", "v" * (2047 - 8))]
        answer = self.post(form(*good, part("f", self.data, "x")))
        self.assertEqual(answer.status, 201, answer)
        self.assert_rows("t" * 511, "c" * 511, {"k": "v" * 2039})

    def test_a_bad_field_behind_the_files_fails_the_whole_form(self):
        bad = {"title too long": part("title", "t" * 512),
               "creator too long": part("creator", "ö" * 256),
               "metadata too long": part("k", "v" * 2040),
               "all together too long":
                   part("k", "v" * 1500) + part("l", "v" * 1500),
               "escaped too long": part("k", "\x01" * 400),
               "not UTF-8": part("title", b"\xff\xfe"),
               "NUL": part("k", b"a\0b"),
               "blank in the name": part("a b", "v"),
               "comma in the name": part("a,b", "v"),
               "name not ASCII": part("größe", "v"),
               "name too long": part("n" * 65, "v"),
               "huge": part("k", b"x" * 60000)}
        for what, field in bad.items():
            with self.subTest(what):
                answer = self.post(form(part("a", b"1", "one"),
                                        part("b", b"2", "two"), field))
                self.assertEqual(answer.status, 400, answer)
                self.assertIn("field", answer.json()["message"])
                self.assert_nothing_left(*self.boxes)
        self.assert_idle(self.front)

    def test_raw_uploads_bring_upload_metadata(self):
        field = metadata_field(title="Größe", filename="ignored.txt",
                               filetype="text/plain", album="A") + ",flag"
        answer = self.put(self.front, self.data, field, name="raw.bin")
        receipt = self.assert_committed(answer, self.boxes, self.data)
        self.assertEqual((receipt["name"], receipt["title"]),
                         ("raw.bin", "Größe"))
        self.assertNotIn("creator", receipt)
        self.assert_rows("Größe", "", {"album": "A", "flag": ""})

    def test_a_bad_upload_metadata_is_refused_before_the_body(self):
        for bad in ("title !!!", "title YQ", "title YQ==,title Yg==", ",",
                    "a  b", "title YQ==,", "k" * 65 + " YQ==",
                    "title " + base64.b64encode(b"t" * 512).decode(),
                    "title /w=="):
            with self.subTest(bad), Client(self.front.port) as client:
                client.send(head("PUT", "/broadcast/x",
                                 f"Upload-Metadata: {bad}",
                                 "Content-Length: 1000",
                                 "Expect: 100-continue"))
                answer = client.response()
                self.assertEqual(answer.status, 400, answer)
                self.assertEqual(answer.interim, [])
        self.assert_nothing_left(*self.boxes)

    def test_a_form_may_have_upload_metadata_too(self):
        answer = self.post(form(part("title", "form"), part("k", "v"),
                                part("f", self.data, "x")),
                           metadata_field(title="head"))
        self.assertEqual(answer.status, 201, answer)
        self.assert_rows("head", "", {"k": "v"})

    def test_a_repeated_key_keeps_what_was_said_first(self):
        key = 'Idempotency-Key: "again"'
        first = self.put(self.front, self.data, key, metadata_field(title="1"))
        again = self.put(self.front, self.data, key, metadata_field(title="2"))
        self.assertEqual((first.status, again.status), (201, 200))
        self.assertNotIn("title", again.data)
        self.assert_rows("1", "", {})

    def test_a_form_that_breaks_off_in_a_field_leaves_nothing(self):
        body = form(part("f", b"hello", "x"), part("title", "T"))
        with Client(self.front.port) as client:
            client.send(head("POST", "/broadcast", BOUND,
                             f"Content-Length: {len(body)}"), body[:-15])
            wait_until(lambda: all(b.staged() for b in self.boxes), "staged")
            client.reset()
        self.assert_nothing_left(*self.boxes)


class Legs(Scenario):
    """What the commit says on the wire, in both ways of asking for it."""

    def commits(self, target):
        return [leg for leg in target.legs if leg.target.endswith("/commit")]

    def test_both_ways_of_committing_carry_it(self):
        def put_and_close(ex):
            stage(ex)               # returns no KEEP: the connection closes

        peers = [self.fault(), self.fault(on_put=put_and_close),
                 self.fault(on_commit=lose_commit_answer)]
        front = self.broadcaster(peers)
        field = metadata_field(title="T", creator="C", k="v")
        answer = self.put(front, b"hello", field)
        self.assertEqual(answer.status, 201, answer)
        for target, n in zip(peers, (1, 1, 2)):
            commits = self.commits(target)
            self.assertEqual(len(commits), n, target.name)
            for asked in commits:
                self.assertEqual(asked.headers["upload-metadata"],
                                 field.partition(": ")[2])

    def test_uploads_without_any_say_nothing(self):
        target = self.fault()
        front = self.broadcaster([target])
        self.assertEqual(self.put(front, b"hello").status, 201)
        self.assertNotIn("upload-metadata",
                         self.commits(target)[-1].headers)


class ApiUpload(Scenario):
    """StreamX's form, and an answer that has the id."""

    def test_the_answer_has_the_id_at_its_top(self):
        box = self.reader()
        front = self.broadcaster([box])
        path = self.folder / "a song.mp3"
        data = b"ID3\x04\0\0\0\0\x7f\x7f" + payload(5000)
        path.write_bytes(data)
        answer = Curl("-F", "title=Naima", "-F", "creator=John Coltrane",
                      "-F", f"media=@{path};type=audio/mpeg",
                      url(front, "/api/upload"))
        receipt = self.assert_committed(answer.response, [box], data)
        self.assertEqual(answer.json()["id"], receipt["id"])
        self.assertEqual(answer.json()["status"], 201)
        row = box.objects()[receipt["id"]]
        self.assertEqual((row["title"], row["creator"], row["content_type"]),
                         ("Naima", "John Coltrane", "audio/mpeg"))

    def test_other_uploads_have_no_id_there(self):
        front = self.broadcaster([self.reader()])
        self.assertNotIn("id", self.put(front, b"x").json())

    def test_what_is_no_upload_is_refused(self):
        box = self.reader()
        front = self.broadcaster([box], BROADCASTER_TOKEN="s3cret")
        auth = "Authorization: Bearer s3cret"
        no_file = form(part("title", "T"), part("creator", "C"))
        for fields, body, status in (
                ([BOUND, auth], no_file, 400),
                ([BOUND, auth], form(part("media", b"", "")), 400),
                ([auth], b"raw", 400),
                ([auth, "Content-Type: application/x-www-form-urlencoded"],
                 b"title=T", 400),
                ([BOUND], form(part("media", b"x", "x")), 401)):
            answer = fetch(front.port, "POST", "/api/upload", *fields,
                           body=body)
            self.assertEqual(answer.status, status, answer)
            if status == 400:
                self.assertNotIn("id", answer.json())
        answer = fetch(front.port, "GET", "/api/upload", auth)
        self.assertEqual((answer.status, answer.headers["allow"]),
                         (405, "POST"))
        self.assert_nothing_left(box)


class ReaderForms(Scenario):
    """The reader alone."""

    def setUp(self):
        super().setUp()
        self.box = self.reader()

    def commit(self, number, data, *fields):
        return commit(self.box, ID % number, data, *fields)

    def test_post_upload_keeps_fields_before_and_after(self):
        path = self.folder / "f.bin"
        path.write_bytes(b"content")
        answer = Curl("-F", "title=T", "-F", f"file=@{path}", "-F", "k=v",
                      url(self.box, "/upload"))
        self.assertEqual(answer.status, 200, answer)
        row = answer.json()["data"]["objects"][0]
        self.assertEqual((row["title"], row["creator"], row["metadata"]),
                         ("T", "", {"k": "v"}))
        self.assertEqual(self.box.objects()[row["id"]], row)

    def test_a_bad_field_fails_post_upload(self):
        answer = fetch(self.box.port, "POST", "/upload", BOUND,
                       body=form(part("f", b"x", "x"), part("title", b"\xff")))
        self.assertEqual(answer.status, 400, answer)
        self.assert_nothing_left(self.box)

    def test_details_survive_a_restart(self):
        fetch(self.box.port, "PUT", f"/objects/{ID % 1}", body=b"x")
        self.assertEqual(self.commit(1, b"x", metadata_field(
            title="T", creator="C", k="ö")).status, 201)
        before = self.box.objects()
        self.assertEqual(self.box.stop(), 0)
        self.box.restart().wait_ready()
        self.assertEqual(self.box.objects(), before)
        self.assertEqual(before[ID % 1]["metadata"], {"k": "ö"})

    def test_the_first_commit_wins(self):
        fetch(self.box.port, "PUT", f"/objects/{ID % 1}", body=b"x")
        first = self.commit(1, b"x", metadata_field(title="first"))
        again = self.commit(1, b"x", metadata_field(title="again"))
        self.assertEqual((first.status, again.status), (201, 200))
        self.assertEqual(first.json(), again.json())
        self.assertEqual(self.box.objects()[ID % 1]["title"], "first")

    def test_a_bad_commit_changes_nothing(self):
        fetch(self.box.port, "PUT", f"/objects/{ID % 1}", body=b"x")
        for bad in ("title !", "title YQ==,title Yg==", "k YQ==x"):
            answer = self.commit(1, b"x", f"Upload-Metadata: {bad}")
            self.assertEqual(answer.status, 400, answer)
        self.assert_nothing_visible(self.box)
        self.assertEqual(self.commit(1, b"x").status, 201)

    def test_objects_from_before_there_were_details_are_read(self):
        place = self.box.store / "objects" / "0190a" / (ID % 1)
        place.mkdir(parents=True)
        (place / "data").write_bytes(b"x")
        old = {"id": ID % 1, "name": "old", "content_type": "text/plain",
               "size": 1, "sha256": sha256(b"x"),
               "created_at": "2025-01-31T23:59:59.123Z"}
        (place / "meta.json").write_text(json.dumps(old))
        self.assertEqual(self.box.objects(), {ID % 1: {
            **old, "title": "", "creator": "", "metadata": {}}})


PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0" + \
    zlib.crc32(b"IHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0").to_bytes(4, "big")
SAMPLES = {
    "image/png": PNG,
    "image/jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0",
    "image/gif": b"GIF89a\x01\0\x01\0\x80\0\0",
    "video/mp4": b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2\0\0\0\x08free",
    "video/webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\xf7\x81\x01\x42"
                  b"\xf2\x81\x04\x42\xf3\x81\x08\x42\x82\x84webm",
    "audio/mpeg": (b"\xff\xfb\x90\x64" + bytes(413)) * 3,
    "audio/flac": b"fLaC\0\0\0\x22\x10\0\x10\0" + bytes(30),
    "audio/ogg": b"OggS\0\x02" + bytes(8) + b"\1\2\3\4\0\0\0\0abcd\x01\x1e"
                 b"\x01vorbis\0\0\0\0\x02\x44\xac\0\0" + bytes(12) + b"\xb8\1",
    "application/pdf": b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n",
    "application/gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x04\0",
    "text/plain": "größere Zeilen\n".encode() * 1000,
    "text/html": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
}


class Sniffing(Scenario):
    """Types that clients do not know are told from the first bytes."""

    def type_of(self, box, number, data, *fields):
        answer = fetch(box.port, "PUT", f"/objects/{ID % number}", *fields,
                       body=data)
        self.assertEqual(answer.status, 200, answer)
        answer = commit(box, ID % number, data)
        self.assertEqual(answer.status, 201, answer)
        return self.shown_type(box, number)

    def shown_type(self, box, number):
        row = box.objects()[ID % number]
        answer = box.content(ID % number)
        self.assertEqual(answer.headers["content-type"], row["content_type"])
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertTrue(answer.headers["content-disposition"]
                        .startswith("attachment"))
        return row["content_type"]

    def test_real_beginnings_are_known(self):
        box = self.reader()
        tagged = b"ID3\x04\0\0\0\0\x7f\x7f" + bytes(20000)
        for i, (mime, data) in enumerate([*SAMPLES.items(),
                                          ("audio/mpeg", tagged)]):
            with self.subTest(mime):
                self.assertEqual(self.type_of(box, i, data), mime)

    def test_unknown_and_empty_contents_stay_unknown(self):
        box = self.reader()
        for i, data in enumerate((b"", b"\x01", payload(10000))):
            self.assertEqual(self.type_of(box, i, data),
                             "application/octet-stream")

    def test_a_type_that_was_given_stays(self):
        box = self.reader()
        self.assertEqual(self.type_of(box, 1, PNG, "Content-Type: text/x-mine"),
                         "text/x-mine")
        self.assertEqual(
            self.type_of(box, 2, PNG, "Content-Type: "
                         "Application/Octet-Stream; charset=binary"),
            "image/png")

    def test_it_can_be_turned_off(self):
        box = self.reader(READER_SNIFF="false")
        self.assertEqual(self.type_of(box, 1, PNG), "application/octet-stream")

    def test_without_a_database_there_is_a_warning_and_no_sniffing(self):
        box = self.reader(MAGIC=self.folder / "none")
        wait_until(lambda: box.log_lines("level=warn", "event=sniff"),
                   "it is said")
        self.assertEqual(self.type_of(box, 1, PNG), "application/octet-stream")

    def helper_of(self, box):
        """The process that looks at contents; None when there is none."""
        for path in pathlib.Path("/proc").glob("[0-9]*"):
            if self.state(path.name, "Name") == "reader-sniff" and \
                    self.state(path.name, "PPid") == str(box.pid):
                return int(path.name)
        return None

    def state(self, pid, what):
        """A line of its status, "" when it is gone."""
        try:
            text = pathlib.Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return re.search(rf"^{what}:\s+(\S+)", text, re.M).group(1)

    def is_gone(self, pid):
        return self.state(pid, "State") in ("", "Z")

    def test_a_helper_that_dies_costs_one_type_and_is_replaced(self):
        box = self.reader()
        self.assertEqual(self.type_of(box, 1, PNG), "image/png")
        first = self.helper_of(box)
        os.kill(first, signal.SIGKILL)
        self.assertEqual(self.type_of(box, 2, PNG), "application/octet-stream")
        wait_until(lambda: box.log_lines("event=sniff", "died or hung"),
                   "it is said")
        # No more than one is started in a second.
        numbers = itertools.count(3)
        wait_until(lambda: self.type_of(box, next(numbers), PNG) == "image/png",
                   "another one is at work")
        self.assertNotIn(self.helper_of(box), (None, first))

    def test_a_helper_that_hangs_does_not_hold_an_upload_up(self):
        box = self.reader()
        os.kill(self.helper_of(box), signal.SIGSTOP)
        self.assertEqual(self.type_of(box, 1, PNG), "application/octet-stream")

    def test_the_helper_holds_nothing_and_ends_with_its_reader(self):
        box = self.reader()
        helper = self.helper_of(box)
        held = {os.readlink(fd) for fd in
                pathlib.Path(f"/proc/{helper}/fd").iterdir()}
        self.assertEqual(len(held), 2, held)    # /dev/null and its socket
        limits = pathlib.Path(f"/proc/{helper}/limits").read_text()
        self.assertRegex(limits, r"Max open files +0 +0")
        box.kill()
        wait_until(lambda: self.is_gone(helper), "the helper is gone")
        box.restart().wait_ready()
        self.assertEqual(self.type_of(box, 1, PNG), "image/png")
        helper = self.helper_of(box)
        self.assertEqual(box.stop(), 0)
        wait_until(lambda: self.is_gone(helper), "the helper is gone")

    def test_appended_objects_too(self):
        box = self.reader()
        patch = "Content-Type: application/offset+octet-stream"
        for at in range(len(PNG)):
            answer = fetch(box.port, "PATCH", f"/objects/{ID % 1}", patch,
                           f"Upload-Offset: {at}", body=PNG[at:at + 1])
            self.assertEqual(answer.status, 204, answer)
        self.assertEqual(commit(box, ID % 1, PNG).status, 201)
        self.assertEqual(self.shown_type(box, 1), "image/png")

    def test_what_grows_after_its_stage_keeps_its_type(self):
        box = self.reader()
        fetch(box.port, "PUT", f"/objects/{ID % 1}", body=PNG)
        answer = fetch(box.port, "PATCH", f"/objects/{ID % 1}",
                       "Content-Type: application/offset+octet-stream",
                       f"Upload-Offset: {len(PNG)}", body=b"%PDF-1.4\n")
        self.assertEqual(answer.status, 204, answer)
        answer = commit(box, ID % 1, PNG + b"%PDF-1.4\n")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(self.shown_type(box, 1), "image/png")

    def test_forms_and_broadcasts_too(self):
        boxes = self.readers(2)
        front = self.broadcaster(boxes)
        path = self.folder / "x.unknown"
        path.write_bytes(PNG)
        answer = Curl("-F", f"f=@{path};type=application/octet-stream",
                      url(front, "/broadcast"))
        self.assertEqual(answer.status, 201, answer)
        answer = Curl("-T", path, url(front, "/broadcast/"))
        self.assertEqual(answer.status, 201, answer)
        Curl("-F", f"f=@{path};type=application/octet-stream",
             url(boxes[0], "/upload"))
        for box, n in zip(boxes, (3, 2)):
            types = [o["content_type"] for o in box.objects().values()]
            self.assertEqual(types, ["image/png"] * n)


class Lists(Scenario):
    """GET /objects: search, filters, orders, pages."""

    STORE = "file"
    IS_RANKED = False

    def setUp(self):
        super().setUp()
        self.box = self.reader(READER_STORE=self.STORE, **self.settings())

    def settings(self):
        return {}

    def add(self, number, name="x", size=1, mime="text/plain", **details):
        data = payload(size, seed=number)
        quoted = urllib.parse.quote(name)
        fetch(self.box.port, "PUT", f"/objects/{ID % number}",
              f"Content-Disposition: attachment; filename*=UTF-8''{quoted}",
              f"Content-Type: {mime}", body=data)
        fields = [metadata_field(**details)] if details else []
        answer = commit(self.box, ID % number, data, *fields)
        self.assertEqual(answer.status, 201, answer)

    def page(self, **query):
        answer = get(self.box.port,
                     "/objects?" + urllib.parse.urlencode(query))
        self.assertEqual(answer.status, 200, answer)
        return answer.json()

    def numbers(self, **query):
        return [int(o["id"][-2:], 16) for o in self.page(**query)["objects"]]

    def pages(self, limit, between=None, **query):
        """Numbers of all pages, one after the other."""
        seen, after = [], ""
        while True:
            page = self.page(limit=limit, after=after, **query)
            self.assertLessEqual(len(page["objects"]), limit)
            seen += [int(o["id"][-2:], 16) for o in page["objects"]]
            after = page["next"]
            if after is None:
                return seen
            if between:
                between()

    def test_name_title_and_creator_are_searched(self):
        self.add(1, "kind of blue.flac")
        self.add(2, "b.flac", title="Blue Train")
        self.add(3, "c.flac", creator="Blue Mitchell")
        self.add(4, "d.flac", title="Giant Steps", note="blue")
        self.assertEqual(self.numbers(q="BLUE"), [1, 2, 3])
        found = self.numbers(q="blue t")    # and what is similar, if ranked
        self.assertEqual(found[:1] if self.IS_RANKED else found, [2])
        self.assertEqual(self.numbers(q="nothing"), [])
        self.assertEqual(self.numbers(), [1, 2, 3, 4])
        self.assertEqual(self.numbers(q="blue", sort="name", order="desc"),
                         [1, 3, 2])

    def test_rows_are_complete_and_scores_only_with_relevance(self):
        self.add(1, "größe.txt", title="T")
        page = self.page()
        self.assertEqual(set(page), {"objects", "next", "ranked"})
        self.assertEqual((page["next"], page["ranked"]),
                         (None, self.IS_RANKED))
        row = page["objects"][0]
        self.assertEqual(set(row), {
            "id", "name", "title", "creator", "content_type", "size",
            "sha256", "created_at", "metadata"})
        self.assertEqual((row["name"], row["metadata"]), ("größe.txt", {}))
        for query in ({"q": "t"}, {"q": "t", "sort": "relevance"}):
            self.assertEqual(self.page(**query)["objects"][0]["score"], 1)
        self.assertNotIn("score", self.page(q="t", sort="id")["objects"][0])

    def test_filters_by_type_size_and_time(self):
        self.add(1, size=1, mime="audio/mpeg")
        self.add(2, size=10, mime="Audio/FLAC; rate=44100")
        self.add(3, size=100, mime="audiobook/x")
        self.add(4, size=1000, mime="text/plain ;charset=utf-8")
        self.assertEqual(self.numbers(type="audio/*"), [1, 2])
        self.assertEqual(self.numbers(type="audio/flac"), [2])
        self.assertEqual(self.numbers(type="TEXT/plain"), [4])
        self.assertEqual(self.numbers(type="audio/fla"), [])
        self.assertEqual(self.numbers(min_size=10), [2, 3, 4])
        self.assertEqual(self.numbers(max_size=100), [1, 2, 3])
        self.assertEqual(self.numbers(min_size=10, max_size=10), [2])
        self.assertEqual(self.numbers(min_size=11, max_size=10), [])
        at = self.page()["objects"][2]["created_at"]    # the id's
        self.assertEqual(self.numbers(until="2020-01-01"), [])
        self.assertEqual(self.numbers(until="1970-01-01"), [])
        self.assertEqual(self.numbers(**{"from": "2020-01-01"}), [1, 2, 3, 4])
        self.assertEqual(self.numbers(**{"from": at}), [1, 2, 3, 4])
        self.assertEqual(self.numbers(until=at), [])
        self.assertEqual(self.numbers(type="audio/*", min_size=2,
                                      sort="size", q="x"), [2])

    def test_every_order_in_every_size_of_pages(self):
        names = ["b", "a", "c", "a", "B", "ä", "", "b", "aa", "a"]
        sizes = [5, 3, 3, 900, 20, 5, 0, 100, 7, 3]
        for i, (name, size) in enumerate(zip(names, sizes)):
            self.add(i, name or "-", size)
        names[6] = "-"
        keys = {"id": lambda i: i, "name": lambda i: (names[i].encode(), i),
                "size": lambda i: (sizes[i], i)}
        for sort, key in keys.items():
            for order in ("asc", "desc"):
                wanted = sorted(range(10), key=key, reverse=order == "desc")
                for limit in (1, 2, 3, 7, 9, 10, 11, 1000):
                    self.assertEqual(
                        self.pages(limit, sort=sort, order=order), wanted,
                        (sort, order, limit))
        self.assertEqual(self.pages(2, q="a"), [1, 3, 8, 9])

    def test_pages_stay_right_while_objects_come_and_go(self):
        for sort, order in (("name", "asc"), ("size", "desc"), ("id", "desc")):
            with self.subTest(sort=sort):
                stay = list(range(0, 40, 2))
                for i in stay:
                    self.add(i, f"n{i:02}", size=i + 1)
                state = {"next": 1}

                def between():
                    """One comes, the one before goes."""
                    number = state["next"]
                    self.add(number, f"n{number:02}", size=number + 1)
                    if number > 1:
                        fetch(self.box.port, "DELETE",
                              f"/objects/{ID % (number - 2)}")
                    state["next"] = number + 2

                seen = self.pages(3, between, sort=sort, order=order)
                self.assertEqual(len(seen), len(set(seen)))
                wanted = stay if order == "asc" else stay[::-1]
                self.assertEqual([n for n in seen if n % 2 == 0], wanted)
                self.assertEqual(seen, sorted(seen, reverse=order == "desc"))
                for i in range(40):
                    fetch(self.box.port, "DELETE", f"/objects/{ID % i}")

    def test_bad_parameters_name_themselves(self):
        self.add(1)
        self.add(2)
        by_name = self.page(sort="name", limit=1)["next"]
        for query, word in (
                ("limit=0", "limit"), ("limit=1001", "1000"),
                ("limit=x", "limit"), ("sort=foo", "relevance"),
                ("order=up", "order"), ("q=%ff", "q"), ("q=%00", "q"),
                ("q=" + "x" * 1025, "q"), ("type=audio", "type"),
                ("type=*/*", "type"), ("type=a/b%3Bc=d", "type"),
                ("from=yesterday", "from"), ("until=2026-02-30", "until"),
                ("from=2026-01-01T00:00:00", "from"),
                ("min_size=-1", "min_size"), ("max_size=1K", "max_size"),
                ("max_size=0", "max_size"),
                ("min_size=18446744073709551615", "min_size"),
                ("after=x", "after"), ("sort=name&after=" + ID % 1, "after"),
                (f"sort=size&after={by_name}", "after"),
                (f"sort=name&order=desc&after={by_name}", "after"),
                (f"after={by_name}", "after"),
                (f"sort=name&after={by_name}=", "after"),
                ("sort=relevance", "q"), ("q=x&order=desc", "order"),
                ("limit=1&limit=2", "limit"), ("page=2", "page"),
                ("%71=x", "%71")):
            answer = get(self.box.port, f"/objects?{query}")
            self.assertEqual(answer.status, 400, query)
            self.assertIn(word, answer.json()["detail"], query)
        for fine in ("", "q=&type=&from=&until=&after=&sort=&order=&limit=",
                     "from=2026-01-01T00:00:00%2B02:00", "&&", "limit=1&",
                     "q=x&sort=id&order=desc", "min_size=0"):
            answer = get(self.box.port, f"/objects?{fine}")
            self.assertEqual(answer.status, 200, (fine, answer))

    def test_forged_cursors_are_only_refused(self):
        self.add(1)
        for plain in (b"", b"na", b"na" + (ID % 1).encode() + b"\xff",
                      b"na" + b"x" * 36 + b"a",
                      b"na" + (ID % 1).encode() + b"\0",
                      b"na" + (ID % 1).encode() + b"x" * 1025):
            cursor = base64.urlsafe_b64encode(plain).rstrip(b"=").decode()
            answer = get(self.box.port, f"/objects?sort=name&after={cursor}")
            self.assertIn(answer.status, (200,) if not plain else (400,),
                          plain)
        for key, status in ((b"1e999", 400), (b"nan", 400), (b"", 400),
                            (b"0x1", 400), (b"1; drop", 400), (b"1e300", 400),
                            (b"-1e-300", 400), (b"1e38", 200), (b"-1", 200)):
            cursor = base64.urlsafe_b64encode(
                b"ra" + (ID % 1).encode() + key).rstrip(b"=").decode()
            answer = get(self.box.port, f"/objects?q=x&after={cursor}")
            self.assertEqual(answer.status, status, key)


class ListsOfRecent(Lists):
    """The same over a store that keeps descriptions only."""

    STORE = "discard"


class ListsOfPostgres(Lists):
    """The same in SQL, where what is merely similar is found, too."""

    STORE = "postgres"
    IS_RANKED = True

    def settings(self):
        return {**postgres.shared().create_database().env(),
                "READER_FILE_DIR": None}


class PlansOfPostgres(Scenario):
    """What the database does for a search, as it says itself."""

    def setUp(self):
        super().setUp()
        server = postgres.Cluster(track_activity_query_size=16384).start()
        self.addCleanup(server.remove)
        self.database = server.create_database()
        self.box = self.reader(READER_STORE="postgres", READER_FILE_DIR=None,
                               **self.database.env())
        self.database.query(
            "INSERT INTO stream_broadcast.object (id, state, owner, name, "
            "content_type, size) SELECT gen_random_uuid(), 3, 0, 'track ' || "
            "md5(i::text) || ' in green', 'audio/mpeg', i "
            "FROM generate_series(1, 20000) AS i; "
            "ANALYZE stream_broadcast.object")

    def ask(self, **query):
        answer = get(self.box.port,
                     "/objects?" + urllib.parse.urlencode(query))
        self.assertEqual(answer.status, 200, answer)
        return answer.json()

    def plan(self, q, **query):
        """Of what the reader asks the database for that page."""
        self.ask(q=q, **query)
        sql = self.database.value(
            "SELECT query FROM pg_stat_activity WHERE query LIKE "
            f"'SELECT key,%search LIKE%' AND datname = '{self.database.name}' "
            "ORDER BY query_start DESC LIMIT 1")
        values = {1: q, 2: f"%{q}%"}
        some = {"uuid": ID % 1, "real": "-1", "bigint": "101", "text": "1"}
        for number, kind in re.findall(r"\$(\d+)::(\w+)", sql):
            values.setdefault(int(number), some[kind])
        given = ", ".join(f"'{values[n]}'" for n in sorted(values))
        rows = self.database.query(
            "SET search_path = stream_broadcast, public; "
            f"PREPARE asked AS {sql}; EXPLAIN EXECUTE asked ({given})")
        return "\n".join(line for [line] in rows)

    def test_what_has_three_letters_in_a_row_goes_through_the_index(self):
        for q in ("1a2b", "green 1a2b", "日本の"):
            for sort in ("relevance", "id", "name"):
                plan = self.plan(q, sort=sort)
                self.assertIn("object_search", plan, (q, sort))
                self.assertIn("%>", plan, (q, sort))
                self.assertNotIn("Seq Scan", plan, (q, sort))

    def test_no_row_is_compared_with_what_nothing_can_be_similar_to(self):
        for q in ("日本", "éa", "\U0001F3B5", " ", "!!!", "in", "C++", "1 2 3"):
            for sort in ("relevance", "id", "name"):
                self.assertNotIn("%>", self.plan(q, sort=sort), (q, sort))

    def test_what_the_index_cannot_serve_is_read_in_the_order_of_the_page(self):
        for sort, index in (("relevance", "id"), ("id", "id"),
                            ("name", "name"), ("size", "size")):
            first = self.plan("in", sort=sort, limit=100)
            after = self.ask(q="in", sort=sort, limit=100)["next"]
            second = self.plan("in", sort=sort, limit=100, after=after)
            for plan in (first, second):
                self.assertIn(f"Index Scan using object_{index}", plan)
            self.assertRegex(second, r"Index Cond: .*\bid\b.* > ")


class SearchOfUnlikeStores(Scenario):
    """A file and a postgres reader behind one broadcaster."""

    def test_copies_are_the_readers_that_found_it(self):
        plain = self.reader()
        ranked = self.reader(READER_STORE="postgres", READER_FILE_DIR=None,
                             **postgres.shared().create_database().env())
        front = self.broadcaster([plain, ranked])
        answer = self.put(front, b"x", metadata_field(title="milse davis"))
        self.assertEqual(answer.status, 201, answer)
        both = [plain.name, ranked.name]
        for query, copies in (("", both), ("?q=milse", both), ("?q=e", both),
                              ("?q=miles", [ranked.name])):
            answer = get(front.port, "/media" + query)
            self.assertEqual([row["copies"] for row in answer.json()["media"]],
                             [copies], query)


class Settings(Scenario):
    """StreamX's flags and environment."""

    def run_program(self, kind, env, *args):
        """Its exit status and what it says."""
        out = subprocess.run([BIN / kind, *args], env=env, timeout=20,
                             capture_output=True, text=True, check=False)
        return out.returncode, out.stdout + out.stderr

    def test_port_is_used_when_our_own_variable_is_not_set(self):
        for kind, variable in (("reader", "READER_HTTP_PORT"),
                               ("broadcaster", "BROADCASTER_HTTP_PORT")):
            for env, wanted in (({"PORT": ":8081"}, 0), ({"PORT": "x"}, 2),
                                ({"PORT": "8081", variable: "8082"}, 0)):
                status, text = self.run_program(kind, env, "--check-config")
                self.assertEqual(status, wanted, text)
            self.assertIn('PORT="x"', self.run_program(
                kind, {"PORT": "x"}, "--check-config")[1])
            self.assertIn("  PORT ", self.run_program(kind, {}, "--help")[1])

    def test_programs_listen_where_port_says(self):
        for kind in ("reader", "broadcaster"):
            program = self.reader() if kind == "reader" else \
                self.broadcaster([f"127.0.0.1:{self.dead_port()}"])
            self.assertEqual(program.stop(), 0)
            program.settings = {**program.settings,
                                f"{kind.upper()}_HTTP_PORT": "",
                                "PORT": f":{program.port}"}
            program.restart().wait_live()

    def test_our_own_variable_comes_before_port(self):
        other = self.dead_port()
        self.reader(PORT=f":{other}")
        self.broadcaster([f"127.0.0.1:{self.dead_port()}"], PORT=f":{other}")
        with self.assertRaises(ConnectionRefusedError):
            get(other, "/healthz")

    def test_a_reader_finds_its_database_by_flags(self):
        env = postgres.shared().create_database().env()
        words = [("-postgres-user", env.pop("DB_USER")),
                 ("-postgres-password", env.pop("DB_PASSWORD")),
                 ("-postgres-host", env.pop("DB_HOST"))]
        for i, args in enumerate(([w for pair in words for w in pair],
                                  [f"-{name}={value}" for name, value in words])):
            box = self.reader(args=args, READER_STORE="postgres",
                              READER_FILE_DIR=None, **env)
            answer = fetch(box.port, "PUT", f"/objects/{ID % i}", body=b"one")
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(commit(box, ID % i, b"one").status, 201)
            self.assert_stored(box, ID % i, b"one")

    def test_the_reader_takes_the_flags_of_the_database(self):
        for args in (["-postgres-user", "u", "-postgres-password", "p",
                      "-postgres-host", "h"],
                     ["--postgres-user=u", "-postgres-host=h"]):
            status, text = self.run_program("reader", {}, *args, "--check-config")
            self.assertEqual(status, 0, text)
        status, text = self.run_program("reader", {}, "-postgres-user")
        self.assertEqual(status, 2, text)
        status, text = self.run_program("reader", {}, "-postgres-user", "u" * 200,
                                    "--check-config")
        self.assertEqual(status, 2)
        self.assertIn("DB_USER", text)
