"""From "an object was created" to one execution of the pipeline, whatever delivers the event and how often."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from mlops.errors import MlopsError

#: The model of an upload that lies in no model's folder. No model can have this name.
UNASSIGNED = "_unassigned"

_FOLDER = re.compile(r"incoming/([^/]+)/(.+)")
_MODEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


class Starter(Protocol):
    """Starts executions; False when one of that name was started before."""

    def start(self, name: str, payload: Mapping[str, Any]) -> bool: ...


@dataclass(frozen=True, slots=True)
class Upload:
    """One version of one object. ``id``: 16 hexadecimal digits that depend on bucket, key and version."""

    id: str
    bucket: str
    key: str
    version_id: str
    etag: str
    size: int


class EventError(MlopsError):
    """An event that tells of no upload; the message names what it lacks."""

    code = "bad_event"


def upload_id(bucket: str, key: str, version_id: str, etag: str) -> str:
    """Identity of an upload: SHA-256 over bucket, key and version id (ETag where the bucket keeps no versions).

    Two deliveries of one event share it; a second upload under the same key does not.
    """
    parts = (bucket, key, version_id or etag)
    return hashlib.sha256("\n".join(urllib.parse.quote(p, safe="") for p in parts).encode()).hexdigest()[:16]


def model_of(key: str) -> str:
    """The model whose folder an object lies in, :data:`UNASSIGNED` for none (``incoming/<model>/<file>``)."""
    match = _FOLDER.fullmatch(key)
    return match.group(1) if match and _MODEL.fullmatch(match.group(1)) else UNASSIGNED


def uploads(event: Mapping[str, Any]) -> list[Upload]:
    """The uploads that an event tells of, in order; folder markers (keys that end in ``/``) are none.

    Takes S3 events as EventBridge delivers them (keys as they are), S3 notifications (a list of records, keys
    URL-encoded with ``+`` for blanks), and one upload's fields, as a person sends it.

    Raises
    ------
    EventError
        for anything else.
    """
    found = [u for u in _read(event) if not u.key.endswith("/")]
    return found


def one(fields: Mapping[str, Any]) -> Upload:
    """The upload that ``{bucket, key, version_id, etag, size}`` is.

    Raises
    ------
    EventError
        for a field that is absent or of the wrong type.
    """
    return _upload(_field(fields, "bucket", str), _field(fields, "key", str), fields, "version_id", "etag")


def start(event: Mapping[str, Any], pipeline: Starter) -> dict[str, Any]:
    """Start the pipeline once per upload.

    Returns
    -------
    ``{status: started|known|ignored, uploads: [{upload_id, model, key, started}]}``; ``started`` is false when
    this upload's execution exists already.
    """
    results = []
    for upload in uploads(event):
        model = model_of(upload.key)
        name = f"up-{upload.id}"
        payload = {
            "kind": "upload",
            "model": model,
            "run_id": name,
            "upload": asdict(upload),
            "actor": "function:intake",
            "reason": "upload",
        }
        started = pipeline.start(name, payload)
        results.append({"upload_id": upload.id, "model": model, "key": upload.key, "started": started})
    status = "ignored" if not results else ("started" if any(r["started"] for r in results) else "known")
    return {"status": status, "uploads": results}


def _read(event: Mapping[str, Any]) -> Iterator[Upload]:
    if "Records" in event:
        for record in event["Records"]:
            s3 = _field(record, "s3", dict)
            bucket, item = _field(s3, "bucket", dict), _field(s3, "object", dict)
            key = urllib.parse.unquote_plus(_field(item, "key", str))
            yield _upload(_field(bucket, "name", str), key, item, "versionId", "eTag")
    elif "detail" in event:
        detail = _field(event, "detail", dict)
        bucket, item = _field(detail, "bucket", dict), _field(detail, "object", dict)
        yield _upload(_field(bucket, "name", str), _field(item, "key", str), item, "version-id", "etag")
    else:
        yield one(event)


def _upload(bucket: str, key: str, item: Mapping[str, Any], version_name: str, etag_name: str) -> Upload:
    version, etag = str(item.get(version_name) or ""), str(item.get(etag_name) or "").strip('"')
    version = "" if version == "null" else version  # S3's name for the version of an unversioned object
    size = item.get("size", 0)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise EventError("the event's object size is not a whole number")
    return Upload(upload_id(bucket, key, version, etag), bucket, key, version, etag, size)


def _field(data: Any, name: str, kind: type) -> Any:
    value = data.get(name) if isinstance(data, Mapping) else None
    if not isinstance(value, kind) or not value:
        raise EventError(f"the event has no '{name}'; expected an S3 'Object Created' event")
    return value
