"""The file store: whole or not at all, whatever the disk does."""
import os
import select
import shutil
import signal
import subprocess
import unittest

from client import Client, Closed, fetch, get, head, wait_until
from harness import MODE, Scenario, payload, sha256
from object_api import ID, PATCH_TYPE, commit, digest_field, stage

HAS_STRACE = shutil.which("strace") is not None


class ObjectApi(Scenario):
    """The reader's own protocol, step by step."""

    def setUp(self):
        super().setUp()
        self.box = self.reader()
        self.data = payload(100000)

    def test_staged_is_invisible_committed_is_visible(self):
        answer = stage(self.box, ID % 1, self.data)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json()["sha256"], sha256(self.data))
        self.assertEqual(answer.json()["size"], len(self.data))
        self.assert_nothing_visible(self.box)
        self.assertEqual(self.box.content(ID % 1).status, 404)
        self.assertEqual(commit(self.box, ID % 1, self.data).status, 201)
        self.assert_stored(self.box, ID % 1, self.data)

    def test_commit_is_idempotent_and_checks_the_digest(self):
        stage(self.box, ID % 1, self.data)
        self.assertEqual(commit(self.box, ID % 1, b"other").status, 409)
        self.assert_nothing_visible(self.box)
        self.assertEqual(commit(self.box, ID % 1, self.data).status, 201)
        self.assertEqual(commit(self.box, ID % 1, self.data).status, 200)
        self.assertEqual(commit(self.box, ID % 1, b"other").status, 409)
        self.assertEqual(commit(self.box, ID % 2, self.data).status, 404)

    def test_abort_leaves_nothing_and_is_idempotent(self):
        stage(self.box, ID % 1, self.data)
        for _ in range(2):
            answer = fetch(self.box.port, "DELETE", f"/objects/{ID % 1}")
            self.assertEqual(answer.status, 204)
        self.assert_nothing_left(self.box)

    def test_what_is_cut_off_is_resumed_where_it_stopped(self):
        answer = stage(self.box, ID % 1, self.data[:40000])
        self.assertEqual(answer.status, 200, answer)
        where = fetch(self.box.port, "HEAD", f"/objects/{ID % 1}")
        self.assertEqual(where.headers["upload-offset"], "40000")
        wrong = fetch(self.box.port, "PATCH", f"/objects/{ID % 1}",
                      "Upload-Offset: 39999", PATCH_TYPE, body=b"x")
        self.assertEqual(wrong.status, 409)
        self.assertEqual(wrong.headers["upload-offset"], "40000")
        rest = fetch(self.box.port, "PATCH", f"/objects/{ID % 1}",
                     "Upload-Offset: 40000", PATCH_TYPE,
                     body=self.data[40000:])
        self.assertEqual(rest.status, 204)
        self.assertEqual(rest.headers["upload-offset"], str(len(self.data)))
        self.assertEqual(commit(self.box, ID % 1, self.data).status, 201)
        self.assert_stored(self.box, ID % 1, self.data)

    def test_an_upload_that_ends_in_the_middle_is_discarded(self):
        client = Client(self.box.port)
        client.send(head("PUT", f"/objects/{ID % 1}",
                         "Content-Length: 100000"), self.data[:50000])
        wait_until(self.box.staged, "something is staged")
        client.reset()
        self.assert_nothing_left(self.box)

    def test_two_writers_of_one_object_never_mix(self):
        """One wins, the other is told; never mixed bytes (100 rounds)."""
        for i in range(100):
            object_id = ID % i
            blobs = [bytes([k]) * 30000 for k in (65, 66)]
            clients = [Client(self.box.port) for _ in blobs]
            for client, blob in zip(clients, blobs):
                client.send(head("PUT", f"/objects/{object_id}",
                                 "Content-Length: 30000"), blob[:15000])
            for client, blob in zip(clients, blobs):
                try:
                    client.send(blob[15000:])
                except OSError:
                    pass
            answers = [client.response() for client in clients]
            won = [b for b, a in zip(blobs, answers) if a.status == 200]
            self.assertTrue(won, answers)
            for answer in answers:
                self.assertIn(answer.status, (200, 409, 423), answer)
            committed = [b for b in won
                         if commit(self.box, object_id, b).status == 201]
            self.assertEqual(len(committed), 1, answers)
            self.assert_stored(self.box, object_id, committed[0])
            for client in clients:
                client.close()

    def test_ids_that_are_no_ids_are_refused(self):
        for bad in ("..", "%2e%2e", "%2e%2e%2fetc", "a", "x" * 4096, "%00",
                    "0190a000-0000-7000-8000-00000000000/",
                    "0190a000-0000-7000-8000-00000000000%2f",
                    "..%5c..%5cx", "%c0%ae%c0%ae", "CON", "-", "*"):
            with self.subTest(bad):
                answer = stage(self.box, bad, b"x")
                self.assertIn(answer.status, (400, 404, 405, 414), answer)
        self.assert_nothing_left(self.box)
        self.assertEqual(sorted(p.name for p in self.box.store.iterdir()),
                         ["lock", "objects", "staging"])

    def test_conditional_requests(self):
        stage(self.box, ID % 1, self.data)
        commit(self.box, ID % 1, self.data)
        first = self.box.content(ID % 1)
        etag = first.headers["etag"]
        again = self.box.content(ID % 1, f"If-None-Match: {etag}")
        self.assertEqual((again.status, again.body), (304, b""))
        part = self.box.content(ID % 1, "Range: bytes=0-9",
                                f"If-Range: {etag}")
        self.assertEqual(part.status, 206)
        whole = self.box.content(ID % 1, "Range: bytes=0-9",
                                 'If-Range: "other"')
        self.assertEqual((whole.status, len(whole.body)), (200, 100000))
        only_head = fetch(self.box.port, "HEAD", f"/objects/{ID % 1}")
        self.assertEqual(only_head.headers["content-length"], "100000")

    def test_lists_come_in_pages_and_can_be_searched(self):
        for i in range(25):
            stage(self.box, ID % i, bytes([i]),
                  f'Content-Disposition: attachment; filename="file-{i}.txt"')
            commit(self.box, ID % i, bytes([i]))
        seen, after = [], ""
        while True:
            page = get(self.box.port, f"/objects?limit=7&after={after}").json()
            seen += [o["id"] for o in page["objects"]]
            if len(page["objects"]) < 7:
                break
            after = seen[-1]
        self.assertEqual(seen, [ID % i for i in range(25)])
        found = get(self.box.port, "/objects?q=FILE-1").json()["objects"]
        self.assertEqual(len(found), 11)

    def test_hostile_queries_are_data(self):
        stage(self.box, ID % 1, b"x", 'Content-Disposition: attachment; '
              'filename="Robert\'); DROP TABLE objects;--"')
        commit(self.box, ID % 1, b"x")
        for q in ("'%20OR%201=1--", "%25", "%5c", "%22", "_", "*", "../"):
            answer = get(self.box.port, f"/objects?q={q}")
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(answer.json()["objects"], [], q)
        answer = get(self.box.port, "/objects?q=drop%20table")
        self.assertEqual(len(answer.json()["objects"]), 1)
        for bad in ("limit=0", "limit=-1", "limit=x", "limit=99999999999",
                    "after=x"):
            answer = get(self.box.port, f"/objects?{bad}")
            self.assertEqual(answer.status, 400, bad)

    def test_whoever_reads_while_the_object_is_deleted_gets_all_of_it(self):
        data = payload(32 << 20)        # far more than what is on its way
        stage(self.box, ID % 1, data)
        commit(self.box, ID % 1, data)
        with Client(self.box.port, receive_buffer=4096) as client:
            client.request("GET", f"/objects/{ID % 1}")
            client.take_head()
            answer = fetch(self.box.port, "DELETE", f"/objects/{ID % 1}")
            self.assertEqual(answer.status, 204, answer)
            self.assertEqual(self.box.content(ID % 1).status, 404)
            self.assertEqual(sha256(client.take(len(data))), sha256(data))

    def test_content_that_becomes_shorter_is_cut_and_logged(self):
        data = payload(32 << 20)
        stage(self.box, ID % 1, data)
        commit(self.box, ID % 1, data)
        path, = self.box.store.glob("objects/*/*/data")
        with Client(self.box.port, receive_buffer=4096) as client:
            client.request("GET", f"/objects/{ID % 1}")
            client.take_head()
            os.truncate(path, 1000)
            with self.assertRaises(Closed):
                client.take(len(data))
        wait_until(lambda: self.box.log_lines("event=delivery", "result=failed",
                                              "ends too early"), "it is logged")

    def test_a_client_that_leaves_is_no_failure_of_the_store(self):
        data = payload(32 << 20)
        stage(self.box, ID % 1, data)
        commit(self.box, ID % 1, data)
        before = self.box.fds()
        for leave in (Client.reset, Client.close):
            client = Client(self.box.port, receive_buffer=4096)
            client.request("GET", f"/objects/{ID % 1}")
            client.take_head()
            leave(client)
        wait_until(lambda: self.box.fds() <= before, "both are forgotten")
        self.assertEqual(self.box.log_lines("event=delivery"), [])


class Disk(Scenario):
    """The disk is full, slow or broken (strace injects it)."""

    def setUp(self):
        super().setUp()
        if not HAS_STRACE:
            self.skipTest("strace is not installed")
        if MODE in ("asan", "tsan", "valgrind"):
            self.skipTest(f"{MODE}: strace and this tool exclude each other")
        self.data = payload(200000)

    def box_with(self, *injections):
        return self.reader().inject(*injections)

    def try_upload(self, reader):
        good = self.reader()
        front = self.broadcaster([good, reader], BROADCASTER_QUORUM="1")
        answer = self.put(front, self.data)
        self.assertEqual(answer.status, 201, answer)
        self.assert_stored(good, answer.data["id"], self.data)
        return answer.target(reader.name), answer.data["id"]

    def test_no_space_left(self):
        reader = self.box_with("pwrite64:error=ENOSPC")
        entry, _ = self.try_upload(reader)
        self.assertEqual(entry["state"], "failed", entry)
        self.assertIn("space", entry["error"])
        self.assert_nothing_left(reader)

    def test_a_failed_sync_of_the_data_fails_the_object(self):
        self.try_sync("fdatasync:error=EIO")

    def test_a_failed_sync_of_a_directory_fails_the_object(self):
        self.try_sync("fsync:error=EIO")

    def try_sync(self, rule):
        reader = self.box_with(rule)
        entry, object_id = self.try_upload(reader)
        self.assertEqual(entry["state"], "failed", entry)
        self.assertEqual(reader.content(object_id).status, 404)
        self.assert_nothing_left(reader)

    def test_a_failed_rename_leaves_no_name(self):
        reader = self.box_with("renameat2:error=EIO", "renameat:error=EIO",
                               "rename:error=EIO", "linkat:error=EIO")
        entry, object_id = self.try_upload(reader)
        self.assertEqual(entry["state"], "failed", entry)
        self.assertEqual(reader.content(object_id).status, 404)

    def test_content_that_cannot_be_read_is_cut_and_logged(self):
        reader = self.reader()
        stage(reader, ID % 1, self.data)
        commit(reader, ID % 1, self.data)
        reader.inject("sendfile:error=EIO")
        with Client(reader.port) as client:
            client.request("GET", f"/objects/{ID % 1}")
            client.take_head()
            with self.assertRaises(Closed):
                client.take(len(self.data))
        wait_until(lambda: reader.log_lines("event=delivery", "result=failed",
                                            "Input/output error"),
                   "it is logged")

    def test_interrupted_and_refused_calls_are_repeated(self):
        reader = self.box_with("pwrite64:error=EINTR:when=1+3",
                               "fdatasync:error=EINTR:when=1")
        entry, object_id = self.try_upload(reader)
        if entry["state"] == "committed":
            self.assert_stored(reader, object_id, self.data)
        else:
            self.assertIn("nterrupted", entry["error"])
            self.fail("EINTR must be transparent")

    def test_a_disk_that_hangs_does_not_block_the_loop(self):
        reader = self.box_with("fdatasync:delay_enter=4000000:when=1")
        with Client(reader.port) as client:
            client.request("PUT", f"/objects/{ID % 1}", body=self.data)
            wait_until(lambda: reader.staged().get(ID % 1) == len(self.data),
                       "everything is written")
            for _ in range(5):
                self.assertEqual(get(reader.port, "/healthz").status, 200)
            readable, _, _ = select.select([client.sock], [], [], 0)
            self.assertEqual(readable, [], "the sync hangs all the while")
            self.assertEqual(client.response().status, 200)
            client.request("DELETE", f"/objects/{ID % 1}")
            self.assertEqual(client.response().status, 204)


@unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
class SmallDisk(Scenario):
    """A real file system that is really full."""

    def setUp(self):
        super().setUp()
        self.disk = self.scratch("disk")
        run = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none",
                              str(self.disk)], capture_output=True, text=True,
                             check=False)
        if run.returncode:
            self.skipTest(f"no tmpfs here: {run.stderr.strip()}")
        # Runs after the base's clean-up, which stops the programs.
        self._cleanups.insert(0, (subprocess.run, (
            ["umount", "-l", str(self.disk)],), {}))

    def test_a_full_disk_fails_the_copy_and_gives_the_space_back(self):
        store = self.disk / "store"
        reader = self.reader(READER_FILE_DIR=store)
        good = self.reader()
        front = self.broadcaster([good, reader], BROADCASTER_QUORUM="1")
        answer = self.put(front, payload(8 << 20))
        self.assertEqual(answer.status, 201, answer)
        entry = answer.target(reader.name)
        self.assertEqual(entry["state"], "failed", entry)
        self.assertIn("space", entry["error"])
        wait_until(lambda: not list(store.glob("staging/*")),
                   "the space is given back")
        small = payload(1 << 20)
        self.assertFalse(self.put(front, small).data["degraded"])


class Killed(Scenario):
    """A reader that is killed anywhere comes back clean."""

    def test_what_a_killed_reader_left_is_removed_at_the_start(self):
        reader = self.reader()
        client = Client(reader.port)
        client.send(head("PUT", f"/objects/{ID % 1}", "Content-Length: 99999"),
                    payload(50000))
        stage(reader, ID % 2, b"staged, never committed")
        wait_until(lambda: len(reader.staged()) == 2, "two are staged")
        reader.kill()
        client.close()
        reader.restart().wait_ready()
        self.assert_nothing_left(reader)

    def test_committed_objects_survive_a_kill(self):
        reader = self.reader()
        for i in range(5):
            stage(reader, ID % i, payload(1000, i))
            commit(reader, ID % i, payload(1000, i))
        reader.kill()
        reader.restart().wait_ready()
        for i in range(5):
            self.assert_stored(reader, ID % i, payload(1000, i))

    def test_a_reader_killed_in_the_middle_fails_alone(self):
        victim, good = self.readers(2)
        front = self.broadcaster([victim, good], BROADCASTER_QUORUM="1")
        data = payload(400000)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 400000"),
                        data[:200000])
            wait_until(victim.staged, "something is staged")
            victim.kill()
            client.send(data[200000:])
            answer = client.response()
        receipt = self.assert_committed(answer, [good], data)
        self.assertTrue(receipt["degraded"])
        self.assertEqual(answer.target(victim.name)["state"], "failed")
        victim.restart().wait_ready()
        self.assert_nothing_left(victim)

    def test_killed_at_each_system_call_of_stage_and_commit(self):
        """After a restart the object is whole or absent, never a part."""
        if not HAS_STRACE or MODE in ("asan", "tsan", "valgrind"):
            self.skipTest("needs strace and no sanitizer")
        data, n_killed = payload(50000), 0
        for call in ("fdatasync", "fsync", "renameat", "renameat2", "mkdirat",
                     "openat2", "pwrite64"):
            for n in range(1, 8):
                with self.subTest(call=call, n=n):
                    if not self.try_kill(call, n, data):
                        break
                    n_killed += 1
        self.assertGreater(n_killed, 8)

    def try_kill(self, call, n, data):
        """False when the program was not killed: there is no n-th call."""
        reader = self.reader().inject(f"{call}:signal=KILL:when={n}")
        acknowledged = False
        try:
            if stage(reader, ID % 1, data).status == 200:
                acknowledged = commit(reader, ID % 1, data).status == 201
        except (OSError, Closed):
            pass                # killed in the middle of it
        if acknowledged:
            reader.stop()
            return False
        reader.may_fail = True
        self.assertEqual(reader.wait(), -9)
        reader.restart().wait_ready()
        found = reader.content(ID % 1)
        self.assertIn(found.status, (200, 404))
        if found.status == 200:
            self.assertEqual(found.body, data)
        self.assertEqual(reader.leftovers(), [])
        reader.stop()
        return True

    def test_a_second_reader_on_the_same_directory_refuses_to_start(self):
        first = self.reader()
        second = self.reader(wait=False, READER_FILE_DIR=first.store)
        second.may_fail = True
        self.assertNotEqual(second.wait(), 0)
        self.assertIn("READER_FILE_DIR", second.log())

    def test_staged_objects_nobody_commits_expire(self):
        reader = self.reader(READER_STAGED_TTL=1)
        stage(reader, ID % 1, b"forgotten")
        wait_until(lambda: not reader.leftovers(), "it expires", 10)

    def test_sigterm_finishes_what_runs_up_to_its_commit(self):
        reader = self.reader()
        with Client(reader.port) as client:
            client.send(head("PUT", f"/objects/{ID % 1}",
                             "Content-Length: 1000"), payload(500))
            wait_until(reader.staged, "something is staged")
            reader.signal(signal.SIGTERM)
            wait_until(lambda: self.is_draining(reader), "it drains")
            client.send(payload(1000)[500:])
            self.assertEqual(client.response().status, 200)
            client.request("POST", f"/objects/{ID % 1}/commit",
                           digest_field(payload(1000)), body=b"")
            self.assertEqual(client.response().status, 201)
        self.assertEqual(reader.wait(), 0)

    def is_draining(self, reader):
        try:
            return get(reader.port, "/readyz").status == 503
        except OSError:
            return True
