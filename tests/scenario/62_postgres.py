"""The postgres store: whole or not at all, whatever the database does."""
import base64
import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import certificates
import postgres
from client import (LAST_CHUNK, Client, Closed, chunk, fetch, get, head,
                    wait_until)
from harness import Reader, Scenario, payload, sha256, slow
from object_api import ID, PATCH_TYPE, commit, digest_field, stage
from postgres_proxy import Proxy, TlsFront
from preload import SlowResolver

MIGRATIONS = "1396786499, 0"    # the advisory lock of who migrates
CHUNK = 8112            # bytes of a row: PG_CHUNK_BYTES
MIB = 1 << 20
# Kills the first connection that it finds flushing the log.
HUNT = """DO $$ BEGIN LOOP
    PERFORM pg_stat_clear_snapshot();
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE state = 'active' AND usename = 'reader'
        AND query LIKE '%pg_logical_emit_message%';
    EXIT WHEN FOUND;
END LOOP; END $$"""

# The backend that COPYs comes to row 64 and stays there until halt is empty.
HALT = """
CREATE TABLE public.halt AS SELECT 64 AS row;
GRANT SELECT ON public.halt TO reader;
CREATE FUNCTION public.wait_at_halt() RETURNS trigger AS $$ BEGIN
    WHILE EXISTS (SELECT FROM public.halt WHERE row = NEW.seq) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
    RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER halt BEFORE INSERT ON stream_broadcast.chunk
    FOR EACH ROW EXECUTE FUNCTION public.wait_at_halt()"""


def error_response(*fields):
    """ErrorResponse (manual, 55.7)."""
    data = b"".join(field.encode() + b"\0" for field in fields) + b"\0"
    return b"E" + struct.pack("!I", len(data) + 4) + data


def refuse_late(listener, delay):
    """A server that is starting up, and takes its time to say so."""
    try:
        while True:
            with listener.accept()[0] as peer:
                peer.recv(1000)
                time.sleep(delay)
                peer.sendall(error_response(
                    "SFATAL", "VFATAL", "C57P03",
                    "Mthe database system is starting up"))
    except OSError:
        pass


class PgScenario(Scenario):
    """A scenario with a database of its own, on the shared server."""

    cluster_settings = None     # those of a private server

    def setUp(self):
        super().setUp()
        if self.cluster_settings is None:
            self.cluster = postgres.shared()
        else:
            self.cluster = postgres.Cluster(**self.cluster_settings).start()
            self.addCleanup(self.cluster.remove)
        self.database = self.cluster.create_database()

    def pg_reader(self, database=None, **settings):
        database = database or self.database
        return self.reader(**{**database.env(), "READER_STORE": "postgres",
                              "READER_FILE_DIR": None, **settings})

    def store(self, reader, object_id, data, *fields):
        answer = stage(reader, object_id, data, *fields)
        self.assertEqual(answer.status, 200, answer)
        answer = commit(reader, object_id, data)
        self.assertEqual(answer.status, 201, answer)

    def expect_refusal(self, *words, **settings):
        box = self.pg_reader(wait=False, READER_DB_START_TIMEOUT_MS=0,
                             **settings)
        box.may_fail = True
        self.assertNotEqual(box.wait(), 0)
        for word in words:
            self.assertIn(word, box.log())

    def hold(self, sql):
        """Keep locks that a query takes, until the process ends."""
        holder = subprocess.Popen(
            [str(postgres.bindir() / "psql"), "-qAt", self.database.url()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(holder.stdout.close)
        holder.stdin.write(f"SET search_path TO stream_broadcast; BEGIN; {sql};\n")
        holder.stdin.flush()
        self.assertNotEqual(int(holder.stdout.readline()), 0)
        return holder

    @staticmethod
    def let_go(holder):
        holder.kill()
        holder.wait()

    def wait_for_a_round(self, database=None):
        """The dead are looked for at its end: when a second one is gone, the round
        of the first is over."""
        database = database or self.database
        dead = "stream_broadcast.instance WHERE id = 1000000"
        for _ in range(2):
            database.query("INSERT INTO stream_broadcast.instance (id) "
                           "OVERRIDING SYSTEM VALUE VALUES (1000000)")
            self.cluster.query("SELECT pg_terminate_backend(pid) FROM "
                               "pg_locks WHERE locktype = 'advisory'")
            wait_until(lambda: database.value(f"SELECT count(*) FROM {dead}")
                       == "0", "it is looked at", timeout=90)

    def rows(self, what="object", where="true"):
        return int(self.database.value(f"SELECT count(*) FROM "
                                       f"stream_broadcast.{what} WHERE {where}"))

    def assert_clean(self, n_objects=0):
        """Only what is committed has rows, soon."""
        def is_clean():
            return (self.rows("object", "state <> 3"),
                    self.rows("object", "state = 3"),
                    self.rows("chunk", "object NOT IN (SELECT key FROM "
                              "stream_broadcast.object WHERE state = 3)")
                    ) == (0, n_objects, 0)
        wait_until(is_clean, "nothing is left of what was not committed", 30)


class Api(PgScenario):
    """What every store does, through a real database."""

    def test_sizes_around_a_row_come_back_byte_for_byte(self):
        box = self.pg_reader(READER_DB_SLICE_BYTES="64K")
        for i, size in enumerate((0, 1, CHUNK - 1, CHUNK, CHUNK + 1,
                                  2 * CHUNK, 64 * CHUNK - 1, 64 * CHUNK + 1,
                                  3 * MIB + 17)):
            data = payload(size, seed=i)
            self.store(box, ID % i, data)
            self.assert_stored(box, ID % i, data)
        self.assert_clean(9)

    def test_a_database_on_this_machine_is_reached_by_its_unix_socket(self):
        box = self.pg_reader(**self.database.local_env())
        data = payload(3 * MIB + 17)
        self.store(box, ID % 1, data)
        self.assert_stored(box, ID % 1, data)
        self.assertEqual(self.database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader' "
            "AND datname = current_database() AND client_addr IS NOT NULL"),
            "0")
        self.assert_clean(1)

    def test_slices_are_as_large_as_they_are_set(self):
        box = self.pg_reader(READER_DB_SLICE_BYTES="64K")
        self.store(box, ID % 1, payload(4 * MIB))
        n_slices = int(self.database.value(
            "SELECT n_slices FROM stream_broadcast.object"))
        self.assertGreater(n_slices, 8)     # each ends with a write
        self.assertLessEqual(n_slices, 65)

    def test_every_kind_of_range_is_exact(self):
        box = self.pg_reader()
        data = payload(100 * CHUNK + 5)
        self.store(box, ID % 1, data)
        last = len(data) - 1
        for first, end in ((0, 0), (0, CHUNK - 1), (0, CHUNK), (1, 2),
                           (CHUNK - 1, CHUNK), (CHUNK, CHUNK),
                           (8 * CHUNK - 1, 8 * CHUNK), (5, 70 * CHUNK + 3),
                           (last, last), (0, last), (100 * CHUNK, last),
                           (0, CHUNK - 2), (3, 9 * CHUNK - 2),
                           (3, 9 * CHUNK), (0, last - 1)):
            answer = box.content(ID % 1, f"Range: bytes={first}-{end}")
            self.assertEqual(answer.status, 206)
            self.assertEqual(answer.headers["content-range"],
                             f"bytes {first}-{end}/{len(data)}")
            self.assertEqual(sha256(answer.body),
                             sha256(data[first:end + 1]), (first, end))
        self.assertEqual(box.content(ID % 1, "Range: bytes=-7").body,
                         data[-7:])
        self.assertEqual(
            box.content(ID % 1, f"Range: bytes={len(data)}-").status, 416)

    def test_what_is_cut_off_is_resumed_where_it_stopped(self):
        box = self.pg_reader()
        data = payload(10 * CHUNK + 100)
        offset = 0
        stage(box, ID % 1, data[:5])
        for end in (5, 6, CHUNK, CHUNK + 3, 3 * CHUNK, len(data)):
            if end == 5:
                offset = end
                continue
            answer = fetch(box.port, "PATCH", f"/objects/{ID % 1}",
                           f"Upload-Offset: {offset}", PATCH_TYPE,
                           body=data[offset:end])
            self.assertEqual(answer.status, 204, answer)
            offset = end
        self.assertEqual(commit(box, ID % 1, data).status, 201)
        self.assert_stored(box, ID % 1, data)
        self.assert_clean(1)

    def test_an_upload_that_ends_in_the_middle_leaves_nothing(self):
        box = self.pg_reader(READER_DB_SLICE_BYTES="64K")
        client = Client(box.port)
        client.send(head("PUT", f"/objects/{ID % 1}",
                         "Content-Length: 9000000"), payload(4000000))
        wait_until(lambda: self.rows("chunk"), "chunks are there")
        self.assert_nothing_visible(box)
        client.reset()
        self.assert_clean()

    def test_a_slow_client_holds_no_connection_and_no_transaction(self):
        box = self.pg_reader(READER_DB_CONNECTIONS=1)
        data = payload(4 * CHUNK)
        with Client(box.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"),
                        data[:2 * CHUNK + 9])
            wait_until(lambda: self.rows("chunk") == 2,
                       "an idle slice is committed")
            self.store(box, ID % 2, b"meanwhile")
            client.send(data[2 * CHUNK + 9:])
            self.assertEqual(client.response().status, 200)
        self.assertEqual(commit(box, ID % 1, data).status, 201)
        self.assert_stored(box, ID % 1, data)

    def test_a_player_that_stops_holds_no_connection_and_no_memory(self):
        box = self.pg_reader(READER_DB_CONNECTIONS=1,
                             READER_WRITE_TIMEOUT_MS=60000)
        data = payload(16 * MIB)
        self.store(box, ID % 1, data)
        self.assert_stored(box, ID % 1, data)
        alone = box.rss()
        players = [Client(box.port, receive_buffer=4096) for _ in range(8)]
        for player in players:
            player.request("GET", f"/objects/{ID % 1}")
            player.take(1000)
        self.store(box, ID % 2, b"others go on")
        before = box.rss()
        idle = ("SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' "
                "AND usename = 'reader'")
        wait_until(lambda: self.database.value(idle) == "0",
                   "no transaction is open")
        self.assertLess(box.rss() - before, 4 * MIB)
        # Of the 16 MiB that each has asked for, three or four slices are there.
        self.assertLess(box.rss() - alone, len(players) * 2 * MIB)
        for player in players:
            player.close()
        self.assert_stored(box, ID % 1, data)

    def test_deleting_during_a_playback_cuts_it_short_visibly(self):
        box = self.pg_reader()
        data = payload(64 * MIB)
        self.store(box, ID % 1, data)
        with Client(box.port, receive_buffer=4096) as player:
            player.request("GET", f"/objects/{ID % 1}")
            player.take(1000)
            answer = fetch(box.port, "DELETE", f"/objects/{ID % 1}")
            self.assertEqual(answer.status, 204)
            self.assertLess(1000 + len(player.rest()), len(data))
        self.assert_clean()

    def test_metadata_and_mistyped_words_are_found(self):
        box = self.pg_reader()
        for i, name in enumerate(("Bohemian Rhapsody.flac", "A Night at the "
                                  "Opera.flac", "100%_sure.txt", "naïve.txt")):
            self.store(box, ID % i, payload(10, seed=i),
                       "Content-Disposition: attachment; filename*=UTF-8''" +
                       "".join(f"%{b:02x}" for b in name.encode()))

        def names(query):
            answer = get(box.port, f"/objects?q={query}")
            self.assertEqual(answer.status, 200, answer)
            return [o["name"] for o in answer.json()["objects"]]
        self.assertEqual(names("bohemain"), ["Bohemian Rhapsody.flac"])
        self.assertEqual(names("rhapsod"), ["Bohemian Rhapsody.flac"])
        self.assertEqual(names("hemia"), ["Bohemian Rhapsody.flac"])
        self.assertEqual(names("OPERA"), ["A Night at the Opera.flac"])
        self.assertEqual(names("100%25_s"), ["100%_sure.txt"])
        self.assertEqual(names("NA%C3%8FVE"), ["naïve.txt"])
        self.assertEqual(names("zzzz"), [])
        for hostile in ("'%20OR%201=1--", "%25a", "_%25", "%5C", "%27;DROP%20TABLE"
                        "%20object;--", "$9", "%24%24", "%EF%BF%BD",
                        "naive%27%20OR%20%27x%27%20LIKE%20%27", "%25%25%25",
                        "___", "%5C%5C%5C", "%25%27%20--"):
            for sort in ("relevance", "name"):
                self.assertEqual(names(f"{hostile}&sort={sort}"), [], hostile)
        for part in ("%25", "_", "%25_", "$1"):
            self.assertEqual(names(part),
                             [] if part == "$1" else ["100%_sure.txt"], part)
        self.assertEqual(get(box.port, "/objects?q=%00").status, 400)
        self.assertEqual(len(box.objects()), 4)

    def test_signs_of_a_pattern_stand_for_themselves(self):
        """What they would match as such has too little in common to be similar."""
        box = self.pg_reader()
        titles = ("100%_sure", "a100bbbcccs", "abc_def", "xabcydefx",
                  "abc\\def", "xabcdefx")
        for i, title in enumerate(titles):
            self.assertEqual(stage(box, ID % i, b"x").status, 200)
            text = base64.b64encode(title.encode()).decode()
            answer = commit(box, ID % i, b"x", f"Upload-Metadata: title {text}")
            self.assertEqual(answer.status, 201, answer)
        for query, found in (("100%25_s", [0]), ("abc_d", [2, 4]),
                             ("bc_de", [2]), ("abc%5Cd", [4, 2]),
                             ("bc%5Cde", [4]), ("bcy%25ef", [])):
            for sort, wanted in (("relevance", found), ("id", sorted(found)),
                                 ("name", sorted(found))):
                answer = get(box.port, f"/objects?q={query}&sort={sort}")
                self.assertEqual(answer.status, 200, answer)
                self.assertEqual([o["id"] for o in answer.json()["objects"]],
                                 [ID % i for i in wanted], (query, sort))

    def test_pages_by_relevance_go_on_from_what_contains_to_what_is_similar(
            self):
        box = self.pg_reader()
        titles = ["Love Song", "Lovely Day", "Glove", "Live Long", "All Of Love",
                  "Lov Sing", "Opera", "My Love", "Loove Song", "Lobe"]
        for i, title in enumerate(titles):
            self.store(box, ID % i, payload(10, seed=i), "Content-Disposition: "
                       f"attachment; filename=\"{title}.mp3\"",
                       "Content-Type: audio/mpeg")
        everything = ("/objects?q=love&type=audio/*&from=2020-01-01&until="
                      "2999-01-01&min_size=10&max_size=10&limit=")

        def walk(limit):
            found, after = [], ""
            while True:
                answer = get(box.port, f"{everything}{limit}{after}")
                self.assertEqual(answer.status, 200, answer)
                page = answer.json()
                self.assertLessEqual(len(page["objects"]), limit)
                found += page["objects"]
                if page["next"] is None:
                    return found
                after = f"&after={page['next']}"
        whole = walk(100)
        n = sum("love" in title.lower() for title in titles)
        self.assertEqual([("love" in o["name"].lower(), o["score"] == 1)
                          for o in whole], [(True, True)] * n +
                         [(False, False)] * (len(whole) - n))
        self.assertIn("Loove Song.mp3", [o["name"] for o in whole[n:]])
        self.assertNotIn("Opera.mp3", [o["name"] for o in whole])
        self.assertEqual(whole, sorted(whole, key=lambda o: (-o["score"],
                                                             o["id"])))
        for limit in (1, 2, n - 1, n, n + 1, len(whole)):
            self.assertEqual(walk(limit), whole, limit)


class Flushes(PgScenario):
    """The log goes to disk beside a COPY, as optional work."""

    # With fsync a flush takes long enough to be found.
    cluster_settings = {"log_statement": "all", "fsync": "on"}

    def upload_and_count(self, n_mib, **settings):
        """Flushes that the server was asked for during an upload."""
        box = self.pg_reader(**settings)
        data = payload(n_mib * MIB)
        self.store(box, ID % 1, data)
        self.assert_stored(box, ID % 1, data)
        return self.cluster.log().count("pg_logical_emit_message")

    def test_a_large_upload_is_flushed_while_it_comes(self):
        count = self.upload_and_count(32)
        self.assertGreater(count, 1)
        self.assertLessEqual(count, 9)      # prepared, and every 4 MiB

    def test_uploads_of_several_threads_are(self):
        """Six at once; the kernel decides on how many of the two threads."""
        box = self.pg_reader(READER_THREADS=2)
        blobs = {ID % i: payload(32 * MIB, seed=i) for i in range(6)}
        uploads = [threading.Thread(target=stage, args=(box, *blob))
                   for blob in blobs.items()]
        for upload in uploads:
            upload.start()
        for upload in uploads:
            upload.join()
        for object_id, data in blobs.items():
            self.assertEqual(commit(box, object_id, data).status, 201)
            self.assert_stored(box, object_id, data)
        said = [line for line in self.cluster.log().splitlines()
                if "pg_logical_emit_message" in line]
        self.assertGreater(len(said), 2)
        # 192 MiB of one thread, or shared by two, which both count from zero
        self.assertLessEqual(len(said), 192 // 4 + 2)

    def test_a_small_upload_is_not(self):
        self.assertEqual(self.upload_and_count(3), 0)

    def test_it_can_be_turned_off(self):
        self.assertEqual(self.upload_and_count(32, READER_DB_FLUSH="false"), 0)

    def test_its_connection_is_closed_soon_after(self):
        box = self.pg_reader(READER_DB_CONNECTIONS=1)
        self.store(box, ID % 1, payload(32 * MIB))
        self.assertIn("pg_logical_emit_message", self.cluster.log())
        wait_until(lambda: len(self.database.backends()) == 2,
                   "the house and one for all else are left", 30)

    def test_a_server_that_refuses_it_is_not_asked_all_the_time(self):
        self.database.query("REVOKE EXECUTE ON FUNCTION pg_logical_emit_message"
                            "(boolean, text, text) FROM PUBLIC")
        box = self.pg_reader()
        data = payload(64 * MIB)
        self.store(box, ID % 1, data)
        self.assert_stored(box, ID % 1, data)
        self.assertEqual(self.cluster.log().count("permission denied"), 1)
        [line] = box.log_lines("database_flush")
        self.assertIn("permission denied", line)

    def test_a_server_without_a_connection_to_spare_stores_all_the_same(self):
        box = self.pg_reader()
        self.database.query(f'ALTER DATABASE "{self.database.name}" '
                            "CONNECTION LIMIT 2")
        self.cluster.query("SELECT pg_terminate_backend(pid) FROM "
                           "pg_stat_activity WHERE usename = 'reader'")
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "the reader is ready again", 30)
        data = payload(64 * MIB)
        for i in range(1, 4):
            self.store(box, ID % i, data)
            self.assert_stored(box, ID % i, data)
        self.assert_clean(3)
        [line] = box.log_lines("database_flush")
        self.assertIn("too many connections", line)

    def test_a_flush_that_is_killed_costs_nothing(self):
        box = self.pg_reader()
        data = payload(64 * MIB)
        hunter = threading.Thread(target=lambda: self.cluster.query(HUNT))
        hunter.start()
        with Client(box.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"))
            for at in range(0, len(data), MIB):
                client.send(data[at:at + MIB])
                if not hunter.is_alive():
                    break
            self.assertFalse(hunter.is_alive())     # it has found one
            client.send(data[at + MIB:])
            self.assertEqual(client.response().status, 200)
        hunter.join()
        self.assertIn("terminating connection", self.cluster.log())
        self.assertEqual(commit(box, ID % 1, data).status, 201)
        self.assert_stored(box, ID % 1, data)


class Removal(PgScenario):
    """What nobody can see any more goes in the background."""

    cluster_settings = {}

    def remove_while_locked(self, box):
        """A committed object and a staged one; both are gone at once, and their
        chunks when what is returned is told to COMMIT."""
        data = payload(3 * CHUNK)
        self.store(box, ID % 1, data)
        self.assertEqual(stage(box, ID % 2, data).status, 200)
        holder = self.hold("SELECT count(*) FROM (SELECT FROM chunk FOR UPDATE) "
                           "AS c")
        for i in (1, 2):
            answer = fetch(box.port, "DELETE", f"/objects/{ID % i}")
            self.assertEqual(answer.status, 204, answer)
            self.assertEqual(box.content(ID % i).status, 404)
        self.assertEqual(self.rows("chunk"), 6)
        return holder

    def test_what_nobody_commits_expires(self):
        """Staged, and staged and appended to."""
        box = self.pg_reader(READER_STAGED_TTL=1)
        data = payload(3 * CHUNK)
        self.store(box, ID % 1, data)
        self.assertEqual(stage(box, ID % 2, data).status, 200)
        self.assertEqual(stage(box, ID % 3, data).status, 200)
        answer = fetch(box.port, "PATCH", f"/objects/{ID % 3}",
                       f"Upload-Offset: {len(data)}", PATCH_TYPE, body=data)
        self.assertEqual(answer.status, 204, answer)
        self.assertGreater(self.rows("chunk"), 3)
        self.assert_clean(1)
        self.assertEqual(self.rows("chunk"), 3)
        self.assertEqual(commit(box, ID % 2, data).status, 404)
        self.assert_stored(box, ID % 1, data)

    def test_a_deletion_does_not_wait_for_the_bytes(self):
        box = self.pg_reader()
        self.remove_while_locked(box).communicate("COMMIT;\n")
        self.assert_clean()

    def test_a_reader_that_is_killed_meanwhile_removes_them_later(self):
        box = self.pg_reader()
        holder = self.remove_while_locked(box)
        box.kill()
        holder.communicate("COMMIT;\n")
        wait_until(lambda: self.cluster.value(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'")
            == "0", "its sessions ended")
        box.restart().wait_ready()
        self.assert_clean()

    def test_what_many_deletions_left_is_removed_part_by_part(self):
        self.pg_reader().stop()
        self.database.query("""
            INSERT INTO stream_broadcast.object (owner, id, state, name,
                content_type)
            SELECT 1, gen_random_uuid(), 4, '', '' FROM generate_series(1, 2500);
            INSERT INTO stream_broadcast.chunk
                SELECT key, 0, 'bytes' FROM stream_broadcast.object""")
        box = self.pg_reader()
        self.assert_clean()
        removed = [int(re.search(r"objects=(\d+)", line)[1])
                   for line in box.log_lines("removed")]
        self.assertEqual(sum(removed), 2500)
        self.assertLessEqual(max(removed), 1000)

    def test_an_id_may_be_used_again_before_its_bytes_are_gone(self):
        box, data = self.pg_reader(), payload(5 * CHUNK, seed=2)
        holder = self.remove_while_locked(box)
        self.store(box, ID % 1, data)
        holder.communicate("COMMIT;\n")
        self.assert_clean(1)
        self.assert_stored(box, ID % 1, data)


# Found before pg_trgm's own: searches wait here until the gate is gone.
GATE = """
ALTER EXTENSION pg_trgm SET SCHEMA public;
CREATE TABLE stream_broadcast.gate (shut boolean);
INSERT INTO stream_broadcast.gate VALUES (true);
CREATE SEQUENCE stream_broadcast.calls;
CREATE FUNCTION stream_broadcast.word_similarity(text, text) RETURNS real
LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    PERFORM nextval('stream_broadcast.calls');
    WHILE EXISTS (SELECT FROM stream_broadcast.gate) LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
    RETURN 0.5;
END $$"""


class SlowSearches(PgScenario):
    """Searches that take their time are nobody else's affair."""

    def setUp(self):
        super().setUp()
        self.box = self.pg_reader(READER_THREADS=1)
        self.store(self.box, ID % 1, b"x", "Content-Disposition: attachment; "
                   "filename=\"Bohemian Rhapsody.flac\"")
        self.database.query(GATE)

    def calls(self):
        return int(self.database.value(
            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END "
            "FROM stream_broadcast.calls"))

    def open_gate(self):
        self.database.query("DELETE FROM stream_broadcast.gate")

    def search(self, n):
        """n clients that search at the same time; they wait."""
        clients = [Client(self.box.port) for _ in range(n)]
        for client in clients:
            self.addCleanup(client.close)
            client.request("GET", "/objects?q=bohemain")
        wait_until(lambda: self.calls() >= 2, "searches run")
        return clients

    def test_uploads_and_players_find_a_connection_beside_searches(self):
        clients = self.search(16)
        self.store(self.box, ID % 2, b"meanwhile")
        self.assert_stored(self.box, ID % 2, b"meanwhile")
        self.assertEqual(self.calls(), 2)   # a quarter of the connections
        self.open_gate()
        for client in clients:
            answer = client.response()
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(len(answer.json()["objects"]), 1)

    def test_a_search_waits_for_its_turn_no_longer_than_for_a_connection(self):
        self.box.stop()
        self.box.settings["READER_DB_CONNECT_TIMEOUT_MS"] = 2000
        self.box.restart().wait_ready()
        clients = self.search(5)
        wait_until(lambda: sum(c.can_read(0) for c in clients) == 3,
                   "three are sent away")
        self.open_gate()
        self.assertEqual(sorted(c.response().status for c in clients),
                         [200, 200, 503, 503, 503])
        self.assertEqual(self.calls(), 2)


class SearchPlans(PgScenario):
    """What the server does for the reader's own searches, as it says itself."""

    cluster_settings = {"session_preload_libraries": "auto_explain",
                        "auto_explain.log_min_duration": 0}

    def fill(self):
        """Enough objects that an index is worth its while, three to be found."""
        self.database.query("""
            INSERT INTO stream_broadcast.object (owner, id, state, size, name,
                content_type) SELECT 1, gen_random_uuid(), 3, i,
                CASE i % 10000 WHEN 1 THEN 'Bohemian Rhapsody ' || i
                ELSE md5(i::text) END, 'audio/flac'
                FROM generate_series(1, 30000) AS i;
            ANALYZE stream_broadcast.object""")

    def plan(self, box, query):
        """How its rows were found: the lines of what the server explains."""
        begin = len(self.cluster.log())
        answer = get(box.port, f"/objects?q={query}")
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(len(answer.json()["objects"]), 3)
        said = self.cluster.log()[begin:].split("LOG:  duration:")
        [plan] = [text for text in said if "lower($2" in text and
                  "Query Text:" in text]
        return plan.splitlines()

    def test_every_part_of_a_search_goes_through_the_index(self):
        """What contains the query, and what is similar to it."""
        box = self.pg_reader()
        self.fill()
        for query in ("rhapsod", "bohemain", "rhapsod&sort=name",
                      "bohemain&sort=size&order=desc",
                      "rhapsod&type=audio/*&min_size=1"):
            with self.subTest(query=query):
                plan = self.plan(box, query)
                used = [line for line in plan
                        if "Index Scan on object_search" in line]
                self.assertEqual(len(used), 2, plan)
                others = [line for line in plan if "Seq Scan on object" in line
                          or "Scan using object_" in line]
                self.assertEqual(others, [], plan)


class TwoWriters(PgScenario):
    """Rows 52, 77 and 78: the same identifier at the same time."""

    def test_two_readers_of_one_database_publish_an_object_once(self):
        boxes = [self.pg_reader(), self.pg_reader()]
        for i in range(20):
            blobs = [payload(20000, seed=i), payload(20000, seed=i + 1000)]
            for box, blob in zip(boxes, blobs):
                self.assertEqual(stage(box, ID % i, blob).status, 200)
            answers = [None, None]

            def publish(k, box, blob, i=i, answers=answers):
                answers[k] = commit(box, ID % i, blob)
            threads = [threading.Thread(target=publish, args=(k, box, blob))
                       for k, (box, blob) in enumerate(zip(boxes, blobs))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(sorted(a.status for a in answers), [201, 409],
                             answers)
            won = blobs[[a.status for a in answers].index(201)]
            for box in boxes:
                self.assert_stored(box, ID % i, won)
        self.assert_clean(20)

    def test_the_same_content_may_be_committed_by_both(self):
        boxes = [self.pg_reader(), self.pg_reader()]
        data = payload(50000)
        for box in boxes:
            self.assertEqual(stage(box, ID % 1, data).status, 200)
        self.assertEqual(commit(boxes[0], ID % 1, data).status, 201)
        self.assertIn(commit(boxes[1], ID % 1, data).status, (200, 201))
        self.assert_stored(boxes[1], ID % 1, data)
        self.assert_clean(1)

    def test_head_finds_what_another_reader_has_committed(self):
        """Though this one holds a copy that nobody will ever commit."""
        other, box = self.pg_reader(), self.pg_reader()
        front = self.broadcaster([box])
        paths = {box: f"/objects/{ID % 1}", front: f"/media/{ID % 1}"}
        self.assertEqual(stage(box, ID % 1, b"xx").status, 200)
        answer = fetch(box.port, "HEAD", paths[box])
        self.assertEqual(answer.headers["upload-offset"], "2")
        self.assertEqual(fetch(front.port, "HEAD", paths[front]).status, 404)
        self.store(other, ID % 1, b"xxx")
        for program, path in paths.items():
            for method in ("GET", "HEAD"):
                answer = fetch(program.port, method, path)
                self.assertEqual(answer.status, 200)
                self.assertEqual(answer.headers["content-length"], "3")
                self.assertNotIn("upload-offset", answer.headers)
        fetch(box.port, "DELETE", paths[box])   # a stop would wait for it


class Start(PgScenario):
    """Migrations, wrong settings, servers that are not there yet."""

    def test_three_readers_start_at_once_on_an_empty_database(self):
        """All three are about to migrate it; one does, the others wait."""
        holder = self.hold(f"SELECT 1 FROM pg_advisory_lock({MIGRATIONS})")
        boxes = [self.pg_reader(wait=False) for _ in range(3)]
        wait_until(lambda: self.n_waiting() == 3, "all three wait")
        self.assertEqual(self.database.value(
            "SELECT to_regnamespace('stream_broadcast') IS NULL"), "t")
        self.let_go(holder)
        for box in boxes:
            box.wait_ready()
        self.assertEqual(sum(len(box.log_lines("event=migration"))
                             for box in boxes), 1)
        self.assertEqual(self.rows("migration"), 1)
        self.assertEqual(self.rows("instance"), 3)
        self.store(boxes[0], ID % 1, b"one")
        self.assert_stored(boxes[2], ID % 1, b"one")

    def n_waiting(self):
        return int(self.database.value(
            "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = "
            "database WHERE locktype = 'advisory' AND NOT granted AND "
            f"(classid, objid) = ({MIGRATIONS}) AND datname = "
            "current_database()"))

    def test_a_first_migration_that_failed_is_made_again(self):
        """As where pg_trgm is not installed yet."""
        self.database.query("""
            CREATE FUNCTION public.refuse() RETURNS event_trigger AS $$ BEGIN
                RAISE EXCEPTION 'no such extension'; END $$ LANGUAGE plpgsql;
            CREATE EVENT TRIGGER refuse ON ddl_command_start
                WHEN TAG IN ('CREATE EXTENSION')
                EXECUTE FUNCTION public.refuse()""")
        self.expect_refusal("no such extension")
        self.assertEqual(self.database.value(
            "SELECT to_regnamespace('stream_broadcast') IS NULL"), "t")
        self.database.query("DROP EVENT TRIGGER refuse")
        self.store(self.pg_reader(), ID % 1, b"one")
        self.assert_clean(1)

    def test_what_an_older_reader_left_of_a_first_migration_is_no_obstacle(
            self):
        self.database.query("""
            SET ROLE reader; CREATE SCHEMA stream_broadcast;
            CREATE TABLE stream_broadcast.migration (number integer PRIMARY KEY,
                applied_at timestamptz NOT NULL DEFAULT now())""")
        self.store(self.pg_reader(), ID % 1, b"one")
        self.assert_clean(1)

    def test_a_schema_that_was_made_for_it_is_enough(self):
        self.database.query(f"""
            ALTER DATABASE "{self.database.name}" OWNER TO postgres;
            CREATE EXTENSION pg_trgm;
            CREATE SCHEMA stream_broadcast AUTHORIZATION reader""")
        self.store(self.pg_reader(), ID % 1, b"one")
        self.assert_clean(1)

    def test_a_newer_schema_stops_the_start(self):
        self.pg_reader().stop()
        self.database.query("INSERT INTO stream_broadcast.migration "
                            "VALUES (999)")
        self.expect_refusal("999", "newer")

    def test_what_is_wrong_with_the_settings_is_said(self):
        self.expect_refusal("password authentication failed",
                            DB_PASSWORD="wrong")
        self.expect_refusal("does not exist", DB_NAME="nowhere")
        self.expect_refusal("not known", DB_HOST="no-such-host.invalid")
        self.expect_refusal("Connection refused", DB_PORT=self.dead_port())

    def test_a_refusal_in_another_language_stops_the_start(self):
        """The server speaks German; only its SQLSTATE can be understood."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            box = self.pg_reader(wait=False, PGSSLMODE="disable",
                                 PGGSSENCMODE="disable",
                                 DB_PORT=listener.getsockname()[1])
            box.may_fail = True
            with listener.accept()[0] as peer:
                peer.recv(1000)
                peer.sendall(error_response(
                    "SFATAL", "VFATAL", "C28P01", "MPasswort-Authentifizierung "
                    "für Benutzer »reader« fehlgeschlagen"))
            self.assertNotEqual(box.wait(), 0)
        self.assertIn("fehlgeschlagen", box.log())
        self.assertEqual(box.log_lines("database_down"), [])

    def test_what_pgoptions_says_counts(self):
        role = f"owner_of_{self.database.name}"
        self.database.query(
            f'CREATE ROLE "{role}"; GRANT "{role}" TO reader; '
            f'GRANT CREATE ON DATABASE "{self.database.name}" TO "{role}"')
        box = self.pg_reader(PGOPTIONS=f"-c role={role} -c search_path=none")
        self.store(box, ID % 1, b"one")
        self.assertEqual(self.database.value(
            "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = "
            "'stream_broadcast'"), role)
        self.assert_clean(1)

    def test_a_time_limit_of_idle_sessions_does_not_take_the_lock(self):
        self.database.query(f'ALTER DATABASE "{self.database.name}" SET '
                            "idle_session_timeout = 100")
        box = self.pg_reader()
        holder = ("SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = "
                  "database WHERE locktype = 'advisory' AND datname = "
                  "current_database()")
        [[before]] = self.database.query(holder)
        with subprocess.Popen(
                [str(postgres.bindir() / "psql"), "-qAt", self.database.url()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True) as other:
            other.stdin.write("SELECT pg_backend_pid();\n")
            other.stdin.flush()
            pid = int(other.stdout.readline())
            wait_until(lambda: pid not in self.database.backends(),
                       "another session is ended by the limit")
        self.assertEqual(self.database.query(holder), [[before]])
        self.store(box, ID % 1, b"one")

    def test_a_server_that_starts_later_is_waited_for(self):
        cluster = postgres.Cluster().start()
        self.addCleanup(cluster.remove)
        database = cluster.create_database()
        cluster.stop()
        box = self.pg_reader(database, wait=False)
        wait_until(lambda: box.log_lines("database_down"), "it is said")
        cluster.start()
        box.wait_ready()

    def test_libpq_variables_work_as_well(self):
        env = self.database.env()
        box = self.reader(READER_STORE="postgres", READER_FILE_DIR=None,
                          PGHOST=env["DB_HOST"], PGPORT=env["DB_PORT"],
                          PGDATABASE=env["DB_NAME"], PGUSER=env["DB_USER"],
                          PGPASSWORD=env["DB_PASSWORD"])
        self.store(box, ID % 1, b"one")
        self.assert_clean(1)


class Encrypted(PgScenario):
    """The server speaks TLS and proves who it is."""

    def setUp(self):
        super().setUp()
        self.cluster = postgres.Cluster().start()
        self.addCleanup(self.cluster.remove)
        self.authority = certificates.Authority(self.cluster.folder)
        certificate = self.authority.issue("server")
        key = certificate.with_suffix(".key")
        key.chmod(0o600)
        for path in (certificate, key):
            self.cluster.give(path)
        self.cluster.settings.update(ssl="on", ssl_cert_file=certificate,
                                     ssl_key_file=key)
        self.cluster.restart()
        self.database = self.cluster.create_database()

    def encrypted(self):
        """Of the reader's connections, which are encrypted."""
        return {row for [row] in self.database.query(
            "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity "
            f"USING (pid) WHERE usename = '{postgres.ROLE}'")}

    def test_objects_of_many_sizes_come_back_byte_for_byte(self):
        box = self.pg_reader(PGSSLMODE="verify-full",
                             PGSSLROOTCERT=self.authority.certificate)
        for i, size in enumerate((0, 1, CHUNK, 16384, 3 * MIB + 7, 40 * MIB)):
            data = payload(size, seed=i)
            self.store(box, ID % i, data)
            self.assert_stored(box, ID % i, data)
            self.assertEqual(self.encrypted(), {"t"})
        self.assert_clean(6)

    def test_a_player_that_pauses_gets_every_byte(self):
        data = payload(20 * MIB)
        box = self.pg_reader(PGSSLMODE="require")
        self.store(box, ID % 1, data)
        with Client(box.port, receive_buffer=4096) as player:
            player.request("GET", f"/objects/{ID % 1}")
            self.assertEqual(player.take_head()[0], 200)
            body = player.take(100000)
            self.store(box, ID % 2, b"meanwhile")
            body += player.take(len(data) - len(body))
        self.assertEqual(sha256(body), sha256(data))

    def test_large_records_are_read_to_their_end(self):
        """What is left in a record that was read makes no socket readable."""
        front = TlsFront(self.cluster.port,
                         self.cluster.folder / "server.pem")
        self.addCleanup(front.close)
        box = self.pg_reader(PGSSLMODE="require", DB_PORT=front.port,
                             READER_DB_TIMEOUT_MS=5000)
        note = base64.b64encode(b"n" * 2000).decode()
        title = base64.b64encode(b"t" * 500).decode()
        for i in range(48):
            answer = stage(box, ID % i, b"x")
            self.assertEqual(answer.status, 200, answer)
            answer = commit(box, ID % i, b"x", f"Upload-Metadata: "
                            f"note {note},title {title}")
            self.assertEqual(answer.status, 201, answer)
        for n in range(1, 49):  # the last record of an answer has any size
            answer = get(box.port, f"/objects?limit={n}")
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(len(answer.json()["objects"]), n)
        self.assertGreater(front.n_full, 50)
        data = payload(10 * MIB)
        self.store(box, ID % 99, data)
        self.assert_stored(box, ID % 99, data)

    def test_a_server_that_cannot_prove_it_stops_the_start(self):
        stranger = certificates.Authority(self.folder, "stranger")
        self.expect_refusal("certificate verify failed",
                            PGSSLMODE="verify-full",
                            PGSSLROOTCERT=stranger.certificate)


class Hosts(PgScenario):
    """More than one server may be named, and services of libpq's."""

    def test_a_list_of_hosts_is_tried_in_order(self):
        env = self.database.env()
        box = self.pg_reader(
            DB_HOST="no-such-host.invalid,127.0.0.1,localhost",
            DB_PORT=f"1,{self.dead_port()},{env['DB_PORT']}")
        self.store(box, ID % 1, b"one")
        self.assert_clean(1)

    def test_a_list_of_hosts_may_have_one_port(self):
        box = self.pg_reader(DB_HOST="no-such-host.invalid,127.0.0.1")
        self.store(box, ID % 1, b"one")
        self.assert_clean(1)
        self.assertIn("no-such-host.invalid",
                      box.log_lines("database_host_unknown")[0])

    def test_a_host_that_is_silent_is_passed_over(self):
        """It takes connections and says nothing; each address has its time."""
        with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
            port = silent.getsockname()[1]
            box = self.pg_reader(
                DB_HOST="127.0.0.1,127.0.0.1,127.0.0.1", PGSSLMODE="disable",
                DB_PORT=f"{self.dead_port()},{port},"
                        f"{self.database.env()['DB_PORT']}",
                READER_DB_CONNECT_TIMEOUT_MS=500)
            self.store(box, ID % 1, b"one")
            self.cut_pool()     # a list has to wait for a connection
            wait_until(lambda: len(self.database.backends()) == 1,
                       "only the house is left")
            self.assertEqual([*box.objects()], [ID % 1])
            self.assert_clean(1)
        silences = box.log_lines("database_host_silent")
        self.assertIn(f"port={port}", silences[0])

    def test_a_name_that_is_looked_up_for_ever_does_not_block_the_loop(self):
        resolver = SlowResolver(self.folder / "gate")
        self.addCleanup(resolver.open_gate)
        resolver.open_gate()        # at first it is unknown, and passed over
        box = self.pg_reader(DB_HOST="no-such-host.invalid,127.0.0.1",
                             READER_DB_CONNECTIONS=1,
                             READER_DB_CONNECT_TIMEOUT_MS=1000,
                             **resolver.environment)
        self.store(box, ID % 1, b"one")
        resolver.shut_gate()
        self.cut_pool()
        wait_until(lambda: get(box.port, "/readyz").status == 503 and
                   resolver.is_asked(), "the name is looked up")
        for _ in range(10):
            self.assertEqual(get(box.port, "/healthz").status, 200)
        answer = get(box.port, "/readyz")
        self.assertEqual(answer.status, 503, answer)
        self.assertRegex(answer.json()["detail"], "resolving|looked up")
        resolver.open_gate()
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "it is ready again", 30)
        self.assert_stored(box, ID % 1, b"one")

    def cut_pool(self):
        """End the sessions of this database but that of the house."""
        self.cluster.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            f"WHERE usename = '{postgres.ROLE}' AND datname = "
            f"'{self.database.name}' AND pid NOT IN (SELECT pid FROM "
            "pg_locks WHERE locktype = 'advisory')")

    def test_each_address_has_its_time(self):
        """Neither is silent for half a second, both together are."""
        proxy = Proxy(self.cluster.port, delay=0.3)
        self.addCleanup(proxy.close)
        with socket.create_server(("127.0.0.1", 0), backlog=64) as starting:
            threading.Thread(target=refuse_late, args=(starting, 0.3),
                             daemon=True).start()
            box = self.pg_reader(
                DB_HOST="127.0.0.1,127.0.0.1", PGSSLMODE="disable",
                DB_PORT=f"{starting.getsockname()[1]},{proxy.port}",
                READER_DB_CONNECT_TIMEOUT_MS=500)
            self.store(box, ID % 1, b"one")
            self.assertEqual(box.log_lines("database_host_silent"), [])
        self.assert_clean(1)

    def test_a_socket_that_is_silent_is_not_overruled_by_an_address(self):
        port = self.database.env()["DB_PORT"]
        # Neither a socket's path nor what is said of it can be long.
        folder = tempfile.mkdtemp(prefix="silent-")
        self.addCleanup(shutil.rmtree, folder)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(f"{folder}/.s.PGSQL.{port}")
            silent.listen(64)
            for hosts, words in (
                    (folder, ("did not answer", folder[:80])),
                    (f"127.0.0.2,{folder}", ("127.0.0.2", "refused"))):
                self.expect_refusal(*words, DB_HOST=hosts,
                                    PGHOSTADDR="127.0.0.1", PGSSLMODE="disable",
                                    READER_DB_CONNECT_TIMEOUT_MS=300)

    def test_hosts_that_are_all_silent_are_said_to_be(self):
        with socket.create_server(("127.0.0.1", 0), backlog=64) as silent:
            port = silent.getsockname()[1]
            self.expect_refusal("did not answer in time", str(port),
                                DB_PORT=port, PGSSLMODE="disable",
                                READER_DB_CONNECT_TIMEOUT_MS=300)

    def test_a_socket_is_not_overruled_by_an_address(self):
        box = self.pg_reader(DB_HOST=self.cluster.folder,
                             PGHOSTADDR="127.0.0.2", PGSSLMODE="disable")
        self.store(box, ID % 1, b"one")
        self.assertEqual(self.database.query(
            "SELECT DISTINCT client_addr IS NULL FROM pg_stat_activity "
            f"WHERE usename = '{postgres.ROLE}'"), [["t"]])

    def test_hosts_that_are_all_unknown_are_named(self):
        self.expect_refusal("no-such-host.invalid", "not known",
                            DB_HOST="no-such-host.invalid,nor-this.invalid")

    def test_a_list_of_ports_that_does_not_fit_is_refused(self):
        self.expect_refusal("2 ports", "1 hosts", DB_PORT="1,2")
        self.expect_refusal("2 ports", "3 hosts", DB_PORT="1,2",
                            DB_HOST="127.0.0.1,127.0.0.1,127.0.0.1")
        self.expect_refusal("2 ports", "1 hosts", DB_PORT="1,2", DB_HOST=None,
                            PGHOSTADDR="127.0.0.1")

    def test_the_server_that_takes_writes_is_found(self):
        """A replica that comes first is passed over, as libpq is told to."""
        cluster = postgres.Cluster(wal_level="replica", max_wal_senders=4,
                                   hot_standby="on").start()
        self.addCleanup(cluster.remove)
        self.database = cluster.create_database()
        self.pg_reader().stop()
        replica = cluster.replica()
        self.addCleanup(replica.remove)
        box = self.pg_reader(DB_HOST="127.0.0.1,127.0.0.1",
                             DB_PORT=f"{replica.port},{cluster.port}",
                             PGTARGETSESSIONATTRS="read-write")
        self.store(box, ID % 1, b"one")
        self.assert_clean(1)

    def test_a_service_names_all_of_it(self):
        env = self.database.env()
        services = self.folder / "services"
        services.write_text("[media]\n" + "".join(
            f"{word}={env[name]}\n" for word, name in (
                ("host", "DB_HOST"), ("port", "DB_PORT"),
                ("dbname", "DB_NAME"), ("user", "DB_USER"),
                ("password", "DB_PASSWORD"))))
        box = self.reader(READER_STORE="postgres", READER_FILE_DIR=None,
                          PGSERVICE="media", PGSERVICEFILE=services)
        self.store(box, ID % 1, b"one")
        self.assert_clean(1)


class Faults(PgScenario):
    """Rows 46 to 53, each on a server of its own."""

    cluster_settings = {}

    def start_upload(self, box, object_id, sent, size):
        client = Client(box.port)
        client.send(head("PUT", f"/objects/{object_id}",
                         f"Content-Length: {size}"), sent)
        wait_until(lambda: self.rows("chunk"), "chunks are there")
        return client

    def expect_failure(self, client, rest):
        """The upload is answered with 5xx, or its connection ends."""
        try:
            client.send(rest)
        except OSError:
            pass
        try:
            answer = client.response()
            self.assertGreaterEqual(answer.status, 500, answer)
            return answer
        except Closed:
            return None

    def restart_in_the_middle(self, stop):
        """While bytes flow all the time; what is answered has to be true."""
        box = self.pg_reader(READER_DB_SLICE_BYTES="256K")
        self.store(box, ID % 1, b"kept")
        data = payload(16 * MIB)
        client = self.start_upload(box, ID % 2, data[:MIB], len(data))
        answers = []
        sender = threading.Thread(target=lambda: answers.append(
            self.finish(client, data[MIB:])))
        sender.start()
        stop()
        self.cluster.start()
        sender.join()
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "the reader is ready again", 30)
        if answers[0] is not None and answers[0].status == 200:
            self.assertEqual(commit(box, ID % 2, data).status, 201)
            self.assert_stored(box, ID % 2, data)
        else:
            self.assert_clean(1)
            self.store(box, ID % 2, data)
        self.assert_stored(box, ID % 1, b"kept")
        self.assert_stored(box, ID % 2, data)

    def finish(self, client, rest):
        """Send the rest in small pieces; the answer, or None."""
        try:
            for at in range(0, len(rest), 65536):
                client.send(rest[at:at + 65536])
        except OSError:
            pass
        try:
            return client.response()
        except Closed:
            return None

    def test_an_upload_that_waits_survives_a_restart(self):
        box = self.pg_reader(READER_DB_SLICE_BYTES="64K")
        data = payload(4 * MIB)
        client = self.start_upload(box, ID % 1, data[:2 * MIB], len(data))
        wait_until(lambda: self.rows("chunk") == 2 * MIB // CHUNK,
                   "all slices are committed")
        self.cluster.restart("fast")
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "the reader is ready again", 30)
        client.send(data[2 * MIB:])
        self.assertEqual(client.response().status, 200)
        self.assertEqual(commit(box, ID % 1, data).status, 201)
        self.assert_stored(box, ID % 1, data)

    def test_a_slice_that_a_crash_lost_fails_its_object(self):
        """As if the last asynchronous commits had not reached the disk."""
        box = self.pg_reader(READER_DB_SLICE_BYTES="64K")
        data = payload(4 * MIB)
        client = self.start_upload(box, ID % 1, data[:2 * MIB], len(data))
        wait_until(lambda: self.rows("chunk") == 2 * MIB // CHUNK,
                   "all slices are committed")
        self.database.query(
            "BEGIN; DELETE FROM stream_broadcast.chunk WHERE seq >= 100; "
            "UPDATE stream_broadcast.object SET n_slices = n_slices - 1; COMMIT")
        answer = self.expect_failure(client, data[2 * MIB:])
        self.assertIn("gone from the database", answer.json()["detail"])
        self.assert_clean()

    def test_a_fast_restart_in_the_middle_leaves_nothing(self):
        self.restart_in_the_middle(lambda: self.cluster.stop("fast"))

    def test_an_immediate_stop_in_the_middle_leaves_nothing(self):
        self.restart_in_the_middle(lambda: self.cluster.stop("immediate"))

    def test_a_crash_in_the_middle_leaves_nothing(self):
        self.restart_in_the_middle(self.cluster.kill9)

    def test_readyz_says_why_and_recovers(self):
        box = self.pg_reader()
        self.cluster.stop()
        wait_until(lambda: get(box.port, "/readyz").status == 503,
                   "it has noticed")
        self.assertIn(b"database", get(box.port, "/readyz").body)
        self.expect_try_later(box, "Connection refused")
        self.cluster.start()
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "it is ready again", 30)
        self.store(box, ID % 1, b"x")

    def expect_try_later(self, box, *words):
        """Row 46: whatever is asked, before a byte of a body."""
        with Client(box.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}", "Content-Length: 10",
                             "Expect: 100-continue"))
            answers = [client.response()]
        self.assertEqual(answers[0].interim, [])
        answers += [get(box.port, f"/objects/{ID % 1}"),
                    box.content(ID % 1), get(box.port, "/objects"),
                    fetch(box.port, "DELETE", f"/objects/{ID % 1}")]
        for answer in answers:
            self.assertEqual(answer.status, 503, answer)
            self.assertIn("retry-after", answer.headers)
            for word in words:
                self.assertIn(word, answer.json()["detail"])

    def test_a_password_that_is_wrong_later_is_503(self):
        box = self.pg_reader()
        self.cluster.query("ALTER ROLE reader PASSWORD 'another'; "
                           "SELECT pg_terminate_backend(pid) FROM "
                           "pg_stat_activity WHERE usename = 'reader'")
        wait_until(lambda: get(box.port, "/readyz").status == 503,
                   "it has noticed")
        self.expect_try_later(box, "password authentication failed")
        self.cluster.query("ALTER ROLE reader PASSWORD "
                           f"'{postgres.PASSWORD}'")
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "it is ready again", 30)
        self.store(box, ID % 1, b"x")

    def test_a_server_that_says_nothing_is_503(self):
        """It takes connections, as one whose postmaster has stopped."""
        box = self.pg_reader(READER_DB_CONNECT_TIMEOUT_MS=500)
        self.cluster.pause(self.cluster.pid)
        self.addCleanup(self.cluster.resume, self.cluster.pid)
        self.cut_pool()
        # A connection that has just broken may still be asked.
        self.assertEqual(get(box.port, f"/objects/{ID % 1}").status, 503)
        self.expect_try_later(box, "in time")
        self.cluster.resume(self.cluster.pid)
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "it is ready again", 30)
        self.store(box, ID % 1, b"x")

    def cut_pool(self):
        """Sessions of readers end, without a session of our own."""
        lines = {pid: pathlib.Path(f"/proc/{pid}/cmdline")
                 for pid in self.cluster.processes()}
        pids = [pid for pid, line in lines.items()
                if "reader" in line.read_text()]
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        # The stopped postmaster does not reap them, but their ends are closed.
        wait_until(lambda: not any(lines[pid].read_text() for pid in pids),
                   "the sessions have ended")

    def stop_in_the_middle(self):
        """The backend that takes rows, stopped while more of them come."""
        [[pid]] = wait_until(lambda: self.cluster.query(
            "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
            "AND query LIKE '%COPY chunk%' AND usename = 'reader'"),
            "COPY has come to the row")
        backend = int(pid)
        self.cluster.pause(backend)
        self.addCleanup(self.cluster.resume, backend)
        self.database.query("DELETE FROM public.halt")
        return backend

    def test_a_stopped_backend_is_back_pressure_and_quorum_goes_on(self):
        slow_box = self.pg_reader(READER_DB_TIMEOUT_MS=60000,
                                  READER_DB_CONNECTIONS=1)
        good = self.readers(2)
        front = self.broadcaster([slow_box, *good], BROADCASTER_QUORUM=2,
                                 BROADCASTER_LAG_TIMEOUT_MS=1000)
        data = payload(64 * MIB)
        self.store(slow_box, ID % 1, data[:4 * MIB])    # its memory is warm
        self.database.query(HALT)
        before = slow_box.rss()
        client = self.upload(front)
        sender = threading.Thread(target=client.send, args=(
            head("PUT", "/broadcast/x.bin", f"Content-Length: {len(data)}"),
            data))
        sender.start()
        backend = self.stop_in_the_middle()
        sender.join()
        answer = client.response()
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(sorted(answer.states().values()),
                         ["committed", "committed", "detached"])
        self.assertLess(slow_box.rss("VmHWM") - before, 4 * MIB)
        self.cluster.resume(backend)
        self.assert_clean(1)

    def test_a_stopped_backend_holds_its_client_back(self):
        box = self.pg_reader(READER_DB_TIMEOUT_MS=60000,
                             READER_DB_CONNECTIONS=1)
        data = payload(32 * MIB)
        self.store(box, ID % 2, data[:4 * MIB])     # its memory is warm
        self.database.query(HALT)
        before = box.rss()
        with Client(box.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"))
            sender = threading.Thread(target=client.send, args=(data,))
            sender.start()
            backend = self.stop_in_the_middle()
            sender.join(2)      # who is not held back is done with it long since
            self.assertTrue(sender.is_alive())
            self.assertLess(box.rss("VmHWM") - before, 4 * MIB)
            self.cluster.resume(backend)
            sender.join()
            self.assertEqual(client.response().status, 200)
        self.assertLess(box.rss("VmHWM") - before, 8 * MIB)
        self.assertEqual(commit(box, ID % 1, data).status, 201)
        self.assert_stored(box, ID % 1, data)

    def test_a_backend_that_hangs_fails_the_object_in_time(self):
        box = self.pg_reader(READER_DB_TIMEOUT_MS=2000,
                             READER_DB_CONNECTIONS=1)
        data = payload(64 * MIB)
        self.database.query(HALT)
        client = Client(box.port)
        self.addCleanup(client.close)
        client.send(head("PUT", f"/objects/{ID % 1}",
                         f"Content-Length: {len(data)}"))
        answers = []
        sender = threading.Thread(target=lambda: answers.append(
            self.expect_failure(client, data)))
        sender.start()
        backend = self.stop_in_the_middle()
        sender.join()
        self.assertEqual(answers[0].status, 500, answers)
        self.assertIn("in time (copy", answers[0].json()["detail"])
        self.cluster.resume(backend)
        self.assert_clean()

    def test_a_backend_that_is_slow_is_waited_for(self):
        """The sockets hold more than it takes in the time for the next bytes."""
        for host in ("127.0.0.1", str(self.cluster.folder)):
            with self.subTest(host=host):
                box = self.pg_reader(self.cluster.create_database(),
                                     READER_DB_TIMEOUT_MS=1000, DB_HOST=host)
                self.be_slow(box)
                data = payload(4 * MIB)
                self.store(box, ID % 1, data)
                self.assert_stored(box, ID % 1, data)

    def be_slow(self, box):
        """About 1.3 MB/s."""
        name = box.settings["DB_NAME"]
        self.cluster.query("""
            CREATE FUNCTION public.wait() RETURNS trigger AS $$ BEGIN
                PERFORM pg_sleep(0.006); RETURN NEW;
            END $$ LANGUAGE plpgsql;
            CREATE TRIGGER wait BEFORE INSERT ON stream_broadcast.chunk
                FOR EACH ROW EXECUTE FUNCTION public.wait()""", name)

    def test_a_killed_backend_fails_its_object_only(self):
        box = self.pg_reader(READER_DB_CONNECTIONS=2)
        data = payload(8 * MIB)
        client = Client(box.port)
        client.send(head("PUT", f"/objects/{ID % 1}",
                         f"Content-Length: {len(data)}"), data[:MIB])
        copying = ("SELECT pid FROM pg_stat_activity WHERE state = 'active' "
                   "AND query LIKE '%COPY chunk%' AND usename = 'reader'")
        [[pid]] = wait_until(lambda: self.cluster.query(copying),
                             "COPY runs")
        self.cluster.query(f"SELECT pg_terminate_backend({pid})")
        self.expect_failure(client, data[MIB:])
        self.store(box, ID % 2, data)
        self.assert_stored(box, ID % 2, data)
        self.assert_clean(1)

    def test_out_of_connections_is_503_before_a_byte(self):
        box = self.pg_reader(READER_DB_CONNECTIONS=4)
        self.database.query(
            f'ALTER DATABASE "{self.database.name}" CONNECTION LIMIT 1')
        self.cluster.query("SELECT pg_terminate_backend(pid) FROM "
                           "pg_stat_activity WHERE usename = 'reader'")
        blocker = subprocess.Popen(
            [str(postgres.bindir() / "psql"), self.database.url()],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        self.addCleanup(blocker.wait)
        self.addCleanup(blocker.stdin.close)
        wait_until(lambda: self.reader_sessions() == 1, "the place is taken")
        self.expect_try_later(box, "connections")

    def reader_sessions(self):
        return int(self.cluster.value(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'reader'"))

    def test_an_unknown_outcome_of_the_commit_is_settled(self):
        """Row 53: the backend dies while the commit waits, in every way."""
        box = self.pg_reader(READER_DB_CONNECTIONS=2)
        for i in range(5):
            data = payload(1000, seed=i)
            self.assertEqual(stage(box, ID % i, data).status, 200)
            locker = subprocess.Popen(
                [str(postgres.bindir() / "psql"), "-q", self.database.url()],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            locker.stdin.write("BEGIN; SELECT * FROM stream_broadcast.object "
                               f"WHERE id = '{ID % i}' FOR UPDATE;\n")
            locker.stdin.flush()
            wait_until(lambda: self.database.value(
                "SELECT count(*) FROM pg_locks WHERE mode = 'RowShareLock' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = "
                "current_database())") != "0", "the row is locked")
            with Client(box.port) as client:
                client.request("POST", f"/objects/{ID % i}/commit",
                               digest_field(data), body=b"")
                waiting = ("SELECT pid FROM pg_stat_activity WHERE "
                           "wait_event_type = 'Lock' AND usename = 'reader'")
                [[pid]] = wait_until(lambda: self.cluster.query(waiting),
                                     "the commit waits")
                self.cluster.query(f"SELECT pg_terminate_backend({pid})")
                locker.communicate("COMMIT;\n")
                answer = client.response()
            self.assertEqual(answer.status, 201, answer)
            self.assert_stored(box, ID % i, data)
        self.assert_clean(5)

    def test_a_commit_that_the_server_wants_again_is_repeated(self):
        """Serialization failures, deadlocks: SQLSTATE class 40."""
        box = self.pg_reader()
        data = payload(1000)
        self.assertEqual(stage(box, ID % 1, data).status, 200)
        self.database.query("""
            CREATE SEQUENCE public.attempt;
            GRANT USAGE ON SEQUENCE public.attempt TO reader;
            CREATE FUNCTION public.fail_twice() RETURNS trigger AS $$ BEGIN
                IF NEW.state = 3 AND nextval('public.attempt') < 3 THEN
                    RAISE EXCEPTION 'again' USING ERRCODE = '40001';
                END IF; RETURN NEW; END $$ LANGUAGE plpgsql;
            CREATE TRIGGER fail_twice BEFORE UPDATE ON stream_broadcast.object
                FOR EACH ROW EXECUTE FUNCTION public.fail_twice()""")
        self.assertEqual(commit(box, ID % 1, data).status, 201)
        self.assertEqual(self.database.value(
            "SELECT last_value FROM public.attempt"), "3")
        self.assert_stored(box, ID % 1, data)

    def test_a_killed_reader_leaves_nothing_after_its_restart(self):
        """Row 69, for what was received and what was staged."""
        box = self.pg_reader(READER_DB_SLICE_BYTES="64K")
        self.store(box, ID % 1, b"kept")
        stage(box, ID % 2, payload(100000))
        client = self.start_upload(box, ID % 3, payload(4 * MIB), 8 * MIB)
        box.kill()
        client.close()
        self.assertGreater(self.rows("object", "state <> 3"), 0)
        wait_until(lambda: self.reader_sessions() == 0, "its sessions ended")
        box.restart().wait_ready()
        self.assert_clean(1)
        wait_until(lambda: self.rows("instance") == 1, "only it is left")
        self.assert_stored(box, ID % 1, b"kept")

    def test_a_living_reader_keeps_what_it_has_when_another_starts(self):
        first = self.pg_reader()
        data = payload(100000)
        stage(first, ID % 1, data)
        self.pg_reader()
        self.assertEqual(commit(first, ID % 1, data).status, 201)
        self.assert_stored(first, ID % 1, data)


class Instances(PgScenario):
    """Readers of one database that take each other for dead."""

    cluster_settings = {}

    def lose_lock(self):
        """The session ends that says that the newest reader lives."""
        self.cluster.query(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = "
            "'advisory' ORDER BY objid DESC LIMIT 1")

    def test_a_commit_while_others_clean_up_is_whole_or_refused(self):
        """The other one is in the middle of removing it."""
        data = payload(50000)
        box = self.pg_reader()
        self.assertEqual(stage(box, ID % 1, data).status, 200)
        holder = self.hold("SELECT count(*) FROM (SELECT FROM chunk "
                           "FOR UPDATE) AS c")
        box.signal(signal.SIGSTOP)
        self.lose_lock()
        other = self.pg_reader()
        wait_until(lambda: self.n_waiting() == 1, "it is being removed")
        box.signal(signal.SIGCONT)
        answer = commit(box, ID % 1, data)
        self.assertEqual(answer.status, 500, answer)
        self.assertIn("gone from the database", answer.json()["detail"])
        self.assertGreater(self.rows("chunk"), 0)
        holder.communicate("COMMIT;\n")
        self.assert_clean()
        self.store(box, ID % 1, data)
        self.assert_stored(other, ID % 1, data)

    def test_what_is_committed_before_its_turn_comes_is_left_alone(self):
        """The other one has listed it, but is busy with the one before."""
        data = payload(50000)
        box = self.pg_reader()
        for i in (1, 2):
            self.assertEqual(stage(box, ID % i, data).status, 200)
        holder = self.hold("SELECT count(*) FROM (SELECT FROM object WHERE "
                           f"id = '{ID % 1}' FOR UPDATE) AS o")
        box.signal(signal.SIGSTOP)
        self.lose_lock()
        other = self.pg_reader()
        wait_until(lambda: self.n_waiting() == 1, "the first one is its turn")
        box.signal(signal.SIGCONT)
        self.assertEqual(commit(box, ID % 2, data).status, 201)
        holder.communicate("COMMIT;\n")
        wait_until(lambda: self.rows() == 1, "the first one is removed")
        self.wait_for_a_round()
        self.assert_stored(other, ID % 2, data)

    def n_waiting(self):
        return int(self.cluster.value("SELECT count(*) FROM pg_stat_activity "
                                      "WHERE wait_event_type = 'Lock'"))

    def test_a_restart_of_the_server_makes_nobody_look_dead(self):
        """The one that is back first leaves the others time."""
        boxes = [self.pg_reader() for _ in range(2)]
        data = payload(50000)
        self.assertEqual(stage(boxes[0], ID % 1, data).status, 200)
        boxes[0].signal(signal.SIGSTOP)
        self.cluster.restart()
        third = self.pg_reader()
        self.wait_for_a_round()
        boxes[0].signal(signal.SIGCONT)
        self.assertEqual(commit(boxes[0], ID % 1, data).status, 201)
        self.assert_stored(third, ID % 1, data)

    def test_a_lost_lock_is_taken_again_at_once(self):
        self.pg_reader()
        locks = ("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND "
                 "granted AND classid = 1396786499")
        [[before]] = wait_until(lambda: self.cluster.query(locks), "it has one")
        self.lose_lock()
        wait_until(lambda: self.cluster.query(locks) not in ([], [[before]]),
                   "it has another one")

    def test_a_reader_that_is_left_alone_removes_what_another_leaves(self):
        """In its next round: that is a minute later, so this test takes one."""
        self.pg_reader().stop()
        self.database.query("INSERT INTO stream_broadcast.instance (id) "
                            "OVERRIDING SYSTEM VALUE VALUES (1000000)")
        box = self.pg_reader()
        wait_until(lambda: self.rows("instance") == 1, "its first round ends")
        other = self.pg_reader()
        data = payload(3 * CHUNK)
        self.store(other, ID % 1, data)
        self.assertEqual(stage(other, ID % 2, data).status, 200)
        locks = ("SELECT pid FROM pg_locks WHERE locktype = 'advisory' "
                 "ORDER BY objid")
        [survivor, _] = self.cluster.query(locks)
        other.kill()
        wait_until(lambda: self.rows("instance") == 1 and self.rows() == 1,
                   "a round has come", 80)
        self.assertEqual(self.cluster.query(locks), [survivor])
        self.assertNotEqual(box.log_lines("removed", "their reader is gone"), [])
        self.assert_clean(1)
        self.assert_stored(box, ID % 1, data)

    def test_one_removal_that_is_locked_does_not_keep_the_others(self):
        """It waits for seconds, then they are done, and it comes again."""
        box, data = self.pg_reader(), payload(3 * CHUNK)
        for i in (1, 2, 3):
            self.store(box, ID % i, data)
        holder = self.hold("SELECT count(*) FROM (SELECT FROM chunk WHERE "
                           "object = (SELECT key FROM object WHERE id = "
                           f"'{ID % 1}') FOR UPDATE) AS c")
        for i in (1, 2, 3):
            answer = fetch(box.port, "DELETE", f"/objects/{ID % i}")
            self.assertEqual(answer.status, 204, answer)
        wait_until(lambda: self.rows() == 1, "the others are removed", 30)
        self.assertEqual(self.rows("chunk"), 3)
        holder.communicate("COMMIT;\n")
        self.assert_clean()

    def test_a_withdrawal_that_is_locked_does_not_keep_the_others(self):
        """The answers to their own statements were too late."""
        box = self.pg_reader(READER_DB_TIMEOUT_MS=1000)
        for i in (1, 2):
            self.assertEqual(stage(box, ID % i, payload(CHUNK)).status, 200)
        holders = [self.hold("SELECT count(*) FROM (SELECT FROM object WHERE "
                             f"id = '{ID % i}' FOR UPDATE) AS o")
                   for i in (1, 2)]
        for i in (1, 2):
            fetch(box.port, "DELETE", f"/objects/{ID % i}")
        wait_until(lambda: "in time" in box.log(), "it has been asked for")
        self.cluster.query("SELECT pg_terminate_backend(pid) FROM "
                           "pg_stat_activity WHERE usename = 'reader' AND "
                           "state = 'active'")
        holders[1].communicate("COMMIT;\n")
        wait_until(lambda: self.rows() == 1, "the other one is removed", 30)
        holders[0].communicate("COMMIT;\n")
        self.assert_clean()

    def test_a_server_that_hangs_does_not_keep_a_reader_that_ends(self):
        box = self.pg_reader()
        holder = self.hold("LOCK TABLE instance; SELECT 1")
        self.lose_lock()        # so that it begins a round
        wait_until(lambda: self.n_waiting() == 1, "it waits for the server")
        self.assertEqual(box.stop(), 0)
        holder.communicate("COMMIT;\n")


class LostAnswers(PgScenario):
    """Row 53: a connection breaks at each thing that is asked for."""

    STATEMENTS = (b"\0OPEN\0", b"COPY chunk", b"c\0\0\0\4", b"\0STAGE\0",
                  b"\0COMMIT\0", b"\0REMOVE_CHUNK\0")

    def setUp(self):
        super().setUp()
        self.proxy = Proxy(self.cluster.port)
        self.addCleanup(self.proxy.close)
        self.box = self.pg_reader(DB_PORT=self.proxy.port)
        for i in (0xf0, 0xf1):      # everything is prepared
            self.upload_in_two(ID % i, payload(3 * CHUNK))
            fetch(self.box.port, "DELETE", f"/objects/{ID % i}")

    def upload_in_two(self, object_id, data):
        """Staged, appended to, committed: the statuses, until one fails."""
        half = len(data) // 2
        steps = (lambda: stage(self.box, object_id, data[:half]),
                 lambda: fetch(self.box.port, "PATCH", f"/objects/{object_id}",
                               f"Upload-Offset: {half}", PATCH_TYPE,
                               body=data[half:]),
                 lambda: commit(self.box, object_id, data))
        statuses = []
        for step in steps:
            statuses.append(step().status)
            if statuses[-1] >= 300:
                break
        return statuses

    def lose(self, how):
        """What is confirmed is there, what is not leaves nothing."""
        for i, words in enumerate(self.STATEMENTS):
            with self.subTest(words=words):
                data = payload(5 * CHUNK + 7, seed=i)
                how(words)
                statuses = self.upload_in_two(ID % i, data)
                self.assertEqual(self.proxy.n_lost, 1)
                if words in (b"\0COMMIT\0", b"COPY chunk",
                             b"\0REMOVE_CHUNK\0"):
                    self.assertEqual(statuses[-1], 201)
                if statuses[-1] == 201:
                    self.assert_stored(self.box, ID % i, data)
                    fetch(self.box.port, "DELETE", f"/objects/{ID % i}")
                else:
                    self.assertEqual(statuses[-1],
                                     500 if words == b"c\0\0\0\4" else 503)
                self.assert_clean()

    def test_an_answer_that_is_lost(self):
        self.lose(self.proxy.lose_answer)

    def test_a_request_that_is_lost(self):
        self.lose(self.proxy.lose_request)

    def test_a_slice_begins_anew_but_once(self):
        for i, words in enumerate((b"COPY chunk", b"\0REMOVE_CHUNK\0")):
            for how in (self.proxy.lose_answer, self.proxy.lose_request):
                with self.subTest(words=words, how=how):
                    how(words, 2)
                    statuses = self.upload_in_two(ID % i, payload(5 * CHUNK))
                    self.assertEqual(statuses[-1], 503)
                    self.assertEqual(self.proxy.n_lost, 2)
                    self.assert_clean()

    def n_slices(self):
        """Those of all objects that are over."""
        return int(self.database.value(
            "SELECT coalesce(sum(n_slices), 0) FROM stream_broadcast.object"))

    def test_each_slice_of_an_upload_may_begin_anew(self):
        box = self.pg_reader(DB_PORT=self.proxy.port,
                             READER_DB_SLICE_BYTES="64K")
        data = payload(64 * CHUNK)
        for how in (self.proxy.lose_answer, self.proxy.lose_request):
            with self.subTest(how=how), \
                    Client(box.port) as client:
                client.send(head("PUT", f"/objects/{ID % 1}",
                                 f"Content-Length: {len(data)}"))
                for begin in range(0, len(data), 16 * CHUNK):
                    n = self.n_slices()
                    how(b"COPY chunk")
                    client.send(data[begin:begin + 16 * CHUNK])
                    wait_until(lambda n=n: self.n_slices() > n, "one more")
                    self.assertEqual(self.proxy.n_lost, 1)
                self.assertEqual(client.response().status, 200)
                self.assertEqual(commit(box, ID % 1, data).status, 201)
                self.assert_stored(box, ID % 1, data)
                fetch(box.port, "DELETE", f"/objects/{ID % 1}")

    def test_what_an_abort_asks_for_is_lost(self):
        for i, words in enumerate((b"\0WITHDRAW\0", b"DELETE FROM chunk",
                                   b"DELETE FROM object")):
            for how in (self.proxy.lose_answer, self.proxy.lose_request):
                with self.subTest(words=words, how=how):
                    self.assert_clean()
                    stage(self.box, ID % i, payload(3 * CHUNK))
                    how(words)
                    fetch(self.box.port, "DELETE", f"/objects/{ID % i}")
                    wait_until(lambda: self.proxy.n_lost == 1, "it is lost")
                    self.assert_clean()

    def test_what_a_repeated_commit_asks_for_is_lost(self):
        """Another reader had committed the same; this copy goes all the same."""
        other = self.pg_reader()
        data = payload(3 * CHUNK)
        for i, words in enumerate((b"\0WITHDRAW\0", b"\0FIND\0",
                                   b"\0COMMIT\0")):
            for how in (self.proxy.lose_answer, self.proxy.lose_request):
                with self.subTest(words=words, how=how):
                    for box in (other, self.box):
                        self.assertEqual(stage(box, ID % i, data).status, 200)
                    self.assertEqual(commit(other, ID % i, data).status, 201)
                    how(words)
                    answer = commit(self.box, ID % i, data)
                    self.assertIn(answer.status, (200, 201), answer)
                    self.assertEqual(self.proxy.n_lost, 1)
                    self.assert_clean(1)
                    self.assert_stored(self.box, ID % i, data)
                    fetch(other.port, "DELETE", f"/objects/{ID % i}")

    def test_a_playback_that_loses_its_connection_is_not_short_and_well(self):
        data = payload(200 * CHUNK)
        self.store(self.box, ID % 1, data)
        self.proxy.lose_answer(b"\0CHUNKS\0")
        with Client(self.box.port) as player:
            player.request("GET", f"/objects/{ID % 1}")
            self.assertLess(len(player.rest()), len(data))
        self.assertEqual(self.proxy.n_lost, 1)
        self.assert_stored(self.box, ID % 1, data)


class LostCommits(PgScenario):
    """A crash before the WAL of asynchronous commits has left the server."""

    cluster_settings = {"autovacuum": "off", "bgwriter_lru_maxpages": 0,
                        "wal_buffers": "16MB"}

    def hold_back_wal(self):
        """From now on only a synchronous commit takes WAL out of memory."""
        self.cluster.pause(int(self.cluster.value(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = "
            "'walwriter'")))

    def crash(self, box):
        self.assertEqual(self.cluster.kill9().start().is_running(), True)
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "the reader is ready again", 30)

    def expect_lost(self, box, object_id, data, answer):
        self.assertEqual(answer.status, 500, answer)
        self.assertIn("gone from the database", answer.json()["detail"])
        self.assertNotEqual(commit(box, object_id, data).status, 201)
        self.assert_clean()

    def test_the_first_slice_is_missed_when_it_is_lost(self):
        box = self.pg_reader()
        data = payload(20 * CHUNK)
        with Client(box.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             f"Content-Length: {len(data)}"))
            wait_until(lambda: self.rows("object"), "the object has a row")
            self.cluster.query("CHECKPOINT")
            self.hold_back_wal()
            client.send(data[:12 * CHUNK])
            wait_until(lambda: self.rows("chunk") == 12, "a slice is there")
            self.crash(box)
            self.assertEqual((self.rows("object"), self.rows("chunk")), (1, 0))
            client.send(data[12 * CHUNK:])
            self.expect_lost(box, ID % 1, data, client.response())

    def test_the_last_slice_is_missed_when_it_is_lost(self):
        """No further one begins: the stage has to find out."""
        box = self.pg_reader()
        data = payload(12 * CHUNK)
        with Client(box.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             "Transfer-Encoding: chunked"))
            wait_until(lambda: self.rows("object"), "the object has a row")
            self.cluster.query("CHECKPOINT")
            self.hold_back_wal()
            client.send(chunk(data))
            wait_until(lambda: self.rows("chunk") == 12, "a slice is there")
            self.crash(box)
            self.assertEqual((self.rows("object"), self.rows("chunk")), (1, 0))
            client.send(LAST_CHUNK)
            self.expect_lost(box, ID % 1, data, client.response())

    def test_a_slice_that_began_at_the_row_of_the_one_before_is_missed(self):
        """What is appended begins with the short row, which is made anew."""
        box = self.pg_reader()
        data = payload(12 * CHUNK)
        with Client(box.port) as client:
            stage(box, ID % 1, data[:100])
            self.hold_back_wal()
            client.send(head("PATCH", f"/objects/{ID % 1}", PATCH_TYPE,
                             "Upload-Offset: 100",
                             f"Content-Length: {len(data) - 100}"),
                        data[100:10 * CHUNK])
            wait_until(lambda: self.rows("chunk") == 10, "a slice is there")
            self.crash(box)
            self.assertLess(self.rows("chunk"), 2)
            client.send(data[10 * CHUNK:])
            self.expect_lost(box, ID % 1, data, client.response())

    def lose_the_row(self, box):
        """An upload whose row and number a crash has taken, still connected."""
        self.store(box, ID % 9, b"everything is prepared")
        self.cluster.query("CHECKPOINT")
        self.hold_back_wal()
        client = Client(box.port)
        self.addCleanup(client.close)
        client.send(head("PUT", f"/objects/{ID % 1}",
                         f"Content-Length: {20 * CHUNK}"))
        wait_until(lambda: self.rows("object", "state = 1"), "it has a row")
        number = self.last_number()
        self.crash(box)
        self.assertEqual(self.rows("object"), 1)
        return client, number

    def last_number(self):
        return int(self.database.value(
            "SELECT last_value FROM stream_broadcast.object_key_seq"))

    def test_who_lost_its_row_does_not_remove_who_has_its_number_now(self):
        box = self.pg_reader()
        client, number = self.lose_the_row(box)
        data = payload(20 * CHUNK, seed=2)
        self.store(box, ID % 2, data)
        self.assertEqual(self.last_number(), number)
        client.reset()
        wait_until(lambda: get(box.port, f"/objects/{ID % 1}").status == 404,
                   "the other one is aborted")
        self.assert_clean(2)
        self.assert_stored(box, ID % 2, data)

    def test_who_lost_its_row_does_not_write_for_who_has_its_number_now(self):
        """The other one may even be the same object, begun again."""
        boxes = [self.pg_reader(), self.pg_reader()]
        for second in (ID % 1, ID % 2):
            client, number = self.lose_the_row(boxes[0])
            data = payload(20 * CHUNK, seed=2)
            with Client(boxes[1].port) as other:
                other.send(head("PUT", f"/objects/{second}",
                                f"Content-Length: {len(data)}"))
                wait_until(lambda: self.rows("object", "state = 1"),
                           "the other one has a row")
                self.assertEqual(self.last_number(), number)
                client.send(payload(20 * CHUNK, seed=1))
                answer = client.response()
                self.assertEqual(answer.status, 500, answer)
                self.assertIn("gone from the database",
                              answer.json()["detail"])
                other.send(data)
                self.assertEqual(other.response().status, 200)
            self.assertEqual(commit(boxes[1], second, data).status, 201)
            self.assert_clean(2)
            self.assert_stored(boxes[1], second, data)
            for object_id in (second, ID % 9):
                fetch(boxes[0].port, "DELETE", f"/objects/{object_id}")
            self.assert_clean()


class Asynchronous(PgScenario):
    """A server whose commits are not durable unless somebody asks for it."""

    cluster_settings = {**LostCommits.cluster_settings,
                        "synchronous_commit": "off"}

    hold_back_wal = LostCommits.hold_back_wal
    crash = LostCommits.crash

    def test_what_was_answered_survives_a_crash_all_the_same(self):
        box = self.pg_reader()
        data = payload(5 * CHUNK)
        self.store(box, ID % 1, data)
        for i in (2, 3):
            self.assertEqual(stage(box, ID % i, data).status, 200)
        self.cluster.query("CHECKPOINT")
        steps = (lambda: self.store(box, ID % 4, data),
                 lambda: self.assertEqual(
                     commit(box, ID % 2, data).status, 201),
                 lambda: self.assertEqual(stage(box, ID % 5, data).status, 200),
                 lambda: self.assertEqual(fetch(
                     box.port, "DELETE", f"/objects/{ID % 1}").status, 204))
        for step in steps:
            # Each alone: a flush takes all before it along.
            self.hold_back_wal()
            step()
            self.crash(box)
        for i in (2, 4):
            self.assert_stored(box, ID % i, data)
        self.assertEqual(box.content(ID % 1).status, 404)
        for i in (3, 5):
            self.assertEqual(commit(box, ID % i, data).status, 201)
            self.assert_stored(box, ID % i, data)
        self.assert_clean(4)

    def test_the_number_of_an_instance_survives_a_crash(self):
        self.pg_reader().stop()
        self.cluster.query("CHECKPOINT")
        self.hold_back_wal()
        box = self.pg_reader()
        self.crash(box)
        other = self.pg_reader()
        locks = ("SELECT count(DISTINCT objid) FROM pg_locks WHERE locktype = "
                 "'advisory' AND granted AND objid > 0")
        wait_until(lambda: self.cluster.value(locks) == "2",
                   "both have a number of their own")
        self.store(box, ID % 1, b"one")
        self.store(other, ID % 2, b"two")
        self.assert_clean(2)


class StrongerThanOn(PgScenario):
    """An administrator who asks for more keeps it."""

    cluster_settings = {"synchronous_commit": "remote_apply"}

    def test_what_the_server_asks_for_is_in_effect_at_the_commit(self):
        box = self.pg_reader()
        self.database.query("""
            CREATE TABLE public.seen (state integer, setting text);
            GRANT INSERT ON public.seen TO reader;
            CREATE FUNCTION public.note() RETURNS trigger AS $$ BEGIN
                INSERT INTO public.seen VALUES (NEW.state,
                    current_setting('synchronous_commit')); RETURN NULL;
                END $$ LANGUAGE plpgsql;
            CREATE TRIGGER note AFTER INSERT OR UPDATE
                ON stream_broadcast.object
                FOR EACH ROW EXECUTE FUNCTION public.note()""")
        self.store(box, ID % 1, payload(CHUNK))
        fetch(box.port, "DELETE", f"/objects/{ID % 1}")
        self.assertEqual(self.database.query(
            "SELECT DISTINCT state, setting FROM public.seen ORDER BY 1"),
            [["1", "off"], ["2", "remote_apply"], ["3", "remote_apply"],
             ["4", "remote_apply"]])


class SmallDisk(PgScenario):
    """What needs a file system of its own."""

    cluster_settings = {}

    def mount(self, folder, size):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
            check=False, capture_output=True, text=True)
        if done.returncode != 0:
            self.skipTest(f"no tmpfs may be mounted here: {done.stderr}")
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=False)
        self.cluster.give(folder)


class DiskFull(SmallDisk):
    """Row 50: 507, the server lives, nothing is left."""

    def test_a_full_tablespace_fails_the_object_only(self):
        place = pathlib.Path(tempfile.mkdtemp(prefix="small-disk-"))
        self.addCleanup(place.rmdir)
        self.mount(place, "24m")
        box = self.pg_reader()
        self.database.query(f"CREATE TABLESPACE small LOCATION '{place}'")
        self.database.query("ALTER TABLE stream_broadcast.chunk SET TABLESPACE "
                            "small")
        answer = stage(box, ID % 1, payload(40 * MIB))
        self.assertEqual(answer.status, 507, answer)
        self.assertIn("space", answer.json()["detail"])
        self.assert_clean()
        self.database.query("VACUUM FULL stream_broadcast.chunk")
        self.store(box, ID % 2, b"small")


class WalFull(SmallDisk):
    """Row 51: the server panics; what was acknowledged is there afterwards."""

    cluster_settings = {"max_wal_size": "2GB", "checkpoint_timeout": "1h",
                        "min_wal_size": "32MB"}

    def move_wal(self, size):
        """pg_wal becomes a file system of its own."""
        wal = self.cluster.data / "pg_wal"
        self.cluster.stop()
        kept = pathlib.Path(tempfile.mkdtemp(prefix="wal-")) / "wal"
        self.addCleanup(shutil.rmtree, kept.parent)
        shutil.copytree(wal, kept)
        self.mount(wal, size)
        shutil.copytree(kept, wal, dirs_exist_ok=True)
        for path in [wal, *wal.rglob("*")]:
            self.cluster.give(path)
        wal.chmod(0o700)
        self.cluster.start()
        return wal

    def test_a_full_wal_fails_the_object_and_nothing_else(self):
        self.cluster.query("CHECKPOINT")
        wal = self.move_wal("80m")
        box = self.pg_reader()
        data = payload(200 * MIB)
        self.store(box, ID % 1, data[:MIB])
        try:
            answer = stage(box, ID % 2, data)
            self.assertGreaterEqual(answer.status, 500, answer)
        except (Closed, ConnectionError):
            pass        # refused while the body was still being sent
        wait_until(lambda: "No space left on device" in self.cluster.log() and
                   "PANIC" in self.cluster.log(), "the server panicked")
        self.cluster.stop("immediate")
        subprocess.run(["mount", "-o", "remount,size=1g", wal], check=True)
        self.cluster.start()
        wait_until(lambda: get(box.port, "/readyz").status == 200,
                   "the reader is ready again", 30)
        self.assert_stored(box, ID % 1, data[:MIB])
        self.assert_clean(1)
        self.store(box, ID % 2, data[:3 * MIB])
        self.assert_stored(box, ID % 2, data[:3 * MIB])


class Restores(PgScenario):
    """pg_restore fills the tables one after the other, and makes keys at last."""

    def setUp(self):
        super().setUp()
        box = self.pg_reader()
        self.blobs = {ID % i: payload(i * 30000 + 1, seed=i) for i in range(4)}
        for object_id, data in self.blobs.items():
            self.store(box, object_id, data)
        box.stop()
        self.other = self.cluster.create_database()

    def move(self, *args):
        """What pg_dump says with these arguments, into the other database."""
        dump = subprocess.run(
            [str(postgres.bindir() / "pg_dump"), *args, "-d",
             self.database.url()], check=True, stdout=subprocess.PIPE).stdout
        done = subprocess.run(
            [str(postgres.bindir() / "psql"), "-qX", "-v", "ON_ERROR_STOP=1",
             self.other.url()], input=dump, check=False, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def there(self, what):
        return int(self.other.value(
            f"SELECT count(*) FROM stream_broadcast.{what}"))

    def assert_moved(self, box):
        for object_id, data in self.blobs.items():
            self.assert_stored(box, object_id, data)

    def test_a_reader_waits_until_the_schema_is_whole(self):
        self.move("--section=pre-data")
        box = self.pg_reader(self.other, wait=False)
        wait_until(lambda: "being restored" in box.log(), "it waits")
        self.move("--section=data", "--exclude-table-data=*.object")
        n_chunks, n_instances = self.there("chunk"), self.there("instance")
        other = self.pg_reader(self.other, wait=False)
        wait_until(lambda: "being restored" in other.log(), "it waits, too")
        self.assertEqual(self.there("instance"), n_instances)
        self.move("--section=data", "-t", "stream_broadcast.object")
        self.move("--section=post-data")
        for reader in (box, other):
            reader.wait_ready()
            self.assert_moved(reader)
        self.assertEqual(self.there("chunk"), n_chunks)

    def test_a_schema_without_its_unique_index_is_not_whole(self):
        self.move()
        self.other.query("DROP INDEX stream_broadcast.object_id")
        box = self.pg_reader(self.other, wait=False)
        wait_until(lambda: "3 of 4 keys" in box.log(), "it waits")
        self.other.query("CREATE UNIQUE INDEX object_id ON "
                         "stream_broadcast.object (id) WHERE state = 3")
        box.wait_ready()
        self.assert_moved(box)

    def test_a_restore_in_one_transaction_is_waited_for(self):
        dump = subprocess.run(
            [str(postgres.bindir() / "pg_dump"), "-d", self.database.url()],
            check=True, stdout=subprocess.PIPE).stdout
        with subprocess.Popen(
                [str(postgres.bindir() / "psql"), "-qXAt", self.other.url()],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE) as restore:
            restore.stdin.write(b"BEGIN;\n" + dump + b"SELECT 'filled';\n")
            restore.stdin.flush()
            while restore.stdout.readline() != b"filled\n":
                pass
            box = self.pg_reader(self.other, wait=False)
            wait_until(lambda: "lock timeout" in box.log(), "it says so")
            wait_until(lambda: self.other.value(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = "
                "'Lock' AND datname = current_database()") == "1", "it waits")
            restore.stdin.write(b"COMMIT;\n")
        box.wait_ready()
        self.assert_moved(box)

    def test_chunks_that_come_before_their_objects_stay(self):
        box = self.pg_reader(self.other)
        self.move("--data-only", "-t", "stream_broadcast.chunk")
        n_chunks = self.there("chunk")
        self.assertGreater(n_chunks, 0)
        box.stop()
        box = self.pg_reader(self.other)
        self.wait_for_a_round(self.other)
        self.assertEqual(self.there("chunk"), n_chunks)
        self.move("--data-only", "-t", "stream_broadcast.object")
        self.assert_moved(box)

    def test_a_number_that_is_given_again_is_passed_over(self):
        """By a sequence that is older than the readers that live."""
        boxes = [self.pg_reader(self.other) for _ in range(3)]
        for where in ("id = 2", "false"):
            with self.subTest(without_rows_where=where):
                self.other.query(
                    "SELECT setval(pg_get_serial_sequence("
                    "'stream_broadcast.instance', 'id'), 1, false); DELETE "
                    f"FROM stream_broadcast.instance WHERE {where}")
                boxes.append(self.pg_reader(self.other))
        self.assertEqual(self.other.value(
            "SELECT count(DISTINCT objid) FROM pg_locks WHERE granted AND "
            "locktype = 'advisory' AND objid > 0 AND database = (SELECT oid "
            "FROM pg_database WHERE datname = current_database())"), "5")


class Sessions(PgScenario):
    """What role, database and others' locks do to our connections."""

    def test_a_lock_of_others_does_not_use_up_the_connections(self):
        """Who gave up is not waited for by a backend for ever."""
        box = self.pg_reader(READER_DB_CONNECTIONS=2, READER_DB_TIMEOUT_MS=300)
        holder = self.hold("LOCK TABLE object IN ACCESS EXCLUSIVE MODE; SELECT 1")
        for _ in range(40):
            self.assertGreaterEqual(box.content(ID % 1).status, 500)
        self.assertLess(len(self.database.backends()), 12)
        self.let_go(holder)
        self.store(box, ID % 1, b"and it goes on")

    def test_a_backend_notices_that_its_reader_is_gone(self):
        """Long before the lock's own time limit, of a minute."""
        box = self.pg_reader()
        waiting = ("SELECT count(*) FROM pg_stat_activity WHERE usename = "
                   "'reader' AND datname = current_database() AND "
                   "wait_event_type = 'Lock'")
        holder = self.hold("LOCK TABLE object IN ACCESS EXCLUSIVE MODE; SELECT 1")
        with Client(box.port) as client:
            client.send(head("GET", f"/objects/{ID % 1}"))
            wait_until(lambda: self.database.value(waiting) == "1", "it waits")
            box.kill()
        wait_until(lambda: self.database.value(waiting) == "0", "it has ended",
                   timeout=40)
        self.let_go(holder)

    def test_settings_of_the_database_change_nothing(self):
        for setting in ("default_transaction_isolation = 'serializable'",
                        "extra_float_digits = -15"):
            self.cluster.query(f"ALTER DATABASE {self.database.name} SET "
                               f"{setting}")
        box = self.pg_reader()
        answers = []
        threads = [threading.Thread(
            target=lambda i=i: answers.append(stage(
                box, ID % i, payload(50000, seed=i), f"Content-Disposition: "
                f"attachment; filename=amplifacation-{i}").status))
            for i in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, 40 * [200])
        for i in range(40):
            self.assertEqual(commit(box, ID % i, payload(50000, seed=i)).status,
                             201)
        self.assertEqual(len(self.walk(box, 1)), 40)

    def walk(self, box, limit):
        """Ids of all pages of a search for what is only similar."""
        path, ids = f"/objects?q=amplification&limit={limit}", []
        while path and len(ids) < 100:
            page = get(box.port, path).json()
            ids += [one["id"] for one in page["objects"]]
            path = page["next"] and (f"/objects?q=amplification&limit={limit}"
                                     f"&after={page['next']}")
        self.assertEqual(len(ids), len(set(ids)))
        return ids

    def test_an_encoding_without_all_of_unicode_is_refused(self):
        name = f"latin_{self.database.name}"
        self.cluster.query(f"CREATE DATABASE {name} OWNER {postgres.ROLE} "
                           "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        self.expect_refusal("LATIN1", "UTF8", DB_NAME=name)
        self.cluster.query(f"DROP DATABASE {name}")

    def test_a_house_that_is_not_answered_is_told_of_and_goes_on(self):
        box = self.pg_reader(READER_DB_TIMEOUT_MS=500)
        self.store(box, ID % 1, payload(3 * CHUNK))
        [[pid]] = self.database.query(
            "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database "
            "= (SELECT oid FROM pg_database WHERE datname = current_database())")
        self.cluster.pause(int(pid))
        self.addCleanup(self.cluster.resume, int(pid))
        self.assertEqual(
            fetch(box.port, "DELETE", f"/objects/{ID % 1}").status, 204)
        wait_until(lambda: "did not answer in time" in box.log(), "it is told",
                   timeout=60)
        self.cluster.resume(int(pid))
        wait_until(lambda: self.rows("chunk") == 0, "the chunks are removed",
                   timeout=60)

    def test_a_migration_of_another_reader_is_waited_for(self):
        holder = self.hold(f"SELECT 1 FROM pg_advisory_lock({MIGRATIONS})")
        box = self.pg_reader(wait=False)
        wait_until(lambda: "lock timeout" in box.log(), "it says so", timeout=60)
        self.let_go(holder)
        box.wait_ready()


class Copies(PgScenario):
    """Dumps and replicas keep every object readable."""

    cluster_settings = {"wal_level": "replica", "max_wal_senders": 4,
                        "hot_standby": "on"}

    def test_a_dump_restored_elsewhere_has_every_object(self):
        box = self.pg_reader()
        blobs = {ID % i: payload(i * 30000 + 1, seed=i) for i in range(5)}
        for object_id, data in blobs.items():
            self.store(box, object_id, data, "Content-Type: audio/flac",
                       "Content-Disposition: attachment; filename=Opera.flac")
        stage(box, ID % 9, b"never committed")
        other = self.cluster.create_database()
        dump = subprocess.run(
            [str(postgres.bindir() / "pg_dump"), "-Fc", "-d",
             self.database.url()], check=True, stdout=subprocess.PIPE).stdout
        restored = subprocess.run(
            [str(postgres.bindir() / "pg_restore"), "--no-owner", "-d",
             other.url()], input=dump, check=False, capture_output=True)
        self.assertEqual(restored.returncode, 0, restored.stderr)
        copy = self.pg_reader(other)
        for object_id, data in blobs.items():
            self.assert_stored(copy, object_id, data)
        for query in ("", "?q=opera", "?q=opear"):
            lists = [get(one.port, f"/objects{query}").json()
                     for one in (box, copy)]
            self.assertEqual(len(lists[0]["objects"]), 5)
            self.assertEqual(*lists)
        self.store(copy, ID % 20, b"and it takes new ones")
        wait_until(lambda: other.value(
            "SELECT count(*) FROM stream_broadcast.object WHERE state <> 3")
            == "0", "what was not committed is removed")

    def test_a_replica_plays_and_refuses_uploads(self):
        box = self.pg_reader()
        data = payload(5 * MIB)
        self.store(box, ID % 1, data)
        replica = self.cluster.replica()
        self.addCleanup(replica.remove)
        copy = self.pg_reader(replica.database(self.database.name))
        wait_until(lambda: copy.content(ID % 1).status == 200,
                   "the replica has it")
        self.assert_stored(copy, ID % 1, data)
        answer = stage(copy, ID % 2, b"x")
        self.assertEqual(answer.status, 503, answer)
        self.assertIn("replica", answer.json()["detail"])
        self.assertEqual(
            fetch(copy.port, "DELETE", f"/objects/{ID % 1}").status, 503)
        self.assert_stored(box, ID % 1, data)

    def test_a_replica_that_is_promoted_takes_uploads(self):
        box = self.pg_reader()
        self.store(box, ID % 1, b"before")
        replica = self.cluster.replica()
        self.addCleanup(replica.remove)
        copy = self.pg_reader(replica.database(self.database.name))
        wait_until(lambda: copy.content(ID % 1).status == 200,
                   "the replica has it")
        self.cluster.stop()
        box.stop()
        self.assertEqual(replica.value("SELECT pg_promote()"), "t")
        # It would ask within a minute; a lost session makes it ask now.
        replica.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                      "WHERE usename = 'reader'")
        wait_until(lambda: stage(copy, ID % 2, b"after").status == 200,
                   "uploads are taken")
        self.assertEqual(commit(copy, ID % 2, b"after").status, 201)
        self.assert_stored(copy, ID % 1, b"before")
        self.assert_stored(copy, ID % 2, b"after")
        data = payload(32 * MIB)        # the log of the new timeline is flushed
        self.store(copy, ID % 3, data)
        self.assert_stored(copy, ID % 3, data)
        self.assertEqual(copy.log_lines("database_flush"), [])


if __name__ == "__main__":
    unittest.main()
