"""What a strict server must refuse, it refuses, before any target is asked."""
import random
import time

from client import LAST_CHUNK, Client, Closed, chunk, fetch, head
from harness import Scenario, payload, slow

HOST = "Host: x"


def put(*fields, target="/broadcast/x"):
    return "\r\n".join([f"PUT {target} HTTP/1.1", HOST, *fields, "", ""])


# (what, bytes, statuses that are right)
REFUSED_HEADS = [
    ("two lengths", put("Content-Length: 5", "Content-Length: 5"), 400),
    ("two different lengths", put("Content-Length: 5", "Content-Length: 6"),
     400),
    ("a list of lengths", put("Content-Length: 5, 5"), 400),
    ("a signed length", put("Content-Length: +5"), 400),
    ("a negative length", put("Content-Length: -5"), 400),
    ("a length that overflows", put("Content-Length: 18446744073709551616"),
     (400, 413)),
    ("a hex length", put("Content-Length: 0x5"), 400),
    ("a length with a blank inside", put("Content-Length: 5 5"), 400),
    ("an empty length", put("Content-Length:"), 400),
    ("a NUL in the length", put("Content-Length: 5\0"), 400),
    ("length and chunked", put("Content-Length: 5",
                               "Transfer-Encoding: chunked"), 400),
    ("chunked twice", put("Transfer-Encoding: chunked",
                          "Transfer-Encoding: chunked"), 400),
    ("chunked, chunked", put("Transfer-Encoding: chunked, chunked"),
     (400, 501)),
    ("gzip, chunked", put("Transfer-Encoding: gzip, chunked"), (400, 501)),
    ("an unknown coding", put("Transfer-Encoding: smoke"), (400, 501)),
    ("identity", put("Transfer-Encoding: identity"), (400, 501)),
    ("chunked with a parameter", put("Transfer-Encoding: chunked;q=1"),
     (400, 501)),
    ("chunked before a tab", put("Transfer-Encoding:\x0bchunked"), (400, 501)),
    ("chunked in HTTP/1.0", "PUT /broadcast/x HTTP/1.0\r\nHost: x\r\n"
     "Transfer-Encoding: chunked\r\n\r\n", 400),
    ("no length", put(), 411),
    ("another expectation", put("Content-Length: 5", "Expect: a miracle"),
     417),
    ("no host", "PUT /broadcast/x HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 400),
    ("two hosts", put("Host: y", "Content-Length: 5"), 400),
    ("a bad host", "PUT /broadcast/x HTTP/1.1\r\nHost: a b\r\n"
     "Content-Length: 5\r\n\r\n", 400),
    ("a blank before the colon", put("Content-Length : 5"), 400),
    ("a folded field", put("X-A: b", " c", "Content-Length: 5"), 400),
    ("a field without a name", put(": b", "Content-Length: 5"), 400),
    ("a field without a colon", put("X-A", "Content-Length: 5"), 400),
    ("a bare LF", put("X-A: b\nContent-Length: 5"), 400),
    ("a bare CR", put("X-A: b\rc", "Content-Length: 5"), 400),
    ("a NUL in a value", put("X-A: b\0c", "Content-Length: 5"), 400),
    ("a blank before the first field",
     "PUT /broadcast/x HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    ("HTTP/2.0", "PUT /broadcast/x HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    ("the HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    ("HTTP/1.2", "PUT /broadcast/x HTTP/1.2\r\nHost: x\r\n\r\n", (400, 505)),
    ("an unknown method", "BREW /broadcast/x HTTP/1.1\r\nHost: x\r\n\r\n",
     501),
    ("a method in lower case", "put /broadcast/x HTTP/1.1\r\nHost: x\r\n\r\n",
     (400, 501)),
    ("CONNECT", "CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", (400, 405, 501)),
    ("two blanks in the request line",
     "PUT  /broadcast/x HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ("a long target", put("Content-Length: 5",
                          target="/broadcast/" + "a" * 9000), 414),
    ("a control in the target", put("Content-Length: 5",
                                    target="/broadcast/a\x01"), 400),
    ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
     (400, 501, None)),
    ("HTTP/0.9", "GET /\r\n\r\n", 400),
    ("101 fields", put(*[f"X-{i}: a" for i in range(101)],
                       "Content-Length: 5"), 431),
    ("a line over 8 KiB", put("X-A: " + "a" * 8300, "Content-Length: 5"), 431),
    ("a head over 32 KiB", put(*[f"X-{i}: " + "a" * 5000 for i in range(8)],
                               "Content-Length: 5"), 431),
]

# (what, the body after a head with Transfer-Encoding: chunked)
REFUSED_CHUNKS = [
    ("17 digits", b"10000000000000000\r\n"),
    ("an overflow in the sum", b"1\r\na\r\nffffffffffffffff\r\n"),
    ("0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("a sign", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("a minus", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("a blank before", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("a blank after", b"5 \r\nhello\r\n0\r\n\r\n"),
    ("no size", b"\r\nhello\r\n0\r\n\r\n"),
    ("no digits", b"xyz\r\n"),
    ("no CRLF after the data", b"5\r\nhelloXX0\r\n\r\n"),
    ("a bare LF after the size", b"5\nhello\r\n0\r\n\r\n"),
    ("a bare LF after the data", b"5\r\nhello\n0\r\n\r\n"),
    ("a bare CR in the size line", b"5\rx\r\nhello\r\n0\r\n\r\n"),
    ("a NUL in an extension", b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
    ("a long extension", b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n"),
    ("a trailer without a colon", b"0\r\nnonsense\r\n\r\n"),
    ("a folded trailer", b"0\r\nX-A: b\r\n c\r\n\r\n"),
]


class Heads(Scenario):
    """Bad heads: the right status, a closed connection, no target asked."""

    def test_bad_heads_are_refused_and_no_target_hears_of_them(self):
        target = self.fault()
        front = self.broadcaster([target])
        for what, text, statuses in REFUSED_HEADS:
            with self.subTest(what), Client(front.port) as client:
                self.try_head(client, text.encode("latin-1"), statuses)
        self.assertEqual(target.legs, [])
        self.assertEqual(target.n_connections, 0)

    def try_head(self, client, text, statuses):
        allowed = statuses if isinstance(statuses, tuple) else (statuses,)
        client.send(text + b"hello")
        try:
            answer = client.response()
        except Closed:
            self.assertIn(None, allowed)
            return
        self.assertIn(answer.status, allowed, answer)
        if answer.status == 411:
            return              # well-framed: it has no body
        self.assertEqual(answer.headers.get("connection", "").lower(), "close")
        client.half_close()
        self.assertTrue(client.is_closed())

    def test_the_verdict_does_not_depend_on_how_the_bytes_were_cut(self):
        front = self.broadcaster([self.fault()])
        for what, text, statuses in REFUSED_HEADS[::5]:
            allowed = statuses if isinstance(statuses, tuple) else (statuses,)
            if len(text) > 500:
                continue
            with self.subTest(what), Client(front.port) as client:
                try:
                    client.send(*[bytes([b]) for b in text.encode("latin-1")])
                except OSError:
                    pass        # refused before the last byte: that is fine
                self.assertIn(client.response().status, allowed)

    def test_an_upload_cut_at_every_byte_of_its_head(self):
        target = self.fault()
        front = self.broadcaster([target])
        text = head("PUT", "/broadcast/cut", "Content-Length: 5") + b"hello"
        for at in range(1, len(text)):
            with Client(front.port) as client:
                client.send(text[:at], text[at:])
                answer = client.response()
                self.assertEqual(answer.status, 201, (at, answer))

    @slow("memory is measured")
    def test_endless_heads_end_with_431_and_cost_nothing(self):
        front = self.broadcaster([self.fault()])
        self.put(front, b"warm")
        before = front.rss()
        for piece in (b"a" * 65536, b"X-A: b\r\n" * 8192):
            with Client(front.port) as client:
                client.send(b"PUT /broadcast/x HTTP/1.1\r\nHost: x\r\n")
                try:
                    for _ in range(64):
                        client.send(piece)
                except OSError:
                    pass
                self.assertEqual(client.response().status, 431)
        self.assertLess(front.rss("VmHWM") - before, 1 << 20)

    def test_two_empty_lines_before_a_request_are_skipped(self):
        front = self.broadcaster([self.fault()])
        with Client(front.port) as client:
            client.send(b"\r\n\r\n")
            client.request("GET", "/healthz")
            self.assertEqual(client.response().status, 200)

    def test_absolute_targets_are_understood(self):
        front = self.broadcaster([self.fault()])
        with Client(front.port) as client:
            client.request("GET", "http://elsewhere.example/healthz")
            self.assertEqual(client.response().status, 200)

    def test_http_1_0_is_answered_and_closed(self):
        front = self.broadcaster([self.fault()])
        with Client(front.port) as client:
            client.request("PUT", "/broadcast/old", body=b"hello",
                           version="HTTP/1.0")
            self.assertEqual(client.response().status, 201)
            self.assertTrue(client.is_closed())


class Chunks(Scenario):
    """Chunked bodies: exact or refused."""

    def send_chunked(self, front, *pieces):
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/c",
                             "Transfer-Encoding: chunked"))
            try:
                client.send(*pieces)
            except OSError:
                pass            # refused while we were still sending
            return client.response()

    def test_malformed_chunks_are_400_and_abort_the_targets(self):
        for what, body in REFUSED_CHUNKS:
            with self.subTest(what):
                target = self.fault()
                front = self.broadcaster([target])
                answer = self.send_chunked(front, body)
                self.assertIn(answer.status, (400, 413, 431), answer)
                for leg in target.puts():
                    target.wait_ended()
                    self.assertFalse(leg.terminated, leg)
                self.assertEqual(target.commits(), [])
                front.stop()

    def test_extensions_and_trailers_are_taken_and_dropped(self):
        target = self.fault()
        front = self.broadcaster([target])
        answer = self.send_chunked(front, b'5;a=b;c="d e"\r\nhello\r\n'
                                   b"000\r\nX-Trailer: x\r\n\r\n")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(bytes(target.puts()[0].body), b"hello")

    def test_a_trailer_bomb_is_refused(self):
        target = self.fault()
        front = self.broadcaster([target])
        answer = self.send_chunked(front, chunk(b"hello"), b"0\r\n",
                                   b"X-A: aaaaaaaaaaaaaaaaaaaaa\r\n" * 1000,
                                   b"\r\n")
        self.assertIn(answer.status, (400, 431), answer)
        self.assertFalse(target.wait_ended().terminated)

    def test_trailers_cannot_change_framing_or_authorisation(self):
        front = self.broadcaster([self.fault()], BROADCASTER_TOKEN="t")
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/c",
                             "Transfer-Encoding: chunked"),
                        chunk(b"hello"),
                        b"0\r\nAuthorization: Bearer t\r\n"
                        b"Content-Length: 3\r\n\r\n")
            self.assertEqual(client.response().status, 401)

    @slow("CPU and memory are measured")
    def test_one_byte_chunks_are_refused_before_they_cost_much(self):
        target = self.fault()
        front = self.broadcaster([target])
        before = front.cpu()
        answer = self.send_chunked(front, *[b"1\r\na\r\n" * 10000] * 100)
        self.assertEqual(answer.status, 400, answer)
        self.assertLess(front.cpu() - before, 1)
        self.assertFalse(target.wait_ended().terminated)

    @slow("memory is measured")
    def test_one_huge_chunk_streams_in_fixed_memory(self):
        target = self.fault()
        front = self.broadcaster([target])
        self.put(front, b"warm")
        before = front.rss()
        piece, n = payload(1 << 20), 256
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/huge",
                             "Transfer-Encoding: chunked"),
                        b"%x\r\n" % (n << 20))
            for _ in range(n):
                client.send(piece)
            client.send(b"\r\n" + LAST_CHUNK)
            answer = client.response()
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.data["size"], n << 20)
        self.assertLess(front.rss("VmHWM") - before, 1 << 20)

    def test_random_chunk_sizes_and_cuts_arrive_exact(self):
        dice = random.Random(7)
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_BUFFER_SIZE=1024)
        for i in range(20):
            data = payload(dice.randrange(20000), seed=i)
            wire, at = b"", 0
            while at < len(data):
                n = dice.choice((1, 2, 100, 1023, 1024, 1025, 5000))
                wire += chunk(data[at:at + n])
                at += n
            wire += LAST_CHUNK
            cuts = sorted(dice.randrange(len(wire)) for _ in range(5))
            pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, None])]
            answer = self.send_chunked(front, *pieces)
            self.assertEqual(answer.status, 201, (i, answer))
            self.assertEqual(bytes(target.puts()[i].body), data)


class Expectations(Scenario):
    """100 Continue is a promise: it comes after every check or not at all."""

    def test_a_refused_upload_gets_no_100_and_no_target_is_asked(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_MAX_UPLOAD_BYTES=1000)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 1001",
                             "Expect: 100-continue"))
            answer = client.response()
            self.assertEqual((answer.status, answer.interim), (413, []))
            self.assertTrue(client.is_closed())
        self.assertEqual(target.n_connections, 0)

    def test_a_client_that_does_not_wait_for_100_is_fine(self):
        target = self.fault()
        front = self.broadcaster([target])
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 5",
                             "Expect: 100-continue") + b"hello")
            self.assertEqual(client.response().status, 201)
        self.assertEqual(bytes(target.puts()[0].body), b"hello")

    def test_no_100_while_no_target_has_accepted(self):
        def late(ex):
            ex.gate()
            ex.proceed()
            ex.read_all()
            return ex.target.staged_answer(ex)
        target = self.fault(on_put=late)
        front = self.broadcaster([target])
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 5",
                             "Expect: 100-continue"))
            target.wait_put()
            client.sock.settimeout(0.2)
            self.assertRaises(TimeoutError, client.fill)
            client.sock.settimeout(10)
            target.open_gate()
            self.assertEqual(client.interim(), 100)
            client.send(b"hello")
            self.assertEqual(client.response().status, 201)


class Limits(Scenario):
    """Bodies over the limit."""

    def test_a_length_over_the_limit_is_413_before_any_target(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_MAX_UPLOAD_BYTES=1000)
        answer = self.put(front, payload(1001))
        self.assertEqual(answer.status, 413)
        self.assertEqual(target.n_connections, 0)
        self.assertEqual(self.put(front, payload(1000)).status, 201)

    def test_chunks_over_the_limit_are_413_and_abort_the_targets(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_MAX_UPLOAD_BYTES=1000)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             "Transfer-Encoding: chunked"),
                        chunk(payload(900)))
            target.wait_put(900)
            client.send(chunk(payload(101)))
            self.assertEqual(client.response().status, 413)
        self.assertFalse(target.wait_ended().terminated)

    def test_the_answer_survives_a_client_that_keeps_sending(self):
        front = self.broadcaster([self.fault()],
                                 BROADCASTER_MAX_UPLOAD_BYTES=1000)
        for _ in range(5):
            with Client(front.port) as client:
                client.send(head("PUT", "/broadcast/x",
                                 "Content-Length: 10000000"))
                try:
                    client.send(payload(1 << 20))
                except OSError:
                    pass
                self.assertEqual(client.response().status, 413)

    def test_uploads_over_the_maximum_number_get_503_with_retry_after(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_MAX_UPLOADS=2)
        busy = []
        for i in range(2):
            client = Client(front.port)
            client.send(head("PUT", f"/broadcast/{i}", "Content-Length: 2"),
                        b"a")
            busy.append(client)
            target.wait_put(1, index=i)
        answer = self.put(front, b"one too many")
        self.assertEqual(answer.status, 503, answer)
        self.assertIn("retry-after", answer.headers)
        for client in busy:
            client.send(b"b")
            self.assertEqual(client.response().status, 201)
            client.close()
        self.assertEqual(self.put(front, b"now it fits").status, 201)


class Forms(Scenario):
    """multipart/form-data in all its shapes."""

    TYPE = "Content-Type: multipart/form-data; boundary=bound"

    def test_a_file_name_may_have_1024_bytes_and_a_path_before_it(self):
        front = self.broadcaster(self.readers(1))
        for name, kept in ((b"n" * 1024, "n" * 1024), (b"n" * 1025, None),
                           (rb"C:\Users\ann\new song.mp3", "new song.mp3"),
                           (rb"C:\\Users\\ann\\x.mp3", "x.mp3")):
            body = (b'--bound\r\nContent-Disposition: form-data; name="f"; '
                    b'filename="' + name + b'"\r\n\r\nx\r\n--bound--\r\n')
            answer = fetch(front.port, "POST", "/broadcast", self.TYPE,
                           body=body)
            self.assertEqual(answer.status, 201 if kept else 400, name)
            if kept:
                self.assertEqual(answer.data["name"], kept)

    def part(self, content, name="f", filename="f.bin"):
        return (f'--bound\r\nContent-Disposition: form-data; name="{name}"; '
                f'filename="{filename}"\r\n\r\n').encode() + content + b"\r\n"

    def post(self, front, *pieces, content_type=TYPE):
        with Client(front.port) as client:
            size = sum(map(len, pieces))
            client.send(head("POST", "/broadcast", content_type,
                             f"Content-Length: {size}"))
            try:
                client.send(*pieces)
            except OSError:
                pass            # refused while we were still sending
            return client.response()

    def test_a_form_cut_at_every_byte(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_BUFFER_SIZE=1024)
        content = b"\r\n--boun\r\n--boun d\r\r\n\r\n--bounD\r\n-"
        body = self.part(content) + b"--bound--\r\n"
        for at in range(1, len(body)):
            answer = self.post(front, body[:at], body[at:])
            self.assertEqual(answer.status, 201, (at, answer))
            self.assertEqual(bytes(target.puts()[at - 1].body), content, at)

    def test_content_full_of_near_delimiters_through_the_smallest_ring(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_BUFFER_SIZE=1024)
        content = (b"\r\n--boun" * 700 + b"\r\n--bounx" + b"\r" * 3000)
        answer = self.post(front, self.part(content) + b"--bound--\r\n")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(bytes(target.puts()[0].body), content)

    def test_malformed_forms_are_refused_and_nothing_is_committed(self):
        good = self.part(b"hello")
        bad = {
            "no close delimiter": (good,),
            "no delimiter at all": (b"hello" * 100,),
            "cut off in a part's head": (b"--bound\r\nContent-Disp",),
            "65 parts": (good * 65, b"--bound--\r\n"),
            "a huge part head": (b"--bound\r\nX-A: " + b"a" * 9000 +
                                 b"\r\n\r\n", b"hello\r\n--bound--\r\n"),
            "a part without a name": (b"--bound\r\n\r\nhello\r\n--bound--\r\n",),
            "base64": (b"--bound\r\nContent-Disposition: form-data; name=f; "
                       b"filename=f\r\nContent-Transfer-Encoding: base64\r\n"
                       b"\r\naGVsbG8=\r\n--bound--\r\n",),
        }
        for what, pieces in bad.items():
            with self.subTest(what):
                target = self.fault()
                front = self.broadcaster([target])
                answer = self.post(front, *pieces)
                self.assertIn(answer.status, (400, 413, 415, 431), answer)
                self.assertEqual(target.commits(), [])
                self.assertEqual(target.committed, {})
                front.stop()

    def test_a_bad_or_missing_boundary_is_400(self):
        front = self.broadcaster([self.fault()])
        for kind in ("multipart/form-data", "multipart/form-data; boundary=",
                     "multipart/form-data; boundary=" + "a" * 71,
                     'multipart/form-data; boundary="a'):
            with self.subTest(kind):
                answer = self.post(front, self.part(b"x"), b"--bound--\r\n",
                                   content_type=f"Content-Type: {kind}")
                self.assertEqual(answer.status, 400, answer)

    def test_a_form_is_stored_whole_or_not_at_all(self):
        target = self.fault()
        reader = self.reader()
        front = self.broadcaster([target, reader])
        answer = self.post(front, self.part(b"first"),
                           self.part(payload(50000)))
        self.assertEqual(answer.status, 400, answer)
        self.assertEqual(target.committed, {})
        self.assert_nothing_left(reader)

    def test_fields_around_the_file_and_an_epilogue(self):
        target = self.fault()
        front = self.broadcaster([target])
        field = (b'--bound\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
                 b"value\r\n")
        answer = self.post(front, b"preamble\r\n", field, self.part(b"hello"),
                           field, b"--bound--\r\nepilogue")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(bytes(target.puts()[0].body), b"hello")

    def test_a_slow_form_keeps_its_targets(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_STALL_TIMEOUT_MS=300,
                                 BROADCASTER_CONNECT_TIMEOUT_MS=300)
        body = self.part(b"hello") + b"--bound--\r\n"
        with Client(front.port) as client:
            client.send(head("POST", "/broadcast", self.TYPE,
                             f"Content-Length: {len(body)}"))
            time.sleep(0.7)         # the client thinks; nobody is to blame
            client.send(body)
            self.assertEqual(client.response().status, 201)
