"""What a hostile client tries, and where it ends."""
import base64
import json

from client import Client, Curl, fetch, get, head
from harness import Port, Scenario, payload

# Names as they stand in a URL or a form, none of which may become a path.
HOSTILE_NAMES = ["..", ".", "%2e%2e", "%2e%2e%2fetc%2fpasswd", "..%2f..%2fx",
                 "..%5c..%5cx", "%00", "a%00b", "a%0d%0aSet-Cookie:%20x",
                 "a%0ab", "%1b%5b2J", "a%c2%85b", "%c0%ae%c0%ae", "%ff%fe", "%", "%2",
                 "%zz", "%2fetc%2fpasswd", "a%2fb"]
ODD_BUT_FINE_NAMES = ["CON", "nul.txt", "-rf", "a;b", "$(id)", "'", "%22",
                      "%3Cscript%3E", "a%20b", "~", "..a", "a..b", "...",
                      "%25s%25n"]


class Names(Scenario):
    """A name is data."""

    def setUp(self):
        super().setUp()
        self.box = self.reader()
        self.front = self.broadcaster([self.box])

    def outside(self):
        """Everything in the scratch folder that is not the store's or a log."""
        return sorted(p.relative_to(self.folder).as_posix()
                      for p in self.folder.rglob("*")
                      if self.box.store not in p.parents and p.is_file()
                      and p.name not in ("log",))

    def test_hostile_names_in_the_url_are_refused(self):
        for name in HOSTILE_NAMES:
            with self.subTest(name):
                answer = self.put(self.front, b"x", name=name)
                self.assertEqual(answer.status, 400, answer)
        self.assert_nothing_left(self.box)
        self.assertEqual(self.outside(), [])

    def test_odd_names_are_kept_as_they_are(self):
        for name in ODD_BUT_FINE_NAMES:
            with self.subTest(name):
                answer = self.put(self.front, b"x", name=name)
                self.assertEqual(answer.status, 201, answer)
        names = {o["name"] for o in self.box.objects().values()}
        self.assertIn("<script>", names)
        self.assertIn("%s%n", names)
        self.assertEqual(len(names), len(ODD_BUT_FINE_NAMES))
        self.assertEqual(self.outside(), [])

    def test_a_name_of_4096_bytes_is_refused(self):
        answer = self.put(self.front, b"x", name="a" * 4096)
        self.assertEqual(answer.status, 400)

    def test_paths_in_a_forms_file_name_lose_their_folders(self):
        for sent in ("../../etc/passwd", "/etc/passwd", "C:\\\\x\\\\passwd"):
            body = (f'--b\r\nContent-Disposition: form-data; name="f"; '
                    f'filename="{sent}"\r\n\r\nx\r\n--b--\r\n').encode()
            answer = fetch(self.front.port, "POST", "/broadcast",
                           "Content-Type: multipart/form-data; boundary=b",
                           body=body)
            with self.subTest(sent):
                self.assertIn(answer.status, (201, 400), answer)
        for entry in self.box.objects().values():
            self.assertEqual(entry["name"], "passwd")
        self.assertEqual(self.outside(), [])

    def test_a_symbolic_link_in_the_store_is_not_followed(self):
        secret = self.folder / "secret"
        secret.mkdir()
        (secret / "data").write_bytes(b"secret")
        (secret / "meta.json").write_bytes(b"{}")
        object_id = "0190a000-0000-7000-8000-000000000001"
        shard = self.box.store / "objects" / object_id[:5]
        shard.mkdir(parents=True, exist_ok=True)
        (shard / object_id).symlink_to(secret)
        answer = self.box.content(object_id)
        self.assertNotEqual(answer.status, 200)
        self.assertNotIn(b"secret", answer.body)

    def test_a_symbolic_link_within_the_store_is_not_followed_either(self):
        real = self.put(self.front, b"x").data["id"]
        alias = real[:-1] + ("0" if real[-1] != "0" else "1")
        shard = self.box.store / "objects" / real[:5]
        (shard / alias).symlink_to(real)
        self.assertEqual(self.box.content(real).status, 200)
        self.assertNotEqual(self.box.content(alias).status, 200)

    def test_names_cannot_break_out_of_headers(self):
        body = ('--b\r\nContent-Disposition: form-data; name="f"; '
                "filename*=UTF-8''a%0d%0aX-Evil:%20yes.txt\r\n\r\nx\r\n"
                "--b--\r\n").encode()
        answer = fetch(self.front.port, "POST", "/broadcast",
                       "Content-Type: multipart/form-data; boundary=b",
                       body=body)
        self.assertEqual(answer.status, 400, answer)
        answer = self.put(self.front, b"x", name="%22%3b%20filename=%22evil")
        self.assertEqual(answer.status, 201, answer)
        found = self.box.content(answer.data["id"])
        self.assertNotIn("x-evil", found.headers)
        disposition = found.headers["content-disposition"]
        self.assertNotIn('"; filename="evil', disposition)

    def test_names_cannot_forge_headers_towards_targets(self):
        target = self.fault()
        form = self.fault()
        front = self.broadcaster([target, f"http://{form.address}/p#form=f"])
        evil = "a%22%3b%20filename=%22b%c3%bc"
        answer = self.put(front, b"x", name=evil)
        self.assertEqual(answer.status, 201, answer)
        self.assertNotIn('"; filename="b', target.legs[0].headers[
            "content-disposition"])
        self.assertNotIn(b'"; filename="b', bytes(form.legs[0].body))
        answer = self.put(front, b"x", "Content-Type: a/b;x=\x01")
        self.assertEqual(answer.status, 400, answer)

    def test_stored_html_is_not_run_by_a_browser(self):
        answer = self.put(self.front, b"<script>alert(1)</script>",
                          "Content-Type: text/html", name="x.html")
        found = self.box.content(answer.data["id"])
        self.assertTrue(found.headers.get("content-disposition", "")
                        .startswith("attachment") or
                        "sandbox" in found.headers.get(
                            "content-security-policy", ""))
        self.assertEqual(found.headers.get("x-content-type-options"),
                         "nosniff")


class Reaching(Scenario):
    """Nobody but the operator says where bytes go."""

    def test_a_client_cannot_name_a_target(self):
        target, trap = self.fault(), self.fault()
        front = self.broadcaster([target])
        encoded = base64.b64encode(trap.address.encode()).decode()
        for fields in ([f"X-Target: {trap.address}"],
                       [f"X-Forwarded-Host: {trap.address}"],
                       [f"Forwarded: host={trap.address}"],
                       [f"Upload-Metadata: target {encoded}"],
                       [f"Content-Location: http://{trap.address}/"]):
            answer = self.put(front, b"x", *fields)
            self.assertEqual(answer.status, 201)
        answer = fetch(front.port, "PUT",
                       f"/broadcast/x?target={trap.address}&hosts="
                       f"http://{trap.address}/", body=b"x")
        self.assertIn(answer.status, (201, 400))
        with Client(front.port) as client:
            client.request("PUT", f"http://{trap.address}/broadcast/x",
                           body=b"x")
            self.assertIn(client.response().status, (201, 400, 421))
        self.assertEqual(trap.n_connections, 0)

    def test_proxy_variables_of_the_environment_are_ignored(self):
        target, trap = self.fault(), self.fault()
        front = self.broadcaster([target], http_proxy=f"http://{trap.address}",
                                 all_proxy=f"http://{trap.address}",
                                 HTTP_PROXY=f"http://{trap.address}")
        self.assertEqual(self.put(front, b"x").status, 201)
        self.assertEqual(trap.n_connections, 0)

    def test_a_broadcaster_that_is_its_own_target_notices(self):
        port = Port()
        front = self.broadcaster([f"http://127.0.0.1:{port.number}/broadcast/x"],
                                 port=port)
        answer = self.put(front, b"x")
        self.assertIn(answer.status, (502, 503, 508), answer)
        self.assertIn("508", answer.body.decode())
        self.assert_idle(front)

    def test_only_the_documented_urls_exist(self):
        front = self.broadcaster([self.fault()])
        for path in ("/index.html", "/page.html", "/mediax", "/api", "/api/x",
                     "/etc/passwd", "/broadcasts", "/objects", "/admin",
                     "//broadcast", "/%62roadcast"):
            with self.subTest(path):
                self.assertEqual(get(front.port, path).status, 404)
        for method in ("DELETE", "PATCH", "OPTIONS", "HEAD"):
            answer = fetch(front.port, method, "/broadcast/x")
            self.assertIn(answer.status, (405, 404, 204), method)


class Tokens(Scenario):
    """Everything but the probes needs the token, on both programs."""

    def test_without_the_right_token_nothing_works(self):
        reader = self.reader(READER_TOKEN="correct horse")
        front = self.broadcaster([reader], READER_TOKEN="correct horse",
                                 BROADCASTER_TOKEN="battery staple")
        wrong = ([], ["Authorization: Bearer"], ["Authorization: Bearer x"],
                 ["Authorization: Basic Y29ycmVjdCBob3JzZQ=="],
                 ["Authorization: Bearer battery stapl"],
                 ["Authorization: Bearer battery staplee"],
                 ["Authorization: battery staple"])
        for fields in wrong:
            with self.subTest(fields):
                for port, requests in (
                        (front.port, [("PUT", "/broadcast/x"),
                                      ("POST", "/broadcast"),
                                      ("GET", "/broadcast"),
                                      ("GET", "/broadcast/x/progress")]),
                        (reader.port, [("GET", "/objects"),
                                       ("POST", "/upload")])):
                    for method, path in requests:
                        answer = fetch(port, method, path, *fields,
                                       body=b"" if method != "GET" else None)
                        self.assertEqual(answer.status, 401, (method, path))
        twice = fetch(front.port, "GET", "/broadcast",
                      "Authorization: Bearer battery staple",
                      "Authorization: Bearer battery staple")
        self.assertEqual(twice.status, 400)
        for port in (front.port, reader.port):
            self.assertEqual(get(port, "/healthz").status, 200)

    def test_a_refused_upload_with_expect_sends_no_body(self):
        front = self.broadcaster([self.fault()], BROADCASTER_TOKEN="t")
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 1000000",
                             "Expect: 100-continue"))
            answer = client.response()
            self.assertEqual((answer.status, answer.interim), (401, []))


class Logs(Scenario):
    """Logs cannot be forged and hold no secrets."""

    def test_names_cannot_forge_a_line(self):
        for form in ("logfmt", "json"):
            target = self.fault()
            front = self.broadcaster([target], BROADCASTER_LOG_FORMAT=form,
                                     BROADCASTER_LOG_LEVEL="debug")
            self.put(front, b"x", "Idempotency-Key: k",
                     name="x%22%20level=error%20event=forged")
            self.put(front, b"x", name="%c2%85event=forged%e2%80%a8")
            Curl("-A", 'x" event=forged', "-T", "-", stdin=b"x",
                 *[f"http://127.0.0.1:{front.port}/broadcast/x"])
            front.stop()
            for line in front.log().splitlines():
                if form == "json":
                    self.assertNotEqual(json.loads(line)["event"], "forged")
                else:
                    self.assertRegex(line, r"^time=\S+ level=\w+ event=\w+")
                    self.assertNotRegex(line, r"^[^\"]* event=forged")

    def test_tokens_never_appear_in_logs_receipts_or_metrics(self):
        reader = self.reader(READER_TOKEN="s3cret-reader",
                             READER_LOG_LEVEL="debug")
        front = self.broadcaster([reader], READER_TOKEN="s3cret-reader",
                                 BROADCASTER_TOKEN="s3cret-front",
                                 BROADCASTER_LOG_LEVEL="debug")
        answer = self.put(front, payload(1000),
                          "Authorization: Bearer s3cret-front")
        self.assertEqual(answer.status, 201)
        denied = self.put(front, b"x", "Authorization: Bearer s3cret-wrong")
        reader.stop()
        failed = self.put(front, b"x", "Authorization: Bearer s3cret-front")
        told = (front.log() + reader.log() + get(front.port, "/metrics")
                .body.decode() + failed.body.decode() + denied.body.decode())
        self.assertNotIn("s3cret", told)
        front.stop()
        self.assertNotIn("s3cret", front.log())

    def test_one_line_an_upload_at_the_usual_level(self):
        front = self.broadcaster([self.fault()])
        for i in range(10):
            self.put(front, payload(100000, i))
        front.stop()
        self.assertEqual(len(front.log_lines("event=upload")), 10)
        self.assertLess(len(front.log().splitlines()), 16)
