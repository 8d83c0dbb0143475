"""One uploaded object held to its contract, and what fails set apart: the same for an upload alone and one of many."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from mlops.contract import Contract
from mlops.data.files import too_large
from mlops.data.intake import Upload
from mlops.data.outcome import Rejection
from mlops.data.outliers import Reference
from mlops.data.validation import Validated, validate_file
from mlops.errors import ConflictError, NotFoundError
from mlops.objects import ObjectStore

#: Rejections of objects that are not there to be kept.
GONE = ("object_missing", "object_changed")


class FileCheck:
    """Reads and checks objects of the data bucket."""

    def __init__(self, objects: ObjectStore, clock: Callable[[], datetime]) -> None:
        self._objects = objects
        self._clock = clock

    def examine(
        self,
        upload: Upload,
        contract: Contract,
        work: Path,
        *,
        history: Sequence[int] = (),
        suspect: bool = False,
        whole: bool = True,
        reference: Reference | None = None,
    ) -> Rejection | Validated:
        """Fetch the very object that an upload is, and check it; for the parameters see
        :func:`mlops.data.validation.validate_file`."""
        if upload.size > contract.checks.max_bytes:
            return too_large(upload.size, contract.checks.max_bytes)
        path = work / "upload"
        refused = self._fetch(upload, path)
        if refused:
            return refused
        checked = validate_file(
            path,
            contract,
            work,
            now=self._clock(),
            history=history,
            suspect=suspect,
            whole=whole,
            reference=reference,
        )
        path.unlink()  # what follows needs its room on the disk
        return checked

    def _fetch(self, upload: Upload, path: Path) -> Rejection | None:
        """The very object that the event told of, as a file; or why there is none."""
        # Without versions the ETag says whether it is still the same.
        pinned = {"version_id": upload.version_id} if upload.version_id else {"etag": upload.etag or None}
        try:
            self._objects.download(upload.key, str(path), **pinned)
        except NotFoundError:
            return Rejection(
                "object_missing",
                f"The object '{upload.key}' was deleted before it was read. Upload it again if it is still wanted.",
            )
        except ConflictError:
            return _changed(upload)
        if not upload.version_id and upload.size and path.stat().st_size != upload.size:
            return _changed(upload)
        return None

    def reject(self, prefix: str, model: str, upload: Upload, rejections: Sequence[Rejection]) -> list[dict[str, Any]]:
        """Keep a whole file apart below ``prefix``, with its reasons; returns these as JSON."""
        kept = rejections[0].code not in GONE
        if kept:
            try:
                self._objects.copy(upload.key, prefix + "file", version_id=upload.version_id or None)
            except NotFoundError:
                kept = False
        reasons = [r.to_dict() for r in rejections]
        self._reason(prefix, model, upload, reasons, {"file": prefix + "file" if kept else None})
        return reasons

    def set_apart(self, prefix: str, model: str, upload: Upload, checked: Validated) -> None:
        """Keep a file's bad rows apart below ``prefix``, with their reasons."""
        self._objects.upload(str(checked.quarantine), prefix + "rows.jsonl", content_type="application/x-ndjson")
        self._reason(prefix, model, upload, checked.reasons(), {"rows": prefix + "rows.jsonl"})

    def _reason(
        self, prefix: str, model: str, upload: Upload, reasons: list[dict[str, Any]], where: Mapping[str, Any]
    ) -> None:
        body = {
            "schema": "mlops.quarantine.v1",
            "model": model,
            "upload": asdict(upload),
            "reasons": reasons,
            **where,
            "time": self._clock().isoformat(),
        }
        text = json.dumps(body, ensure_ascii=False, indent=1).encode()
        self._objects.put(prefix + "reason.json", text, content_type="application/json")


def no_room(disk: int) -> Rejection:
    """The rejection of a file that the function's disk cannot hold."""
    return Rejection(
        "too_large",
        f"The file, its unpacked form and its rows do not fit the {disk:,} bytes of disk that ingestion has (parameter "
        "IngestDisk). Split it into smaller files and upload those.",
    )


def _changed(upload: Upload) -> Rejection:
    return Rejection(
        "object_changed",
        f"The object '{upload.key}' was overwritten before it was read. The newer file comes as an upload of its own.",
    )
