"""s3_client.py - a small S3 client for tests, of the standard library only

    s3 = S3("http://127.0.0.1:8000", "key", "secret")
    s3.create_bucket("b")
    s3.keys("b"), s3.uploads("b")           what is visible, and what is not

It signs by Signature Version 4 on its own, so that what the reader's signer
gets wrong is not gone wrong here as well. Path style only; a body is held in
memory, except by download().
"""
import contextlib
import datetime
import hashlib
import hmac
import http.client
import ssl
import urllib.parse
import xml.etree.ElementTree

PIECE = 1 << 20


class S3Error(Exception):
    """The server's answer when it is not what was asked for."""

    def __init__(self, status, code, text):
        super().__init__(f"{status} {code}: {text[:300]!r}")
        self.status = status
        self.code = code


def quote(text, safe=""):
    """Percent encoding as S3 wants it: upper case, only ~-._ left alone."""
    return urllib.parse.quote(text, safe=safe + "~-._")


def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signature(secret, scope, method, path, query, fields):
    """Of a request with exactly these fields, in hexadecimal digits."""
    lines = "".join(f"{n}:{' '.join(fields[n].split())}\n"
                    for n in sorted(fields))
    request = "\n".join([method, path, query, lines, ";".join(sorted(fields)),
                         fields["x-amz-content-sha256"]])
    text = "\n".join(["AWS4-HMAC-SHA256", fields["x-amz-date"], scope,
                      hashlib.sha256(request.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = digest(key, step)
    return digest(key, text).hex()


def tags(root, path):
    """Texts of elements, whatever their namespace."""
    steps = "/".join(f"{{*}}{step}" for step in path.split("/"))
    return [element.text or "" for element in root.findall(steps)]


class S3:
    """One endpoint and one pair of keys."""

    def __init__(self, endpoint, key, secret, region="us-east-1", ca=None):
        url = urllib.parse.urlsplit(endpoint)
        self.endpoint = endpoint
        self.host = url.netloc
        self.key = key
        self.secret = secret
        self.region = region
        self.tls = None
        if url.scheme == "https":
            self.tls = ssl.create_default_context(cafile=ca)

    # ---- requests ---------------------------------------------------------------

    def signed(self, method, path, query, fields, body):
        """Header fields of the request, the signature among them."""
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp = now.strftime("%Y%m%dT%H%M%SZ")
        fields = {"host": self.host, "x-amz-date": stamp,
                  "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
                  **{n.lower(): v for n, v in fields.items()}}
        scope = f"{stamp[:8]}/{self.region}/s3/aws4_request"
        sign = signature(self.secret, scope, method, path, query, fields)
        fields["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, "
            f"SignedHeaders={';'.join(sorted(fields))}, Signature={sign}")
        return fields

    def open(self, method, path, query, fields, body):
        """(connection, answer); the answer's body has not been read."""
        query = "&".join(sorted(f"{quote(n)}={quote(str(v))}"
                                for n, v in query.items()))
        cls = http.client.HTTPSConnection if self.tls \
            else http.client.HTTPConnection
        options = {"context": self.tls} if self.tls else {}
        connection = cls(self.host, timeout=60, **options)
        connection.request(method, f"{path}?{query}" if query else path,
                           body or None,
                           self.signed(method, path, query, fields, body))
        return connection, connection.getresponse()

    def request(self, method, bucket, key="", body=b"", fields=None, **query):
        """(answer, its body); S3Error unless it is a 2xx."""
        path = f"/{bucket}/{quote(key, '/')}" if key else f"/{bucket}"
        connection, answer = self.open(method, path, query, fields or {}, body)
        with contextlib.closing(connection):
            data = answer.read()
        if not 200 <= answer.status < 300:
            raise S3Error(answer.status, code_of(data), data)
        return answer, data

    def xml(self, method, bucket, key="", body=b"", **query):
        return xml.etree.ElementTree.fromstring(
            self.request(method, bucket, key, body, **query)[1])

    # ---- what tests ask for -------------------------------------------------------

    def create_bucket(self, bucket):
        self.request("PUT", bucket)

    def keys(self, bucket, prefix=""):
        """Every visible key -> its size."""
        found, more = {}, {}
        while more is not None:
            root = self.xml("GET", bucket, **{"list-type": 2, "prefix": prefix,
                                              **more})
            found.update(zip(tags(root, "Contents/Key"),
                             map(int, tags(root, "Contents/Size"))))
            token = tags(root, "NextContinuationToken")
            more = {"continuation-token": token[0]} if token else None
        return found

    def uploads(self, bucket, prefix=""):
        """Multipart uploads that are neither complete nor aborted."""
        root = self.xml("GET", bucket, uploads="", prefix=prefix)
        return list(zip(tags(root, "Upload/Key"),
                        tags(root, "Upload/UploadId")))

    def parts(self, bucket, key, upload_id):
        """Sizes of the parts that an upload has."""
        root = self.xml("GET", bucket, key, uploadId=upload_id)
        return list(map(int, tags(root, "Part/Size")))

    def begin_upload(self, bucket, key):
        """Somebody's multipart upload; its id."""
        return tags(self.xml("POST", bucket, key, uploads=""), "UploadId")[0]

    def put(self, bucket, key, body, **fields):
        self.request("PUT", bucket, key, body, fields)

    def get(self, bucket, key):
        return self.request("GET", bucket, key)[1]

    def head(self, bucket, key):
        """Its header fields, lower-case name -> value."""
        answer, _ = self.request("HEAD", bucket, key)
        return {n.lower(): v for n, v in answer.getheaders()}

    def download(self, bucket, key):
        """(size, SHA-256) of what it has, however large."""
        connection, answer = self.open("GET", f"/{bucket}/{quote(key, '/')}",
                                       {}, {}, b"")
        with contextlib.closing(connection):
            if answer.status != 200:
                raise S3Error(answer.status, "", answer.read())
            size, content = 0, hashlib.sha256()
            while piece := answer.read(PIECE):
                size += len(piece)
                content.update(piece)
        return size, content.hexdigest()

    def delete(self, bucket, key):
        self.request("DELETE", bucket, key)

    def abort(self, bucket, key, upload_id):
        self.request("DELETE", bucket, key, uploadId=upload_id)

    def empty(self, bucket, prefix=""):
        """Remove every object and every upload below the prefix."""
        for key in self.keys(bucket, prefix):
            self.delete(bucket, key)
        for key, upload_id in self.uploads(bucket, prefix):
            self.abort(bucket, key, upload_id)


def code_of(data):
    """The <Code> of an error's text, or ""."""
    try:
        return (tags(xml.etree.ElementTree.fromstring(data), "Code") or
                [""])[0]
    except xml.etree.ElementTree.ParseError:
        return ""
