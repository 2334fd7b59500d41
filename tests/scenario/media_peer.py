"""media_peer.py - scripted readers that hold objects, truthfully or not

    target = FaultTarget(on_other=holder(data))             a good one
    target = FaultTarget(on_other=holder(data, stall_at=1000))
    target = FaultTarget(on_other=catalogue(rows))          answers GET /objects

They speak the reading half of docs/reader-api.md.
"""
import base64
import hashlib
import json
import re
from urllib.parse import parse_qs, urlsplit

from fault_target import KEEP
from object_api import ID, digest_value


def etag_of(data):
    return hashlib.sha256(data).hexdigest()


def extent(ex, data):
    """(status, first, last) for the request's Range, as a reader decides."""
    match = ex.leg.headers.get("if-match")
    if match and match != f'"{etag_of(data)}"':
        return 412, 0, -1
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", ex.leg.headers.get("range", ""))
    if not found:
        return 200, 0, len(data) - 1
    first = int(found.group(1))
    if first >= len(data):
        return 416, 0, -1
    return 206, first, min(int(found.group(2) or len(data)), len(data) - 1)


def head_of(status, first, last, size, **lies):
    """The head of a reader's answer; `lies` replace (None: leave out) fields."""
    fields = {"Content_Length": last - first + 1,
              "Content_Type": "application/octet-stream",
              "Accept_Ranges": "bytes", **lies}
    if status == 206:
        fields.setdefault("Content_Range", f"bytes {first}-{last}/{size}")
    if status == 416:
        fields.setdefault("Content_Range", f"bytes */{size}")
    lines = [f"{name.replace('_', '-')}: {value}"
             for name, value in fields.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status} Scripted", *lines, "", ""]).encode()


def holder(data, stall_at=None, rst_at=None, fin_at=None, only=None, gate=False,
           status=None, skip=0, **lies):
    """Serve `data`; each `..._at` counts content bytes of an answer.

    only: fail this often, then be good. gate: wait for open_gate() before the
    head. status, skip: answer with another one, other bytes. lies: fields that
    are not true; "ETag", "Content_Range", …
    """
    digest = etag_of(data)
    times = [0]

    def script(ex):
        ex.read_all()
        times[0] += 1
        is_bad = only is None or times[0] <= only
        if gate and is_bad:
            ex.gate()
        answer, first, last = extent(ex, data)
        content = data[first:last + 1]
        fields = {"ETag": f'"{digest}"', "Repr_Digest": digest_value(digest)}
        if is_bad:
            fields.update(lies)
            answer = status or answer
            content = data[first + skip:last + 1 + skip]
        ex.raw(head_of(answer, first, last, len(data), **fields))
        if ex.leg.method == "HEAD":
            return KEEP
        cuts = [n for n in (stall_at, rst_at, fin_at) if n is not None]
        if not is_bad or not cuts or cuts[0] > len(content):
            ex.raw(content)
            return KEEP
        ex.raw(content[:cuts[0]])
        if stall_at is not None:
            ex.stall()
        elif rst_at is not None:
            ex.reset()
        return None
    return script


def in_turn(*scripts):
    """The first request follows the first script, the last one all others."""
    left = list(scripts)

    def script(ex):
        return (left.pop(0) if len(left) > 1 else left[0])(ex)
    return script


def row(number, name=None, size=None, digest=None, score=None, **more):
    """A row of a list."""
    entry = {"id": ID % number, "name": name or f"name {number}", "title": "",
             "creator": "", "content_type": "text/plain",
             "size": number if size is None else size,
             "sha256": digest or etag_of(b"%d" % number),
             "created_at": "2026-01-31T23:59:59.123Z", "metadata": {}, **more}
    if score is not None:
        entry["score"] = score
    return entry


# Where a row stands in each order: what is compared.
PLACES = {
    "id": lambda r: (r["id"],),
    "name": lambda r: (r["name"], r["id"]),
    "size": lambda r: (r["size"], r["id"]),
    "relevance": lambda r: (-r.get("score", 1.0), r["id"]),
}


def cursor_of(entry, sort, order):
    """As readers write it."""
    if sort == "id":
        return entry["id"]
    key = {"name": entry["name"], "size": str(entry["size"]),
           "relevance": f"{-entry.get('score', 1.0):.17g}"}[sort]
    plain = f"{sort[0]}{order[0]}{entry['id']}{key}".encode()
    return base64.urlsafe_b64encode(plain).rstrip(b"=").decode()


def place_of(cursor, sort, order):
    """The place a cursor says; ValueError when it is of another order."""
    if sort == "id":
        return (cursor,)
    plain = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    if plain[:2] != sort[0] + order[0]:
        raise ValueError(cursor)
    key = {"name": str, "size": int, "relevance": float}[sort]
    return (key(plain[38:]), plain[2:38])


def page_of(rows, asked, ranked):
    """The answer to a list request, as a reader's."""
    default = "relevance" if asked.get("q") else "id"
    sort, order = asked.get("sort", default), asked.get("order", "asc")
    place, down = PLACES[sort], order == "desc"
    found = sorted(rows, key=place, reverse=down)
    if asked.get("after"):
        after = place_of(asked["after"], sort, order)
        found = [r for r in found
                 if (place(r) < after if down else place(r) > after)]
    limit = int(asked.get("limit", 100))
    more = len(found) > limit
    return {"objects": found[:limit], "ranked": ranked,
            "next": cursor_of(found[limit - 1], sort, order) if more else None}


def catalogue(rows, ranked=False, status=None, body=b""):
    """A reader's list of `rows`, or always the same answer."""
    def script(ex):
        ex.read_all()
        if status:
            ex.answer(status, body)
            return KEEP
        asked = {k: v[0] for k, v in
                 parse_qs(urlsplit(ex.leg.target).query).items()}
        try:
            ex.answer(200, json.dumps(page_of(rows, asked, ranked)))
        except ValueError:
            ex.answer(400, {"detail": "after is of another list"})
        return KEEP
    return script
