"""postgres_proxy.py - between a reader and its database, to lose what they say

    proxy = Proxy(cluster.port)
    proxy.lose_answer(b"\\0COMMIT\\0")     what is asked so is done, but the answer
                                         and the connection are lost, once
    proxy.lose_request(b"\\0COMMIT\\0")    it does not even arrive
    proxy.lose_request(words, 2)         twice
    database.env() | {"DB_PORT": proxy.port}

A prepared statement NAME is run by a message with b"\\0NAME\\0" in it.

    front = TlsFront(cluster.port, certificate)     speaks TLS for a server that
                                                    does not, in large records
"""
import select
import socket
import ssl
import struct
import threading
import time

RST = struct.pack("ii", 1, 0)
ENDS = (b"Z\0\0\0\5",        # the server has finished, and with it a transaction
        b"G\0\0\0")          # it takes rows


class Proxy:
    """`delay`: seconds for which it holds back what a client says first."""

    def __init__(self, port, delay=0.0):
        self.target = port
        self.delay = delay
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.words = None
        self.is_answer = False
        self.n_left = 0
        self.n_lost = 0
        self.sockets = []
        threading.Thread(target=self.serve, daemon=True).start()

    def lose_answer(self, words, times=1):
        self.lose(words, True, times)

    def lose_request(self, words, times=1):
        self.lose(words, False, times)

    def lose(self, words, is_answer, times):
        with self.lock:
            self.words, self.is_answer = words, is_answer
            self.n_left, self.n_lost = times, 0

    def close(self):
        with self.lock:
            self.n_left = 0
            for sock in [self.listener, *self.sockets]:
                cut(sock)

    # ---- threads ------------------------------------------------------------

    def serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with self.lock:
                self.sockets += [client, server]
            lost = threading.Event()
            for args in ((client, server, True, lost),
                         (server, client, False, lost)):
                threading.Thread(target=self.forward, args=args,
                                 daemon=True).start()

    def is_to_lose(self, data):
        """Whether these bytes hold the words."""
        with self.lock:
            if self.n_left == 0 or self.words not in data:
                return False
            self.n_left -= 1
            self.n_lost += 1
            return True

    def forward(self, source, sink, is_client, lost):
        try:
            if is_client:
                time.sleep(self.delay)
            while data := source.recv(65536):
                if is_client and self.is_to_lose(data):
                    lost.set()
                    if not self.is_answer:
                        break
                if lost.is_set() and not is_client:
                    if any(end in data for end in ENDS):
                        break
                    continue
                sink.sendall(data)
        except OSError:
            pass
        cut(source)
        cut(sink)


class TlsFront:
    """A server's own records have 8 KiB at most; those of what stands before it
    (pooler, tunnel) may have the 16 KiB that TLS allows (RFC 8446, 5.1)."""

    RECORD = 16384

    def __init__(self, port, certificate):
        self.target = port
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate,
                                     certificate.with_suffix(".key"))
        self.n_full = 0         # records of full size, towards the client
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def close(self):
        cut(self.listener)

    def serve(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.relay, args=(client,),
                             daemon=True).start()

    def relay(self, client):
        """SSLRequest is answered with S (manual, 55.2.11)."""
        try:
            client.recv(8, socket.MSG_WAITALL)
            client.sendall(b"S")
            with self.context.wrap_socket(client, server_side=True) as tls, \
                    socket.create_connection(("127.0.0.1", self.target)) as it:
                while self.pass_on(tls, it):
                    pass
        except OSError:
            pass

    def pass_on(self, tls, server):
        """What either says; False at an end."""
        ready = [tls] if tls.pending() else select.select([tls, server], [],
                                                          [])[0]
        if tls in ready:
            data = tls.recv(65536)
            server.sendall(data)
            return bool(data)
        data = self.gather(server)
        self.n_full += len(data) == self.RECORD
        tls.sendall(data)
        return bool(data)

    def gather(self, server):
        """A record's worth, or what comes within 5 ms."""
        data = server.recv(self.RECORD)
        while 0 < len(data) < self.RECORD and \
                select.select([server], [], [], 0.005)[0]:
            more = server.recv(self.RECORD - len(data))
            if not more:
                break
            data += more
        return data


def cut(sock):
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    sock.close()
