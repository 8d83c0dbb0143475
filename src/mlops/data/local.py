"""Holding a file on disk to a contract, with the checks of ingestion and none of its effects."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mlops.contract import Contract
from mlops.data.outcome import Rejection
from mlops.data.validation import validate_file


def check_file(path: str | Path, contract: Contract) -> dict[str, Any]:
    """What an upload of this file would give, as far as the file alone decides it.

    Returns
    -------
    ``{status: accepted|partial|rejected, rows: {read, accepted, quarantined, new}, reasons, findings, notes}``, with
    ``reasons`` as in the result of ingestion and ``findings`` as in its report. ``new`` counts every accepted row, for
    what the data set has already is not known here.
    """
    with tempfile.TemporaryDirectory(prefix="check-") as folder:
        # A damaged Parquet file may end the process that reads it; here that is the person's own.
        checked = validate_file(Path(path), contract, Path(folder), suspect=True)
    if isinstance(checked, Rejection):
        rows = dict.fromkeys(("read", "accepted", "quarantined", "new"), 0)
        return {"status": "rejected", "rows": rows, "reasons": [checked.to_dict()], "findings": [], "notes": []}
    apart, good = checked.apart, checked.read - checked.apart
    reasons = checked.reasons()
    status = "partial" if apart else "accepted"
    if checked.rejection:
        status, reasons, good, apart = "rejected", [checked.rejection.to_dict()], 0, 0
    return {
        "status": status,
        "rows": {"read": checked.read, "accepted": good, "quarantined": apart, "new": good},
        "reasons": reasons,
        "findings": [f.to_dict(checked.read) for f in checked.findings],
        "notes": list(checked.notes),
    }
