"""A reader with the postgres store runs out of memory at the n-th allocation."""
import importlib

import postgres
from client import PATIENCE, get, wait_until

malloc = importlib.import_module("61_malloc")
Reader = malloc.ReaderMalloc
request, ID, DATA, OTHER = (malloc.request, malloc.ID, malloc.DATA,
                            malloc.OTHER)


class PostgresMalloc(Reader):
    """The tests of every reader, and connecting anew."""

    # libgssapi_krb5 1.20 itself crashes when it is out of memory; a password
    # takes thousands of allocations of OpenSSL's, the local socket needs none.
    def start(self):
        self.database = postgres.shared().trust_socket().create_database()
        self.box = self.reader(
            READER_BUFFER_SIZE=16384, READER_STAGED_TTL=1,
            READER_DISK_THREADS=1, READER_STORE="postgres",
            READER_FILE_DIR=None, READER_DB_CONNECTIONS=2,
            READER_DB_TIMEOUT_MS=5000, PGGSSENCMODE="disable",
            **{**self.database.env(),
               "DB_HOST": self.database.cluster.folder}, **self.failing())
        for i in range(3):
            self.store(ID % (0xfff000 + i), OTHER)
        self.form(0)
        self.fds = self.box.fds() + 2       # its connections come and go

    def check(self, n, answers):
        """A connection that could not be made is tried again after a while."""
        self.assertTrue(self.box.is_running(), f"died at {n}")
        wait_until(lambda: get(self.box.port, "/readyz").status == 200,
                   "the database is asked again")
        super().check(n, answers)

    def assert_staging_empties(self, *readers):
        """Soon, but for rows without bytes that nobody heard of: at the
        restart."""
        self.assert_none("object WHERE state = 4 OR "
                         "state IN (1, 2) AND n_slices > 0")
        self.assert_none("chunk WHERE object NOT IN (SELECT key FROM "
                         "stream_broadcast.object)")
        self.assertEqual(self.box.stop(), 0)
        self.box.restart().wait_ready()
        self.assert_none("object WHERE state <> 3")

    def assert_none(self, what):
        wait_until(lambda: self.database.value(
            f"SELECT count(*) FROM stream_broadcast.{what}") == "0",
            f"no {what} is left", 30 * PATIENCE)

    def test_an_object_over_new_connections(self):
        self.start()

        def upload(n):
            self.database.query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE usename = 'reader' AND datname = current_database() AND "
                "pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = "
                "'advisory')")
            return self.upload(n)
        self.each_n(upload, self.check)
        self.assert_sources(self.box)
        self.assert_staging_empties(self.box)


del Reader      # its tests are run from its own file
