"""Plain endpoints get the end of a body only after the verdict."""
import hashlib
import re

import fault_target as script
from client import LAST_CHUNK, Client, Curl, chunk, head
from harness import Scenario, payload, sha256

QUICK = {"BROADCASTER_CONNECT_TIMEOUT_MS": 1000,
         "BROADCASTER_STALL_TIMEOUT_MS": 700,
         "BROADCASTER_STAGE_TIMEOUT_MS": 1500}


class Plain(Scenario):

    def setUp(self):
        super().setUp()
        self.data = payload(700000)

    def url(self, target, rest="/in/box?a=b"):
        return f"http://{target.address}{rest}"

    def part(self, leg):
        """The file in a form that a target got."""
        boundary = re.search("boundary=(.*)", leg.headers["content-type"])[1]
        head_, rest = bytes(leg.body).split(b"\r\n\r\n", 1)
        self.assertTrue(head_.startswith(f"--{boundary}\r\n".encode()))
        end = f"\r\n--{boundary}--\r\n".encode()
        self.assertTrue(rest.endswith(end))
        return head_.decode(), rest[:-len(end)]

    def test_one_PUT_with_the_whole_body(self):
        reader, plain = self.fault(), self.fault(script.plain)
        front = self.broadcaster([reader, "box=" + self.url(plain)])
        answer = self.put(front, self.data)
        self.assertEqual(answer.status, 201, answer)
        leg = plain.puts()[0]
        self.assertEqual(leg.target, "/in/box?a=b")
        self.assertEqual(leg.sha256, sha256(self.data))
        self.assertEqual(answer.target("box")["state"], "committed")
        self.assertIn("plain endpoint", answer.target("box")["note"])

    def test_chunked_when_the_length_is_unknown(self):
        plain = self.fault(script.plain)
        front = self.broadcaster([self.url(plain)])
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             "Transfer-Encoding: chunked"),
                        chunk(self.data[:1000]), chunk(self.data[1000:]),
                        LAST_CHUNK)
            self.assertEqual(client.response().status, 201)
        self.assertEqual(plain.puts()[0].sha256, sha256(self.data))

    def test_empty_bodies(self):
        for fields, body in (("Content-Length: 0", b""),
                             ("Transfer-Encoding: chunked", LAST_CHUNK)):
            plain, form = self.fault(script.plain), self.fault()
            front = self.broadcaster([self.url(plain),
                                      self.url(form, "/up#form=f")])
            with Client(front.port) as client:
                client.send(head("PUT", "/broadcast/x", fields), body)
                self.assertEqual(client.response().status, 201)
            self.assertEqual(plain.puts()[0].size, 0)
            self.assertTrue(plain.puts()[0].terminated)
            self.assertEqual(self.part(form.requests("POST")[0])[1], b"")

    def test_a_form_as_Go_Stream_Broadcast_reads_it(self):
        form = self.fault()
        front = self.broadcaster([self.url(form, "/upload#form=file")])
        path = self.folder / 'a "b" é.bin'
        path.write_bytes(self.data)
        for args in (["-T", path], ["-T", "-"], ["-F", f"x=@{path}"]):
            curl = Curl(*args, f"http://127.0.0.1:{front.port}/broadcast/"
                        if "-T" in args else
                        f"http://127.0.0.1:{front.port}/broadcast",
                        stdin=self.data)
            self.assertEqual(curl.status, 201, curl)
            head_, content = self.part(form.requests("POST")[-1])
            self.assertEqual(content, self.data)
            self.assertIn('name="file"', head_)
            self.assertRegex(head_, 'filename="[^"]+"')

    def test_the_end_is_held_back_when_a_reader_fails(self):
        for spoil in (script.refuse_after_body(500), script.fin_at(600000)):
            reader = self.fault(spoil)
            plain, form = self.fault(script.plain), self.fault()
            front = self.broadcaster([reader, self.url(plain),
                                      self.url(form, "/up#form=f")], **QUICK)
            answer = self.put(front, self.data)
            self.assertEqual(answer.status, 502, answer)
            self.assertFalse(plain.wait_ended().terminated)
            self.assertEqual(len(form.requests("POST")), 1)
            self.assertFalse(form.requests("POST")[0].terminated)

    def test_readers_withdraw_when_a_plain_endpoint_fails_at_its_end(self):
        reader = self.fault()
        plain = self.fault(script.refuse_after_body(507))
        front = self.broadcaster([reader, self.url(plain)], **QUICK)
        answer = self.put(front, self.data)
        self.assertEqual(answer.status, 502, answer)
        self.assertEqual(answer.target(reader.name)["state"], "aborted")
        self.assertEqual(reader.committed, {})
        self.assertEqual(len(reader.deletes()), 1)

    def test_a_form_of_several_files_sends_each_whole(self):
        plain = self.fault(script.plain)
        front = self.broadcaster([self.url(plain)],
                                 BROADCASTER_BUFFER_SIZE=4096)
        contents = [payload(n, seed=n + 1) for n in (0, 1, 5000, 300000)]
        args = []
        for i, content in enumerate(contents):
            path = self.folder / f"{i}.dat"
            path.write_bytes(content)
            args += ["-F", f"f=@{path}"]
        curl = Curl(*args, f"http://127.0.0.1:{front.port}/broadcast")
        self.assertEqual(curl.status, 201, curl)
        self.assertEqual(sorted(leg.sha256 for leg in plain.puts()),
                         sorted(hashlib.sha256(c).hexdigest()
                                for c in contents))
