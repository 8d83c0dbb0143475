"""The beginning of a bulk upload: which objects, in which versions, under which contract."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from mlops.bulk.entities import Bulk, Listing, dump, identity
from mlops.data import outliers
from mlops.data.intake import Upload
from mlops.data.reference import known_reference
from mlops.errors import MlopsError
from mlops.objects import ObjectStore, bulk_prefix, incoming_key
from mlops.registry.ports import Registry

#: Most files of one upload.
MAX_FILES = 10_000
#: The share of files that may fail, where the request names none.
MAX_FAILED = 0.25
ACTOR = "function:ingest_validate"


class _RefusedError(MlopsError):
    code = "refused"


class Planner:
    """Plans bulk uploads.

    Parameters
    ----------
    objects, listing : the data bucket, which is named ``bucket``.
    """

    def __init__(
        self,
        objects: ObjectStore,
        listing: Listing,
        bucket: str,
        registry: Registry,
        clock: Callable[[], datetime],
    ) -> None:
        self._objects = objects
        self._listing = listing
        self._bucket = bucket
        self._registry = registry
        self._clock = clock

    def plan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Pin files and contract, and write the list of files.

        ``request``: ``{run_id, model, prefix, bucket?, only?, max_failed?, actor?, reason?}``.

        Returns
        -------
        the :class:`Bulk` as JSON with ``status`` (``planned``; ``known``: this upload has its result already;
        ``nothing``: no file there; ``refused``) and ``explanation``.
        """
        try:
            return self._planned(request)
        except _RefusedError as error:
            return {"status": "refused", "explanation": error.message}

    def _planned(self, request: Mapping[str, Any]) -> dict[str, Any]:
        model, prefix = str(request.get("model") or ""), str(request.get("prefix") or "")
        contract = self._registry.contract(model)
        if contract is None:
            known = ", ".join(self._registry.models()) or "none yet"
            raise _RefusedError(
                f"there is no contract for the model '{model}'. Models with a contract: {known}. Write one with "
                "'mlops init FILE --target COLUMN', push it, and upload the files again"
            )
        self._may_read(model, str(request.get("bucket") or self._bucket), prefix)
        max_failed = _share(request.get("max_failed"))
        only = str(request.get("only") or "")
        found = list(self._listing.latest(prefix))
        uploads = [u for u in found if is_wanted(u.key, only)]
        if not uploads:
            text = f"there is no file{f' {only}' if only else ''} at s3://{self._bucket}/{prefix}"
            return {"status": "nothing", "explanation": text}
        if len(uploads) > MAX_FILES:
            raise _RefusedError(
                f"there are {len(uploads):,} files at s3://{self._bucket}/{prefix}, and one upload takes at most "
                f"{MAX_FILES:,}: upload one folder after the other, or join small files"
            )
        digest = contract.digest()
        bulk = Bulk(
            bulk_id=identity(model, digest, max_failed, uploads),
            model=model,
            prefix=prefix,
            only=only,
            contract_digest=digest,
            max_failed=max_failed,
            files=len(uploads),
            bytes=sum(u.size for u in uploads),
            ignored=len(found) - len(uploads),
            actor=str(request.get("actor") or ACTOR),
            reason=str(request.get("reason") or "upload of many files"),
            started_at=self._clock().astimezone(UTC).isoformat(),
        )
        if self._objects.exists(bulk.report_key.removesuffix("html") + "json"):
            text = "these very files were uploaded before, under this contract: their result stands"
            return {**bulk.to_dict(), "status": "known", "explanation": text}
        self._objects.put(bulk.contract_key, dump(contract.to_dict()), content_type="application/json")
        if outliers.wanted(contract):
            reference = known_reference(self._objects, self._registry, contract, bulk.bulk_id)
            body = json.dumps(reference and reference.to_dict()).encode()
            # A run that goes on from where another ended holds the other files to the same.
            self._objects.put(bulk.reference_key, body, content_type="application/json", if_absent=True)
        lines = (json.dumps({**asdict(u), "number": i}) + "\n" for i, u in enumerate(uploads))
        self._objects.put(bulk.files_key, "".join(lines).encode(), content_type="application/x-ndjson")
        text = f"{bulk.files:,} files of {bulk.bytes:,} bytes"
        return {**bulk.to_dict(), "status": "planned", "files_key": bulk.files_key, "explanation": text}

    def _may_read(self, model: str, bucket: str, prefix: str) -> None:
        folders = (bulk_prefix(model), incoming_key(model, ""))
        if bucket == self._bucket and prefix.startswith(folders):
            return
        where, allowed = f"s3://{bucket}/{prefix}", " or ".join(f"s3://{self._bucket}/{f}" for f in folders)
        if bucket == self._bucket and prefix.startswith("quarantine/"):
            raise _RefusedError(
                f"{where} is quarantine: what lies there was set apart. Read its reason.json, put the files right, and "
                "upload those"
            )
        raise _RefusedError(f"{where} is not where files of '{model}' are read from, which is {allowed}")


def _share(value: object) -> float:
    if value is None:
        return MAX_FAILED
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _RefusedError("max_failed is the share of files that may fail, a number from 0 to 1")
    return float(value)


def is_wanted(key: str, only: str) -> bool:
    """Whether an object is a file to upload: no folder marker, no name with a dot or an underscore in front, and a name
    that matches the pattern ``only`` if there is one."""
    name = key.rsplit("/", 1)[-1]
    return name[:1] not in ("", ".", "_") and (not only or fnmatch.fnmatchcase(name, only))


def changed(objects_then: list[Upload], objects_now: list[Upload]) -> dict[str, int]:
    """What happened to the objects since they were listed: how many were overwritten, deleted or added."""
    then, now = ({u.key: u.id for u in listed} for listed in (objects_then, objects_now))
    return {
        "overwritten": sum(1 for key, i in then.items() if key in now and now[key] != i),
        "deleted": len(then.keys() - now.keys()),
        "added": len(now.keys() - then.keys()),
    }
