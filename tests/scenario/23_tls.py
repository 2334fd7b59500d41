"""Plain endpoints over TLS: verified, byte-exact, also when they read slowly."""
import hashlib
import socket
import ssl
import threading
import time

import certificates
from client import LAST_CHUNK, Client, chunk, head
from harness import Scenario, payload, sha256

QUICK = {"BROADCASTER_CONNECT_TIMEOUT_MS": 2000,
         "BROADCASTER_STALL_TIMEOUT_MS": 3000,
         "BROADCASTER_STAGE_TIMEOUT_MS": 3000}


class TlsEndpoint:
    """Takes one PUT a connection; `pause` seconds between small reads."""

    def __init__(self, certificate, key, pause=0.0):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.context = context
        self.pause = pause
        self.bodies = []
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen(16)
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                sock = self.sock.accept()[0]
                threading.Thread(target=self.serve, args=(sock,),
                                 daemon=True).start()
        except OSError:
            pass

    def serve(self, sock):
        try:
            with self.context.wrap_socket(sock, server_side=True) as tls:
                self.take(tls.makefile("rwb", buffering=0), tls)
        except (OSError, ValueError):
            pass

    def line(self, stream):
        line = b""
        while not line.endswith(b"\r\n"):
            byte = stream.read(1)
            if not byte:
                raise OSError("closed")
            line += byte
        return line[:-2]

    def read(self, stream, n):
        data = b""
        while len(data) < n:
            time.sleep(self.pause)
            piece = stream.read(min(n - len(data), 16384))
            if not piece:
                raise OSError("closed")
            data += piece
        return data

    def take(self, stream, tls):
        fields = {}
        self.line(stream)
        while line := self.line(stream):
            name, value = line.split(b":", 1)
            fields[name.lower()] = value.strip()
        tls.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if b"content-length" in fields:
            body = self.read(stream, int(fields[b"content-length"]))
        else:
            body = b""
            while size := int(self.line(stream), 16):
                body += self.read(stream, size)
                self.line(stream)
            self.line(stream)
        self.bodies.append(body)
        tls.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    def close(self):
        self.sock.close()


class Tls(Scenario):

    def setUp(self):
        super().setUp()
        self.data = payload(900000)
        self.authority = certificates.Authority(self.folder)
        self.ca = self.authority.certificate

    def endpoint(self, name="server", **kwargs):
        certificate = self.authority.issue(name, **{
            k: kwargs.pop(k) for k in ("host",) if k in kwargs})
        peer = TlsEndpoint(certificate, certificate.with_suffix(".key"),
                           **kwargs)
        self.addCleanup(peer.close)
        return peer

    def front(self, peer, trusted=True, **settings):
        trust = {"BROADCASTER_CA_FILE": self.ca} if trusted else {}
        return self.broadcaster([f"https://127.0.0.1:{peer.port}/in"], **QUICK,
                                **trust, **settings)

    def test_a_body_of_known_length_and_a_chunked_one(self):
        peer = self.endpoint()
        front = self.front(peer)
        self.assertEqual(self.put(front, self.data).status, 201)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             "Transfer-Encoding: chunked"),
                        chunk(self.data[:5]), chunk(self.data[5:]), LAST_CHUNK)
            self.assertEqual(client.response().status, 201)
        self.assertEqual([sha256(b) for b in peer.bodies],
                         [sha256(self.data)] * 2)

    def test_a_slow_reader_gets_every_byte_in_either_framing(self):
        peer = self.endpoint(pause=0.004)
        front = self.front(peer, BROADCASTER_SEND_BUFFER=4096,
                           BROADCASTER_BUFFER_SIZE=3000)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             "Transfer-Encoding: chunked"))
            for at in range(0, len(self.data), 7000):
                client.send(chunk(self.data[at:at + 7000]))
            client.send(LAST_CHUNK)
            self.assertEqual(client.response().status, 201)
        self.assertEqual(self.put(front, self.data).status, 201)
        self.assertEqual([hashlib.sha256(b).hexdigest() for b in peer.bodies],
                         [sha256(self.data)] * 2)

    def test_an_unknown_authority_is_refused(self):
        answer = self.put(self.front(self.endpoint(), trusted=False), b"x")
        self.assertEqual(answer.status, 503, answer)
        self.assertRegex(answer.data["targets"][0]["error"].lower(),
                         "certificate")

    def test_another_host_name_is_refused(self):
        peer = self.endpoint(host="DNS:elsewhere.example")
        answer = self.put(self.front(peer), b"x")
        self.assertEqual(answer.status, 503, answer)
        self.assertRegex(answer.data["targets"][0]["error"].lower(),
                         "certificate|name|match")

    def test_a_handshake_that_never_ends_is_given_up(self):
        silent = self.fault()
        front = self.broadcaster([f"https://{silent.address}/in"], **QUICK)
        answer = self.put(front, b"x")
        self.assertEqual(answer.status, 503, answer)
