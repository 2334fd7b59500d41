"""Lists, search, deletion, other sites and the page: what is stored, as one."""
import base64
import hashlib
import random
import re

import postgres
from client import Client, fetch, get, wait_until
from fault_target import KEEP, not_found, refuse
from harness import Scenario, payload, sha256, slow
from media_peer import catalogue, cursor_of, holder, in_turn, row
from object_api import ID, commit, stage

KIB, MIB = 1 << 10, 1 << 20


class Catalogue(Scenario):
    """Peers with lists, and a broadcaster in front of them."""

    def peers(self, *scripts, **settings):
        self.targets = [self.fault(on_other=script) for script in scripts]
        self.front = self.broadcaster(self.targets, **settings)

    def ask(self, query="", path="/media", *fields):
        return get(self.front.port, path + query, *fields)

    def page(self, query=""):
        answer = self.ask(query)
        self.assertEqual(answer.status, 200, answer)
        return answer.json()

    def walk(self, query, limit):
        """Every row of all pages."""
        rows, after = [], ""
        while True:
            page = self.page(f"?limit={limit}&{query}{after}")
            rows += page["media"]
            self.assertLessEqual(len(page["media"]), limit)
            if page["next"] is None:
                return rows
            self.assertTrue(page["media"], "an empty page that has a next one")
            after = f"&after={page['next']}"

    def states(self, page):
        return [reader["state"] for reader in page["readers"]]


class Lists(Catalogue):
    """Pages of several readers become one."""

    def test_real_readers_with_sets_that_overlap_are_paged_through(self):
        boxes = self.readers(3)
        self.front = self.broadcaster(boxes)
        wanted = {}
        for number in range(24):
            holders = [b for i, b in enumerate(boxes) if (number + 1) >> i & 1]
            if number % 8 == 7 or not holders:
                holders = boxes
            data = payload(number * 7 % 40, seed=number)
            name = f"{'abc'[number % 3]} {number // 6}"
            for box in holders:
                self.store(box, ID % number, data, name)
            wanted[ID % number] = (name, len(data), {b.name for b in holders})
        for query, key, down in (
                ("", lambda r: r["id"], False),
                ("order=desc", lambda r: r["id"], True),
                ("sort=name", lambda r: (r["name"], r["id"]), False),
                ("sort=name&order=desc", lambda r: (r["name"], r["id"]), True),
                ("sort=size", lambda r: (r["size"], r["id"]), False),
                ("q=a", lambda r: r["id"], False)):
            for limit in (1, 3, 7, 100):
                rows = self.walk(query, limit)
                expected = {k for k, v in wanted.items()
                            if "q=" not in query or "a" in v[0]}
                self.assertEqual([r["id"] for r in rows],
                                 [r["id"] for r in
                                  sorted(rows, key=key, reverse=down)], query)
                self.assertEqual(len(rows), len(expected), query)
                self.assertEqual({r["id"] for r in rows}, expected)
                for entry in rows:
                    name, size, copies = wanted[entry["id"]]
                    self.assertEqual(set(entry["copies"]), copies)
                    self.assertEqual((entry["name"], entry["size"]),
                                     (name, size))

    def store(self, box, object_id, data, name):
        answer = stage(box, object_id, data, "Content-Disposition: attachment; "
                       f'filename="{name}"')
        self.assertEqual(answer.status, 200)
        self.assertEqual(commit(box, object_id, data).status, 201)

    def test_a_row_has_its_url_and_its_copies(self):
        self.peers(catalogue([row(1), row(2)]), catalogue([row(2), row(3)]))
        page = self.page()
        self.assertEqual([r["copies"] for r in page["media"]],
                         [[self.targets[0].name],
                          [t.name for t in self.targets],
                          [self.targets[1].name]])
        self.assertEqual(page["media"][0]["url"], f"/media/{ID % 1}")
        self.assertEqual(page["media"][0]["metadata"], {})
        self.assertIsNone(page["next"])
        self.assertEqual(self.states(page), ["ok", "ok"])

    def test_contents_that_differ_under_one_id_are_both_told(self):
        self.peers(catalogue([row(1), row(2)]),
                   catalogue([row(1, digest="0" * 64), row(2)]))
        page = self.page("?limit=1")
        self.assertEqual([r["id"] for r in page["media"]], [ID % 1] * 2)
        page = self.page(f"?limit=1&after={page['next']}")
        self.assertEqual([r["id"] for r in page["media"]], [ID % 2])

    def test_the_best_matches_of_all_readers_come_first(self):
        rows = [row(n, score=s) for n, s in
                ((1, 0.25), (2, 1 / 3), (3, 0.9), (4, 1 / 3), (5, 0.1))]
        self.peers(catalogue(rows[:3], ranked=True),
                   catalogue(rows[2:], ranked=True))
        for limit in (1, 2, 5):
            found = self.walk("q=x", limit)
            self.assertEqual([r["id"] for r in found],
                             [ID % n for n in (3, 2, 4, 1, 5)])

    def test_matches_of_readers_that_cannot_rank_are_found_too(self):
        """What only they hold; their score is 1."""
        ranked = [row(n, score=s) for n, s in ((1, 1.0), (4, 0.75), (5, 0.5))]
        self.peers(catalogue([row(9), row(2), row(1)]),
                   catalogue(ranked, ranked=True))
        for limit in (1, 2, 3, 100):
            self.assertEqual([r["id"] for r in self.walk("q=x", limit)],
                             [ID % n for n in (1, 2, 9, 4, 5)])
        self.assertEqual(self.states(self.page("?q=x")), ["ok", "ok"])

    def test_real_stores_of_both_kinds_are_paged_through_by_relevance(self):
        server = postgres.shared()
        boxes = [self.reader(READER_STORE="postgres",
                             **server.create_database().env())
                 for _ in range(2)]
        boxes.append(self.reader())
        self.front = self.broadcaster(boxes)
        words = ("summer", "sumer", "summers", "simmer", "hammer", "rain")
        dice, wanted = random.Random(3), {}
        for number in range(40):
            first, second = dice.sample(words, 2)
            name = f"{first} {second} {number // 5}.mp3"
            holders = [b for b in boxes if dice.random() < 0.5] or [boxes[2]]
            for box in holders:
                self.store(box, ID % number, b"%d" % number, name)
            if "summer" in name:
                wanted[ID % number] = {b.name for b in holders}
        whole = self.page("?q=summer&limit=1000")["media"]
        exact = [r for r in whole if r["score"] == 1]
        self.assertEqual([(r["id"], set(r["copies"])) for r in exact],
                         sorted(wanted.items()))
        self.assertGreater(len(whole), len(exact), "no similar word is found")
        self.assertEqual(whole, sorted(whole,
                                       key=lambda r: (-r["score"], r["id"])))
        for limit in (1, 2, 3, 7):
            self.assertEqual(self.walk("q=summer", limit), whole)

    def test_a_list_that_a_file_store_began_goes_on_with_a_database(self):
        server = postgres.shared()
        base = self.reader(READER_STORE="postgres",
                           **server.create_database().env())
        box = self.reader()
        self.front = self.broadcaster([box, base])
        for number in range(8):
            for reader in (box, base) if number < 6 else (base,):
                self.store(reader, ID % number, b"x", f"summer {number}")
        base.kill()
        page = self.page("?q=summer&limit=2")
        self.assertEqual(self.states(page), ["ok", "unreachable"])
        base.restart().wait_ready()
        page = self.page(f"?q=summer&limit=100&after={page['next']}")
        self.assertEqual(self.states(page), ["ok", "ok"])
        self.assertEqual([r["id"] for r in page["media"]],
                         [ID % n for n in range(2, 8)])
        base.may_fail = False

    def test_a_reader_that_refuses_a_cursor_of_others_does_not_count(self):
        ranked = [row(n, score=n / 10) for n in range(1, 6)]
        self.peers(catalogue([], status=400, body=b"bad cursor\n"),
                   catalogue(ranked, ranked=True))
        answer = self.ask("?q=x")
        self.assertEqual((answer.status, answer.json()["detail"]),
                         (400, "bad cursor"))
        cursor = cursor_of(ranked[-1], "relevance", "asc")
        page = self.page(f"?q=x&after={cursor}")
        self.assertEqual(self.states(page), ["unreachable", "ok"])
        self.assertEqual(len(page["media"]), 4)

    def test_a_reader_that_is_down_is_named(self):
        good = self.fault(on_other=catalogue([row(1)]))
        self.front = self.broadcaster([f"127.0.0.1:{self.dead_port()}", good])
        page = self.page()
        self.assertEqual(self.states(page), ["unreachable", "ok"])
        self.assertIn("connect", page["readers"][0]["error"])
        self.assertEqual(len(page["media"]), 1)

    def test_not_every_list_waits_for_a_reader_that_hangs(self):
        def gated(ex):
            ex.gate()
        self.peers(gated, catalogue([row(1)]), BROADCASTER_MEDIA_ASK_MS=50,
                   BROADCASTER_CONNECT_TIMEOUT_MS=800)
        waited = []
        for _ in range(3):
            page = self.page()
            self.assertEqual(self.states(page), ["unreachable", "ok"])
            self.assertEqual(len(page["media"]), 1)
            waited.append(re.search(r"within (\d+) ms",
                                    page["readers"][0]["error"]).group(1))
        self.assertEqual(waited, ["800", "50", "50"])

    def test_no_reader_at_all_is_an_error(self):
        self.front = self.broadcaster([f"127.0.0.1:{self.dead_port()}"])
        answer = self.ask()
        self.assertEqual(answer.status, 502)
        self.assertEqual(answer.json()["readers"][0]["state"], "unreachable")

    def test_lists_that_are_none_are_passed_over(self):
        rows = [row(3), row(1), row(2)]
        lies = [b"", b"[]", b"{", b'{"objects":3}', b'{"objects":[3]}',
                {"objects": [dict(row(1), id="x")]},
                {"objects": [dict(row(1), sha256="x")]},
                {"objects": [dict(row(1), size=-1)]},
                {"objects": [dict(row(1), name="n" * 1025)]},
                {"objects": [], "next": "x"}, {"objects": rows, "next": "x"}]
        self.peers(catalogue([row(1)]),
                   *[catalogue([], status=200, body=lie) for lie in lies],
                   not_found)
        page = self.page()
        self.assertEqual(len(page["media"]), 1)
        self.assertEqual(self.states(page),
                         ["ok"] + ["unreachable"] * (len(lies) + 1))

    def test_members_that_readers_leave_out_are_left_out(self):
        old = {k: v for k, v in row(1).items()
               if k not in ("title", "creator", "metadata", "created_at")}
        self.peers(catalogue([], status=200, body={"objects": [old]}))
        self.assertNotIn("title", self.page()["media"][0])
        self.assertEqual(self.ask("", "/api/songs").json()["media"],
                         [{"ID": ID % 1, "Hash": ID % 1, "Title": "name 1",
                           "Creator": ""}])

    def test_a_page_that_is_too_long_is_asked_for_in_halves(self):
        long = {"x": "y" * 2000}
        rows = [row(n, metadata=long) for n in range(1, 1001)]
        self.peers(catalogue(rows))
        found = self.walk("", 1000)
        self.assertEqual([r["id"] for r in found], [r["id"] for r in rows])
        self.assertEqual(found[0]["metadata"], long)

    @slow("sanitizers keep memory of their own")
    def test_an_endless_answer_is_given_up(self):
        def endless(ex):
            ex.raw(b"HTTP/1.1 200 OK\r\n\r\n")
            while not ex.target.released.is_set():
                ex.raw(b" " * 65536)
        self.peers(endless, catalogue([row(1)]))
        before = self.front.rss()
        self.assertEqual(self.states(self.page()), ["unreachable", "ok"])
        self.assertLess(self.front.rss() - before, 8 * MIB)

    def test_filters_are_passed_on(self):
        self.peers(catalogue([row(1)]))
        self.ask("?q=%C3%A4+b&type=audio/*&from=2026-01-01&until=2027-01-01"
                 "&min_size=1&max_size=9&limit=5")
        self.assertEqual(
            self.targets[0].legs[0].target,
            "/objects?limit=5&q=%C3%A4+b&type=audio/*&from=2026-01-01"
            "&until=2027-01-01&min_size=1&max_size=9")

    def test_an_empty_parameter_counts_as_not_given(self):
        box = self.reader()
        self.front = self.broadcaster([box])
        for query in ("limit", "limit=", "q&limit&sort=id", "&&", "after"):
            self.assertEqual(self.ask("?" + query).status, 200, query)

    def test_wrong_parameters_are_refused(self):
        box = self.reader()
        self.front = self.broadcaster([box])
        for query in ("limit=0", "limit=1001", "limit=x", "who=me", "sort=age",
                      "order=up", "from=yesterday", "min_size=-1", "type=x",
                      "after=x", "q=%zz", "q=%00", "q=a&q=b", "limit=1&limit=2",
                      "sort=relevance"):
            answer = self.ask("?" + query)
            self.assertEqual(answer.status, 400, query)
            self.assertIn(query.split("=")[0], answer.json()["detail"])

    def test_a_query_that_is_too_long_is_the_clients_fault(self):
        """Wherever it is noticed: what readers are sent is longer than what came."""
        box = self.reader()
        self.front = self.broadcaster([box])
        seen = set()
        for n in (1025, 8150, 8160, 8170, 8180, 8190, 9000):
            for path in ("/media", "/api/songs"):
                seen.add(self.ask("?q=" + "x" * n, path).status)
        self.assertEqual(seen, {400, 414})

    def test_a_client_that_goes_away_is_forgotten(self):
        def gated(ex):
            ex.gate()
        self.peers(gated)
        client = Client(self.front.port)
        client.request("GET", "/media")
        wait_until(lambda: self.targets[0].legs, "it was asked")
        client.reset()
        self.targets[0].open_gate()
        self.assertEqual(self.ask().status, 502)


class Songs(Catalogue):
    """StreamX's names."""

    def test_what_was_uploaded_is_found(self):
        boxes = self.readers(2)
        self.front = self.broadcaster(boxes)
        ids = [self.upload_song(title, f"song {title}.mp3")
               for title in ("Alpha", "", "Gamma")]
        songs = self.ask("", "/api/songs").json()
        self.assertEqual(songs, {"count": 3, "media": [
            self.song(ids[2], "Gamma"), self.song(ids[1], "song .mp3"),
            self.song(ids[0], "Alpha")]})
        found = self.ask("?q=alph", "/api/songs").json()
        self.assertEqual(found, {"count": 1,
                                 "media": [self.song(ids[0], "Alpha")]})

    def song(self, object_id, title):
        return {"ID": object_id, "Hash": object_id, "Title": title,
                "Creator": "somebody"}

    def upload_song(self, title, name):
        form = "".join(
            f"--b\r\nContent-Disposition: form-data; {what}\r\n\r\n{value}\r\n"
            for what, value in (('name="title"', title),
                                ('name="creator"', "somebody"),
                                (f'name="media"; filename="{name}"', "bytes")))
        answer = fetch(self.front.port, "POST", "/api/upload",
                       "Content-Type: multipart/form-data; boundary=b",
                       body=(form + "--b--\r\n").encode())
        self.assertEqual(answer.status, 201, answer)
        return answer.json()["id"]

    def test_no_song_is_an_empty_list(self):
        self.peers(catalogue([]))
        self.assertEqual(self.ask("?q=", "/api/songs").json(),
                         {"count": 0, "media": []})

    def test_other_parameters_are_refused(self):
        self.peers(catalogue([]))
        self.assertEqual(self.ask("?limit=3", "/api/songs").status, 400)


class Deletion(Catalogue):

    def delete(self, object_id, *fields):
        return fetch(self.front.port, "DELETE", f"/media/{object_id}", *fields)

    def test_all_copies_are_deleted(self):
        boxes = self.readers(3)
        self.front = self.broadcaster(boxes)
        object_id = self.put(self.front, b"content").data["id"]
        answer = self.delete(object_id)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.json(), {"id": object_id, "readers": [
            {"name": b.name, "state": "deleted", "error": None}
            for b in boxes]})
        self.assert_nothing_left(*boxes)
        self.assertEqual(get(self.front.port, f"/media/{object_id}").status,
                         404)
        self.assertEqual(self.delete(object_id).status, 200)

    def states(self, answer):
        return [r["state"] for r in answer.json()["readers"]]

    def test_what_was_asked_twice_may_be_deleted(self):
        """Its connection dies before the answer, and the second one finds nothing."""
        def unmatched(ex):
            ex.read_all()
            ex.answer(412, "{}")
            return KEEP

        def die(ex):
            ex.read_all()
        target = self.fault(on_delete=in_turn(unmatched, die, unmatched))
        self.front = self.broadcaster([target])
        for status, state in ((412, "unmatched"), (502, "failed")):
            answer = self.delete(ID % 1, 'If-Match: "x"')
            self.assertEqual(answer.status, status, answer)
            self.assertEqual(self.states(answer), [state])
        self.assertEqual(len(target.requests("DELETE")), 3)

    def test_a_deletion_may_name_the_content(self):
        boxes = self.readers(2)
        self.front = self.broadcaster(boxes)
        object_id = self.put(self.front, b"content").data["id"]
        ours, other = f'"{sha256(b"content")}"', f'"{sha256(b"x")}"'
        for fields in ([f"If-Match: {other}"], [f"If-Match: W/{ours}"],
                       ["If-Match: x"], [f"If-None-Match: {ours}"],
                       ["If-None-Match: *"],
                       ["If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT"]):
            for port, path in ((self.front.port, "media"),
                               (boxes[0].port, "objects")):
                answer = fetch(port, "DELETE", f"/{path}/{object_id}", *fields)
                self.assertEqual(answer.status, 412, (path, fields))
            self.assertEqual(len(boxes[0].objects()), 1)
            self.assertEqual(len(boxes[1].objects()), 1)
        answer = self.delete(object_id, f"If-Match: {other}")
        self.assertEqual(self.states(answer), ["unmatched", "unmatched"])
        answer = self.delete(object_id, f"If-Match: {other}",
                             f"If-Match: {other}, {ours}")
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.states(answer), ["deleted", "deleted"])
        self.assert_nothing_left(*boxes)
        self.assertEqual(self.delete(object_id, "If-Match: *").status, 412)
        self.assertEqual(self.delete(object_id).status, 200)

    def test_only_the_content_that_was_named_is_deleted(self):
        """Others of this id stay; and "*" is whatever is there."""
        boxes = self.readers(3)
        for box, data in zip(boxes, (b"one", b"two")):
            stage(box, ID % 1, data)
            commit(box, ID % 1, data)
        self.front = self.broadcaster(boxes)
        answer = self.delete(ID % 1, f'If-Match: "{sha256(b"one")}"')
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.states(answer),
                         ["deleted", "unmatched", "unmatched"])
        answer = self.delete(ID % 1, "If-Match: *")
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.states(answer),
                         ["unmatched", "deleted", "unmatched"])
        self.assert_nothing_left(*boxes)

    def test_a_copy_that_may_match_remains_with_who_is_down(self):
        box = self.reader()
        self.front = self.broadcaster([box, f"127.0.0.1:{self.dead_port()}"])
        answer = self.delete(ID % 1, "If-Match: *")
        self.assertEqual(answer.status, 502)
        self.assertEqual(self.states(answer), ["unmatched", "unreachable"])

    def test_an_upload_is_not_aborted_by_a_deletion_that_names_a_content(self):
        box = self.reader()
        stage(box, ID % 1, b"one")
        answer = fetch(box.port, "DELETE", f"/objects/{ID % 1}", "If-Match: *")
        self.assertEqual(answer.status, 412)
        self.assertEqual(commit(box, ID % 1, b"one").status, 201)

    def test_a_copy_that_may_remain_is_told(self):
        boxes = self.readers(2)
        refusing = self.fault(on_delete=refuse(500, "disk failure\n"))
        self.front = self.broadcaster([*boxes, refusing])
        object_id = self.put(self.front, b"content").data["id"]
        boxes[1].kill()
        answer = self.delete(object_id)
        self.assertEqual(answer.status, 502)
        readers = answer.json()["readers"]
        self.assertEqual([r["state"] for r in readers],
                         ["deleted", "unreachable", "failed"])
        self.assertIn("connect", readers[1]["error"])
        self.assertIn("disk failure", readers[2]["error"])
        self.assert_nothing_visible(boxes[0])
        boxes[1].restart().wait_ready()
        self.assertIn(object_id, boxes[1].objects())
        boxes[1].may_fail = False

    def test_a_deletion_is_ended_when_its_client_has_gone(self):
        def gated(ex):
            ex.gate()
            ex.answer(204)
        peer = self.fault(on_delete=gated)
        self.front = self.broadcaster([peer])
        client = Client(self.front.port)
        client.request("DELETE", f"/media/{ID % 1}")
        wait_until(peer.deletes, "it was asked")
        client.reset()
        peer.open_gate()
        wait_until(lambda: self.front.log_lines("event=delete", "failed=0"),
                   "the deletion has ended")


class Access(Catalogue):

    def test_the_token_guards_everything_but_the_page(self):
        self.peers(catalogue([row(1)]), BROADCASTER_TOKEN="secret")
        for method, path in (("GET", "/media"), ("GET", "/api/songs"),
                             ("GET", f"/media/{ID % 1}"),
                             ("HEAD", f"/media/{ID % 1}"),
                             ("DELETE", f"/media/{ID % 1}")):
            answer = fetch(self.front.port, method, path)
            self.assertEqual(answer.status, 401, (method, path))
        answer = self.ask("", "/media", "Authorization: Bearer secret")
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.ask("", "/").status, 200)

    def test_public_media_need_a_token_for_changes_only(self):
        self.peers(catalogue([row(1)]), BROADCASTER_TOKEN="secret",
                   BROADCASTER_PUBLIC_MEDIA="true")
        self.assertEqual(self.ask("", "/media").status, 200)
        self.assertEqual(self.ask("", "/api/songs").status, 200)
        self.assertEqual(self.ask("", f"/media/{ID % 1}").status, 502)
        answer = fetch(self.front.port, "DELETE", f"/media/{ID % 1}")
        self.assertEqual(answer.status, 401)
        self.assertEqual(self.ask("", "/broadcast").status, 401)

    def test_players_without_a_token_play_by_the_urls_of_the_list(self):
        """And with any instance that has the same token."""
        box = self.reader()
        both = [self.broadcaster([box], BROADCASTER_TOKEN="secret")
                for _ in range(2)]
        self.front = both[0]
        auth = "Authorization: Bearer secret"
        ids = [self.put(both[0], data, auth).data["id"]
               for data in (b"one", b"two")]
        urls = [r["url"] for r in self.ask("", "/media", auth).json()["media"]]
        for front in both:
            for url, data in zip(urls, (b"one", b"two")):
                answer = get(front.port, url)
                self.assertEqual((answer.status, answer.body), (200, data))
                self.assertEqual(answer.headers["cache-control"],
                                 "private, no-cache")
                answer = get(front.port, url + "&download=1",
                             "Range: bytes=1-1")
                self.assertEqual((answer.status, answer.body),
                                 (206, data[1:2]))
                answer = fetch(front.port, "HEAD", url)
                self.assertEqual(answer.status, 200)
        self.assert_good_for_nothing_else(urls[0], ids[1])
        for front in both:
            self.assertNotIn("ticket", front.log())

    def assert_good_for_nothing_else(self, url, other):
        ticket = url.partition("?")[2]
        bad = url[:-1] + ("A" if url[-1] != "A" else "B")
        for method, path in (("GET", f"/media/{other}?{ticket}"),
                             ("GET", f"/media?{ticket}"), ("GET", bad),
                             ("GET", f"/api/songs?{ticket}"),
                             ("GET", f"/broadcast?{ticket}"),
                             ("DELETE", url)):
            answer = fetch(self.front.port, method, path)
            self.assertEqual(answer.status, 401, (method, path))

    def test_urls_have_no_ticket_where_none_is_needed(self):
        for settings in ({}, {"BROADCASTER_TOKEN": "secret",
                              "BROADCASTER_PUBLIC_MEDIA": "true"}):
            self.peers(catalogue([row(1)]), **settings)
            self.assertEqual(self.page()["media"][0]["url"],
                             f"/media/{ID % 1}")

    def test_what_needs_a_token_is_private_to_caches(self):
        for public, wanted in (("true", "no-cache"),
                               ("false", "private, no-cache")):
            self.peers(holder(b"x"), BROADCASTER_TOKEN="secret",
                       BROADCASTER_PUBLIC_MEDIA=public)
            answer = self.ask("", f"/media/{ID % 1}",
                              "Authorization: Bearer secret")
            self.assertEqual(answer.headers["cache-control"], wanted)


class OtherSites(Catalogue):
    """CORS."""

    SITE = "Origin: https://a.example"

    def test_nothing_is_allowed_unless_it_is_configured(self):
        self.peers(catalogue([]))
        answer = self.ask("", "/media", self.SITE)
        self.assertNotIn("access-control-allow-origin", answer.headers)
        answer = fetch(self.front.port, "OPTIONS", "/media", self.SITE,
                       "Access-Control-Request-Method: DELETE")
        self.assertEqual(answer.status, 405)

    def test_a_site_on_the_list_may_read_and_others_may_not(self):
        self.peers(catalogue([]),
                   BROADCASTER_CORS_ORIGINS="https://b.example;"
                                            "https://a.example")
        for path in ("/media", f"/media/{ID % 1}", "/api/songs", "/broadcast",
                     "/api/nothing"):
            fields = self.ask("", path, self.SITE).headers
            self.assertEqual(fields["access-control-allow-origin"],
                             "https://a.example", path)
            self.assertEqual(fields["vary"], "Origin")
            self.assertIn("Content-Range",
                          fields["access-control-expose-headers"])
            for other in ([], ["Origin: https://c.example"], ["Origin: null"]):
                fields = self.ask("", path, *other).headers
                self.assertNotIn("access-control-allow-origin", fields)
                self.assertEqual(fields["vary"], "Origin")
        fields = self.ask("", "/metrics", self.SITE).headers
        self.assertNotIn("access-control-allow-origin", fields)

    def test_a_star_allows_everybody(self):
        self.peers(catalogue([]), BROADCASTER_CORS_ORIGINS="*")
        fields = self.ask("", "/media", self.SITE).headers
        self.assertEqual(fields["access-control-allow-origin"], "*")
        self.assertNotIn("vary", fields)

    def test_a_preflight_needs_no_token(self):
        self.peers(catalogue([]), BROADCASTER_TOKEN="secret",
                   BROADCASTER_CORS_ORIGINS="https://a.example")
        answer = fetch(self.front.port, "OPTIONS", f"/media/{ID % 1}",
                       self.SITE, "Access-Control-Request-Method: DELETE",
                       "Access-Control-Request-Headers: authorization")
        self.assertEqual((answer.status, answer.body), (204, b""))
        fields = answer.headers
        self.assertEqual(fields["access-control-allow-origin"],
                         "https://a.example")
        self.assertIn("DELETE", fields["access-control-allow-methods"])
        for name in ("Authorization", "Range", "If-Range", "Content-Type"):
            self.assertIn(name, fields["access-control-allow-headers"])
        refused = self.ask("", "/media", self.SITE)
        self.assertEqual(refused.status, 401)
        self.assertIn("access-control-allow-origin", refused.headers)

    def test_a_list_that_is_none_stops_the_start(self):
        for bad in ("a.example", "https://a.example/", "https://A.example",
                    "https://a.example;*", "https://", "https://a b"):
            front = self.broadcaster(["127.0.0.1:1"], wait=False,
                                     BROADCASTER_CORS_ORIGINS=bad)
            front.may_fail = True
            self.assertEqual(front.wait(), 2, bad)
            self.assertIn("BROADCASTER_CORS_ORIGINS", front.log())


class Page(Catalogue):

    def test_the_page_runs_its_own_script_only(self):
        self.peers(catalogue([]))
        answer = self.ask("", "/")
        self.assertEqual(answer.status, 200)
        text = answer.body.decode()
        policy = answer.headers["content-security-policy"]
        self.assertIn("default-src 'none'", policy)
        for tag in ("script", "style"):
            inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.S).group(1)
            digest = hashlib.sha256(inside.encode()).digest()
            self.assertIn(f"{tag}-src 'sha256-"
                          f"{base64.b64encode(digest).decode()}'", policy)
        self.assertEqual(re.findall(r"(?:src|href)=[\"']?http", text), [])
        self.assertEqual(re.findall(r"innerHTML|document\.write| on\w+=", text),
                         [])

    def test_the_page_answers_head_and_nothing_else(self):
        self.peers(catalogue([]))
        answer = fetch(self.front.port, "HEAD", "/")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(fetch(self.front.port, "DELETE", "/").status, 404)
