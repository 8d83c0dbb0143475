"""What can be wrong with an upload, as values: a whole file's rejection, and findings about its columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Row numbers and example values kept per finding.
KEPT = 20
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a whole file is not accepted. ``message`` is for the person who uploaded it: what, where, what to do."""

    code: str
    message: str
    column: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"code": self.code, "column": self.column, "count": None, "message": self.message}


class UnreadableError(Exception):
    """A file turned out to be unusable while it was read. Carries the :class:`Rejection` that callers return."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


class TextNeededError(Exception):
    """Cells that were read as numbers are needed as they were written; the file is read again as text."""


class MalformedError(Exception):
    """The fast reader gave up on some line; the file is read again by the lenient one, line by line."""


@dataclass(slots=True)
class Finding:
    """One kind of violation in one column.

    Attributes
    ----------
    severity : ``warn``, ``quarantine`` or ``reject``, as the contract says for the column.
    count : rows it was found in.
    rows : the first of them; row 1 is the first row of data.
    examples : some offending values; always empty for personal data.
    max_share : with severity ``reject``, the share of rows that may show it.
    """

    code: str
    column: str | None
    severity: str
    message: str
    count: int = 0
    rows: list[int] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)
    max_share: float = 0.0

    def to_dict(self, read: int) -> dict[str, Any]:
        return {
            "code": self.code,
            "column": self.column,
            "severity": self.severity,
            "count": self.count,
            "share": self.count / read if read else 0.0,
            "rows": self.rows,
            "examples": self.examples,
            "message": self.message,
        }
