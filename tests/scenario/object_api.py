"""object_api.py - the reader's own protocol, request by request

    stage(reader, ID % 1, data)     PUT /objects/{id}: complete, invisible
    commit(reader, ID % 1, data)    POST /objects/{id}/commit: visible

docs/reader-api.md says what the answers mean.
"""
import base64
import hashlib

from client import fetch

ID = "0190a000-0000-7000-8000-%012x"
PATCH_TYPE = "Content-Type: application/offset+octet-stream"


def digest_value(hexdigest):
    """A SHA-256 as Repr-Digest has it (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(hexdigest)).decode()}:"


def digest_field(data):
    """The field that promises this content."""
    return f"Repr-Digest: {digest_value(hashlib.sha256(data).hexdigest())}"


def stage(reader, object_id, data, *fields):
    return fetch(reader.port, "PUT", f"/objects/{object_id}", *fields,
                 body=data)


def commit_digest(reader, object_id, hexdigest, *fields):
    return fetch(reader.port, "POST", f"/objects/{object_id}/commit",
                 f"Repr-Digest: {digest_value(hexdigest)}", *fields, body=b"")


def commit(reader, object_id, data, *fields):
    return commit_digest(reader, object_id, hashlib.sha256(data).hexdigest(),
                         *fields)
