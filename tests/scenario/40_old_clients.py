"""What was written for Go Stream Broadcast works against us, both ways."""
from client import LAST_CHUNK, Client, Curl, chunk, fetch, head
from harness import Scenario, payload, sha256

BUFFER = 1024           # the old default: one write, so one chunk, of a file
BOUNDARY = "d09c7f5e2b6148a3c0ffee00112233445566778899aabbccddeeff012345"


def escaped(name):
    return name.replace("\\", "\\\\").replace('"', '\\"')


class GoForm:
    """The writes of Go's mime/multipart writer, in order.

    Its boundary is 30 random bytes in hexadecimal; a part's fields are sorted;
    each call of it is one write, which net/http sends as one chunk.
    """

    def __init__(self):
        self.writes = []

    def begin_part(self, *fields):
        before = "\r\n" if self.writes else ""
        self.writes.append("\r\n".join(
            [f"{before}--{BOUNDARY}", *fields, "\r\n"]).encode())

    def file(self, field, name, data):
        self.begin_part(f'Content-Disposition: form-data; name="{field}"; '
                        f'filename="{escaped(name)}"',
                        "Content-Type: application/octet-stream")
        self.writes += [data[i:i + BUFFER]
                        for i in range(0, len(data), BUFFER)]
        return self

    def field(self, name, value):
        self.begin_part(f'Content-Disposition: form-data; name="{name}"')
        self.writes.append(value)
        return self

    def pieces(self):
        """The chunked body; each piece was one write to the socket."""
        end = f"\r\n--{BOUNDARY}--\r\n".encode()
        return [*map(chunk, self.writes), chunk(end), LAST_CHUNK]


def go_head(kind=f"multipart/form-data; boundary={BOUNDARY}"):
    return head("POST", "/upload", "User-Agent: Go-http-client/1.1",
                "Transfer-Encoding: chunked", f"Content-Type: {kind}",
                "Accept-Encoding: gzip")


class OldBroadcaster(Scenario):
    """Its broadcaster sends to our reader."""

    def setUp(self):
        super().setUp()
        self.real = self.reader()

    def send(self, client, form):
        client.send(go_head(), *form.pieces())
        return client.response()

    def assert_old_answer(self, answer):
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.headers["content-type"], "application/json")
        envelope = answer.json()
        self.assertEqual(envelope["status"], 200)
        self.assertEqual(envelope["message"], "file uploaded with success")
        self.assertIsInstance(envelope["data"]["duration"], int)

    def assert_holds(self, contents):
        """Exactly these objects, as name -> bytes."""
        found = {entry["name"]: entry
                 for entry in self.real.objects().values()}
        self.assertEqual(sorted(found), sorted(contents))
        for name, data in contents.items():
            self.assertEqual(found[name]["sha256"], sha256(data))
            self.assert_stored(self.real, found[name]["id"], data)

    def test_a_file_arrives_byte_for_byte(self):
        data = payload(10000)       # no multiple of the old buffer
        with Client(self.real.port) as client:
            self.assert_old_answer(self.send(
                client, GoForm().file("file", "ten.bin", data)))
        self.assert_holds({"ten.bin": data})

    def test_several_files_and_fields_in_one_form(self):
        contents = {f"{n}.bin": payload(n, seed=n)
                    for n in (0, 1, 1023, 1024, 1025, 70000)}
        form = GoForm().field("comment", b"not a file")
        for name, data in contents.items():
            form.file("files", name, data)
        with Client(self.real.port) as client:
            self.assert_old_answer(self.send(client, form))
        self.assert_holds(contents)

    def test_quotes_and_backslashes_in_a_name_are_unescaped(self):
        name = 'say "hi".txt'
        with Client(self.real.port) as client:
            self.assert_old_answer(self.send(
                client, GoForm().file("file", name, b"hi")))
        self.assert_holds({name: b"hi"})

    def test_content_that_looks_like_a_boundary(self):
        data = (f"\r\n--{BOUNDARY[:-1]}\r\n--{BOUNDARY[:30]}--\r\n".encode()
                + payload(2000) + b"\r\n--")
        with Client(self.real.port) as client:
            self.assert_old_answer(self.send(
                client, GoForm().file("file", "tricky.bin", data)))
        self.assert_holds({"tricky.bin": data})

    def test_however_the_stream_is_cut(self):
        data = payload(3000)
        for step in (1, 7, 1000):
            form = GoForm().file("file", f"by-{step}.bin", data)
            stream = go_head() + b"".join(form.pieces())
            with Client(self.real.port) as client:
                client.send(*[stream[i:i + step]
                              for i in range(0, len(stream), step)])
                self.assert_old_answer(client.response())
        self.assert_holds({f"by-{n}.bin": data for n in (1, 7, 1000)})

    def test_one_connection_for_many_uploads(self):
        contents = {f"{i}.bin": payload(5000, seed=i) for i in range(3)}
        with Client(self.real.port) as client:
            for name, data in contents.items():
                self.assert_old_answer(self.send(
                    client, GoForm().file("file", name, data)))
        self.assert_holds(contents)

    def test_a_form_that_breaks_off_leaves_nothing(self):
        pieces = GoForm().file("file", "half.bin", payload(50000)).pieces()
        for n in (len(pieces) - 1, len(pieces) - 2, 20):
            with Client(self.real.port) as client:
                client.send(go_head(), *pieces[:n])
        self.assert_nothing_left(self.real)

    def test_an_end_of_stream_without_close_delimiter_is_refused(self):
        pieces = GoForm().file("file", "cut.bin", payload(5000)).pieces()
        with Client(self.real.port) as client:
            client.send(go_head(), *pieces[:-2], LAST_CHUNK)
            answer = client.response()
        self.assertEqual(answer.status, 400, answer)
        self.assert_nothing_left(self.real)

    def test_what_is_no_form_gets_the_old_message(self):
        answer = fetch(self.real.port, "POST", "/upload",
                       "Content-Type: text/plain", body=b"hello")
        self.assertEqual(answer.status, 400, answer)
        envelope = answer.json()
        self.assertEqual(envelope["status"], 400)
        self.assertTrue(envelope["message"].startswith(
            "Request is not multipart, ignoring: "), envelope)
        self.assertIn("duration", envelope["data"])
        self.assert_nothing_visible(self.real)


class OldReader(Scenario):
    """Our broadcaster sends forms to a reader that knows only POST /upload."""

    def setUp(self):
        super().setUp()
        self.data = payload(300000)
        self.file = self.folder / "photo.jpg"
        self.file.write_bytes(self.data)

    def entry(self, reader):
        return f"http://{reader.address}/upload#form=file"

    def curl(self, front):
        return Curl("-F", f"file=@{self.file}",
                    f"http://127.0.0.1:{front.port}/broadcast")

    def assert_holds_the_file(self, reader):
        [entry] = reader.objects().values()
        self.assertEqual(entry["name"], "photo.jpg")
        self.assertEqual(entry["content_type"], "image/jpeg")
        self.assert_stored(reader, entry["id"], self.data)

    def test_curl_F_goes_through_both(self):
        two = self.readers(2)
        front = self.broadcaster([self.entry(r) for r in two])
        answer = self.curl(front)
        self.assertEqual(answer.status, 201, answer)
        for reader in two:
            self.assert_holds_the_file(reader)

    def test_the_answer_has_the_members_of_the_old_one(self):
        old, new = self.readers(2)
        front = self.broadcaster(["old=" + self.entry(old),
                                  f"new={new.address}"])
        envelope = self.curl(front).json()
        self.assertEqual(envelope["status"], 201)
        self.assertIsInstance(envelope["message"], str)
        self.assertIsInstance(envelope["data"]["duration"], int)
        for name, reader in (("old", old), ("new", new)):
            entry = envelope["data"][reader.address]
            self.assertEqual(entry["name"], name)
            self.assertEqual(entry["state"], "committed")
            self.assertEqual(entry["bytes"], len(self.data))

    def test_a_raw_upload_reaches_it_as_a_form(self):
        old = self.reader()
        front = self.broadcaster([self.entry(old)])
        answer = self.put(front, self.data, "Content-Type: image/jpeg",
                          name="photo.jpg")
        self.assertEqual(answer.status, 201, answer)
        self.assert_holds_the_file(old)

    def test_when_none_can_be_reached_the_status_says_so(self):
        port = self.dead_port()
        front = self.broadcaster([f"http://127.0.0.1:{port}/upload#form=file"])
        answer = self.curl(front)
        self.assertEqual(answer.status, 503, answer)
        envelope = answer.json()
        self.assertEqual(envelope["status"], 503)
        self.assertEqual(envelope["data"][f"127.0.0.1:{port}"]["state"],
                         "failed")
