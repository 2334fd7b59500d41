"""s3_peer.py - an S3 server that follows a script, right or wrong

    peer = S3Peer()                                      a well-behaved one
    peer = S3Peer(part=[slow_down] * 3)                  its first three parts
    peer = S3Peer(complete=lose_answer)                  every one

Every request is one of KINDS, and a script may be given for each kind: one for
all of them, or a list that is used up, one a request, before the peer behaves.
Scripts are those of fault_target.py, and those below. peer.calls has what came
in: kind, key, query, headers, size, and whether it was signed as it must be.

It keeps everything in memory: for tens of megabytes.
"""
import email.utils
import hashlib
import itertools
import re
import time
import urllib.parse
import xml.etree.ElementTree
from xml.sax.saxutils import escape

from fault_target import KEEP, FaultTarget
from s3_client import signature, tags

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12"
REGION = "us-east-1"
LONG_AGO = 1769900000.0      # seconds since 1970
XML = "Content-Type: application/xml"

KINDS = {
    # kind: method, is there a key, what the query must have
    "create": ("POST", True, {"uploads"}),
    "complete": ("POST", True, {"uploadId"}),
    "part": ("PUT", True, {"uploadId", "partNumber"}),
    "put": ("PUT", True, set()),
    "parts": ("GET", True, {"uploadId"}),
    "get": ("GET", True, set()),
    "head": ("HEAD", True, set()),
    "abort": ("DELETE", True, {"uploadId"}),
    "delete": ("DELETE", True, set()),
    "uploads": ("GET", False, {"uploads"}),
    "list": ("GET", False, set()),
    "bucket": ("HEAD", False, set()),
}


class Call:
    """One request, as a server understands it."""

    def __init__(self, peer, leg):
        self.leg = leg
        self.method = leg.method
        self.headers = leg.headers
        path, _, self.raw_query = leg.target.partition("?")
        self.path = path
        self.query = dict(urllib.parse.parse_qsl(self.raw_query,
                                                 keep_blank_values=True))
        bucket, _, key = path.lstrip("/").partition("/")
        self.bucket = urllib.parse.unquote(bucket)
        self.key = urllib.parse.unquote(key)
        self.kind = next(
            (kind for kind, (method, has_key, query) in KINDS.items()
             if method == self.method and has_key == bool(self.key)
             and query <= set(self.query)), "other")
        self.is_signed = self.signature_is_right(peer)

    def signature_is_right(self, peer):
        """By all it claims to have signed, host and x-amz-* among it."""
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\S+), ?"
            r"SignedHeaders=(\S+), ?Signature=([0-9a-f]{64})",
            self.headers.get("authorization", ""))
        if not found or found[1] != peer.key:
            return False
        names = found[3].split(";")
        must = {"host", *(n for n in self.headers if n.startswith("x-amz-"))}
        if names != sorted(names) or not must <= set(names):
            return False
        query = "&".join(sorted(p if "=" in p else p + "="
                                for p in self.raw_query.split("&") if p))
        fields = {n: self.headers.get(n, "") for n in names}
        return found[4] == signature(peer.secret, found[2], self.method,
                                     self.path, query, fields)

    @property
    def size(self):
        return self.leg.size

    @property
    def status(self):
        return self.leg.status

    def __repr__(self):
        return f"<{self.kind} {self.key} {self.raw_query} {self.size} bytes" \
               f" -> {self.status}{'' if self.is_signed else ' UNSIGNED'}>"


# ---- scripts -----------------------------------------------------------------------

def behave(ex):
    """What the peer does without a script."""
    return ex.target.behave(ex)


def error(status, code, message="scripted", read=True, *fields):
    """The error that S3 would give; without `read`, before the body."""
    def script(ex):
        if read:
            ex.proceed()
            ex.read_all()
        ex.answer(status, error_xml(code, message), XML, *fields,
                  *([] if read else ["Connection: close"]))
        return KEEP if read else None
    return script


slow_down = error(503, "SlowDown", "Please reduce your request rate.")
slow_down_early = error(503, "SlowDown", "Not even the body.", read=False)
internal_error = error(500, "InternalError", "We encountered an error.")
access_denied = error(403, "AccessDenied", "Access Denied")


def error_in_200(code="InternalError", padding=0):
    """200, white space to keep the connection alive, and then an error."""
    def script(ex):
        ex.read_all()
        ex.answer(200, b" " * padding + error_xml(code, "scripted").encode(),
                  XML)
        return KEEP
    return script


def padded(ex):
    """Success, after white space and only when the gate opens."""
    ex.read_all()
    text = ex.target.completed(ex)
    ex.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n"
           b"Transfer-Encoding: chunked\r\n\r\n5\r\n     \r\n")
    ex.gate()
    ex.raw(b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text.encode()))
    return KEEP


def lose_answer(ex):
    """Do it, and reset the connection instead of saying so."""
    ex.is_silent = True
    ex.target.behave(ex)
    ex.reset()


def lose_request(ex):
    """Take it, do nothing, and reset the connection."""
    ex.proceed()
    ex.read_all()
    ex.reset()


def wrong_etag(ex):
    """Store a part, and say that it was another."""
    ex.proceed()
    ex.read_all()
    ex.target.keep_part(ex)
    ex.answer(200, b"", f'ETag: "{hashlib.md5(b"other").hexdigest()}"')
    return KEEP


def no_etag(ex):
    """200 for a part, but it has no ETag."""
    ex.proceed()
    ex.read_all()
    ex.answer(200)
    return KEEP


def redirect(ex):
    """307 to another place; unread bytes would reset what says so."""
    ex.proceed()
    ex.read_all()
    ex.answer(307, error_xml("TemporaryRedirect", "elsewhere"), XML,
              "Location: http://127.0.0.1:9/elsewhere", "Connection: close")


def truncated(ex):
    """Announce more of an answer than comes."""
    ex.proceed()
    ex.read_all()
    ex.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<?xml version=")


def xml_bomb(ex):
    """Entities that grow to gigabytes."""
    ex.proceed()
    ex.read_all()
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">'
                       for i in range(1, 12))
    ex.answer(200, f'<!DOCTYPE x [<!ENTITY e0 "lol">{entities}]><x>&e11;</x>',
              XML)
    return KEEP


def say_xml(text):
    """200 with this text, whatever was asked."""
    def script(ex):
        ex.proceed()
        ex.read_all()
        ex.answer(200, text, XML)
        return KEEP
    return script


# ---- the peer ------------------------------------------------------------------------

class S3Peer(FaultTarget):
    """One bucket; addresses are those of path style."""

    def __init__(self, bucket="test-bucket", key=KEY, secret=SECRET,
                 receive_buffer=0, create_once=False, checks_bodies=True,
                 **scripts):
        unknown = set(scripts) - set(KINDS) - {"other"}
        if unknown:
            raise ValueError(f"no such kinds of requests: {unknown}")
        self.bucket = bucket
        self.key = key
        self.secret = secret
        self.create_once = create_once  # is If-None-Match: * honoured?
        self.checks_bodies = checks_bodies
        self.of_kind = scripts
        self.calls = []
        self.uploads = {}           # id -> (key, headers, {number: bytes})
        self.objects = {}           # key -> (bytes, headers, etag)
        # When: by key, upload id, (upload id, number). What a test puts here
        # itself is of LONG_AGO unless it says so.
        self.times = {}
        self.numbers = itertools.count(1)
        self.parts_page = 1000      # a list of parts has as many
        everything = self.follow
        super().__init__(on_put=everything, on_commit=everything,
                         on_delete=everything, on_post=everything,
                         on_other=everything, receive_buffer=receive_buffer)
        self.endpoint = f"http://{self.address}"

    # ---- asking ---------------------------------------------------------------------

    def of(self, kind):
        """The calls of a kind, in their order."""
        with self.lock:
            return [call for call in self.calls if call.kind == kind]

    def unsigned(self):
        with self.lock:
            return [call for call in self.calls if not call.is_signed]

    # ---- following ------------------------------------------------------------------

    def follow(self, ex):
        call = ex.call = Call(self, ex.leg)
        ex.is_silent = False        # a script may do things and not say so
        with self.lock:
            self.calls.append(call)
            script = self.of_kind.get(call.kind, behave)
            if isinstance(script, list):
                script = script.pop(0) if script else behave
        return script(ex)

    def behave(self, ex):
        ex.proceed()
        ex.read_all()
        call = ex.call
        if not call.is_signed:
            return self.refuse(ex, 403, "SignatureDoesNotMatch")
        if call.bucket != self.bucket:
            return self.refuse(ex, 404, "NoSuchBucket")
        claimed = call.headers.get("x-amz-content-sha256")
        if self.checks_bodies and claimed != ex.leg.sha256 and \
                re.fullmatch("[0-9a-f]{64}", claimed or ""):
            return self.refuse(ex, 400, "XAmzContentSHA256Mismatch")
        return getattr(self, f"on_{call.kind}", self.on_unknown)(ex)

    def say(self, ex, status, body=b"", *fields):
        if not ex.is_silent:
            ex.answer(status, body, *fields)
        return KEEP

    def refuse(self, ex, status, code):
        body = "" if ex.leg.method == "HEAD" else error_xml(code, "scripted")
        return self.say(ex, status, body, XML)

    # ---- what it does when it behaves -------------------------------------------------

    def on_unknown(self, ex):
        return self.refuse(ex, 501, "NotImplemented")

    def on_bucket(self, ex):
        return self.say(ex, 200)

    def on_create(self, ex):
        upload_id = f"upload-{next(self.numbers)}"
        with self.lock:
            self.uploads[upload_id] = (ex.call.key, ex.call.headers, {})
            self.times[upload_id] = time.time()
        return self.say(ex, 200, result(
            "InitiateMultipartUploadResult", Bucket=self.bucket,
            Key=ex.call.key, UploadId=upload_id), XML)

    def keep_part(self, ex):
        """Its ETag; None when there is no such upload."""
        with self.lock:
            upload = self.uploads.get(ex.call.query["uploadId"])
            if not upload or upload[0] != ex.call.key:
                return None
            body = bytes(ex.leg.body)
            number = int(ex.call.query["partNumber"])
            upload[2][number] = body
            self.times[ex.call.query["uploadId"], number] = time.time()
            return etag_of(body)

    def on_part(self, ex):
        etag = self.keep_part(ex)
        if not etag:
            return self.refuse(ex, 404, "NoSuchUpload")
        return self.say(ex, 200, b"", f"ETag: {etag}")

    def completed(self, ex):
        """Complete the upload; the text to say, or the code of an error."""
        root = xml.etree.ElementTree.fromstring(bytes(ex.leg.body))
        wanted = list(zip(map(int, tags(root, "Part/PartNumber")),
                          (e.strip('"') for e in tags(root, "Part/ETag"))))
        with self.lock:
            key, headers, parts = self.uploads.get(
                ex.call.query["uploadId"], (None, {}, {}))
            if key != ex.call.key:
                return "NoSuchUpload"
            if not wanted or any(etag_of(parts.get(n, b"")).strip('"') != e
                                 for n, e in wanted):
                return "InvalidPart"
            if wanted != sorted(wanted):
                return "InvalidPartOrder"
            body = b"".join(parts[n] for n, _ in wanted)
            etag = hashlib.md5(b"".join(bytes.fromhex(e) for _, e in wanted))
            etag = f'"{etag.hexdigest()}-{len(wanted)}"'
            self.objects[key] = (body, headers, etag)
            self.times[key] = time.time()
            del self.uploads[ex.call.query["uploadId"]]
        return result("CompleteMultipartUploadResult", Bucket=self.bucket,
                      Key=key, ETag=etag)

    def on_complete(self, ex):
        text = self.completed(ex)
        if not text.startswith("<"):
            return self.refuse(ex, 404 if text == "NoSuchUpload" else 400, text)
        return self.say(ex, 200, text, XML)

    def on_abort(self, ex):
        with self.lock:
            found = self.uploads.pop(ex.call.query["uploadId"], None)
        if not found:
            return self.refuse(ex, 404, "NoSuchUpload")
        return self.say(ex, 204)

    def on_put(self, ex):
        body = bytes(ex.leg.body)
        once = self.create_once and \
            ex.call.headers.get("if-none-match") == "*"
        with self.lock:
            is_refused = once and ex.call.key in self.objects
            if not is_refused:
                self.objects[ex.call.key] = (body, ex.call.headers,
                                             etag_of(body))
                self.times[ex.call.key] = time.time()
        if is_refused:
            return self.refuse(ex, 412, "PreconditionFailed")
        return self.say(ex, 200, b"", f"ETag: {etag_of(body)}")

    def on_delete(self, ex):
        with self.lock:
            self.objects.pop(ex.call.key, None)
        return self.say(ex, 204)

    def iso_time(self, what):
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z",
                             time.gmtime(self.times.get(what, LONG_AGO)))

    def kept_fields(self, key, headers, etag):
        """Those of an object that GET and HEAD give back."""
        kept = [f"{n}: {v}" for n, v in headers.items()
                if n.startswith("x-amz-meta-") or n == "content-type"]
        put_at = email.utils.formatdate(self.times.get(key, LONG_AGO),
                                        usegmt=True)
        return [f"ETag: {etag}", f"Last-Modified: {put_at}",
                f"Date: {email.utils.formatdate(usegmt=True)}", *kept]

    def on_head(self, ex):
        with self.lock:
            found = self.objects.get(ex.call.key)
        if not found:
            return self.refuse(ex, 404, "NoSuchKey")
        body, headers, etag = found
        if not ex.is_silent:
            ex.leg.status = 200
            lines = ["HTTP/1.1 200 Scripted", f"Content-Length: {len(body)}",
                     *self.kept_fields(ex.call.key, headers, etag), "", ""]
            ex.raw("\r\n".join(lines).encode())
        return KEEP

    def on_get(self, ex):
        with self.lock:
            found = self.objects.get(ex.call.key)
        if not found:
            return self.refuse(ex, 404, "NoSuchKey")
        body, headers, etag = found
        fields = self.kept_fields(ex.call.key, headers, etag)
        span = re.fullmatch(r"bytes=(\d+)-(\d*)",
                            ex.call.headers.get("range", ""))
        if not span:
            return self.say(ex, 200, body, *fields)
        first = int(span[1])
        last = min(int(span[2] or len(body) - 1), len(body) - 1)
        return self.say(ex, 206, body[first:last + 1], *fields,
                        f"Content-Range: bytes {first}-{last}/{len(body)}")

    # ---- lists ------------------------------------------------------------------------

    def on_list(self, ex):
        """ListObjectsV2; the token is the last key."""
        query = ex.call.query
        after = max(query.get("continuation-token", ""),
                    query.get("start-after", ""))
        with self.lock:
            keys = sorted(k for k in self.objects if k > after
                          and k.startswith(query.get("prefix", "")))
            shown = keys[:int(query.get("max-keys", "1000"))]
            rows = "".join(
                row("Contents", Key=k, Size=len(self.objects[k][0]),
                    LastModified=self.iso_time(k),
                    ETag=self.objects[k][2]) for k in shown)
        more = {"NextContinuationToken": shown[-1]} \
            if len(shown) < len(keys) else {}
        return self.say(ex, 200, result(
            "ListBucketResult", rows, Name=self.bucket,
            IsTruncated=str(bool(more)).lower(), **more), XML)

    def on_uploads(self, ex):
        """In the order of keys, and of UploadIds."""
        query = ex.call.query
        after = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        with self.lock:
            found = sorted((key, upload_id) for upload_id, (key, _, _)
                           in self.uploads.items()
                           if key.startswith(query.get("prefix", "")))
        found = [f for f in found if f > after]
        shown = found[:int(query.get("max-uploads", "1000"))]
        rows = "".join(row("Upload", Key=key, UploadId=upload_id,
                           Initiated=self.iso_time(upload_id))
                       for key, upload_id in shown)
        more = {"NextKeyMarker": shown[-1][0],
                "NextUploadIdMarker": shown[-1][1]} \
            if len(shown) < len(found) else {}
        return self.say(ex, 200, result(
            "ListMultipartUploadsResult", rows,
            IsTruncated=str(bool(more)).lower(), **more), XML)

    def on_parts(self, ex):
        with self.lock:
            found = self.uploads.get(ex.call.query["uploadId"])
            after = int(ex.call.query.get("part-number-marker", "0"))
            numbers = sorted(n for n in (found[2] if found else ())
                             if n > after)
            shown = numbers[:self.parts_page]
            rows = "".join(
                row("Part", PartNumber=n, Size=len(found[2][n]),
                    ETag=etag_of(found[2][n]),
                    LastModified=self.iso_time((ex.call.query["uploadId"], n)))
                for n in shown)
        if not found:
            return self.refuse(ex, 404, "NoSuchUpload")
        more = {"NextPartNumberMarker": shown[-1]} \
            if len(shown) < len(numbers) else {}
        return self.say(ex, 200, result(
            "ListPartsResult", rows, IsTruncated=str(bool(more)).lower(),
            **more), XML)


# ---- texts ---------------------------------------------------------------------------

def etag_of(body):
    return f'"{hashlib.md5(body).hexdigest()}"'


def row(name, **members):
    inner = "".join(f"<{n}>{escape(str(v))}</{n}>" for n, v in members.items())
    return f"<{name}>{inner}</{name}>"


def result(name, rows="", **members):
    inner = "".join(f"<{n}>{escape(str(v))}</{n}>" for n, v in members.items())
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} '
            f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}{rows}'
            f"</{name}>")


def error_xml(code, message):
    return ('<?xml version="1.0" encoding="UTF-8"?>\n'
            + row("Error", Code=code, Message=message, RequestId="1"))
