"""Tables as lines of text that fit a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

#: Cells between columns.
_GAP = 2
#: Width below which a shortened column says too little.
_LEAST = 10


def lines(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int | None = None,
    elastic: Sequence[str] = (),
    details: Sequence[str] | None = None,
) -> list[str]:
    """A table: a line of headers, a line for each row.

    Parameters
    ----------
    width : cells that a line may take; None for as many as it needs.
    elastic : headers of the columns that may be shortened (``…``). Where that is not enough, every row becomes a
        block with a line for each column, so that nothing is broken in the middle of a word.
    details : a text for each row that goes below it, indented and wrapped.

    >>> print("\\n".join(lines(["name", "why"], [["a", "because it is so"]], width=16, elastic=["why"])))
    name  why
    a     because i…
    """
    sizes = [max(cell_len(v) for v in column) for column in zip(headers, *rows, strict=True)]
    if width is not None and not _shrink(sizes, [headers.index(name) for name in elastic], width):
        found = [[line for pair in zip(headers, row, strict=True) for line in _pair(*pair, width)] for row in rows]
    else:
        found = [[_line(row, sizes)] for row in rows]
    shown = [_line(headers, sizes)] if all(len(block) == 1 for block in found) or width is None else []
    for position, block in enumerate(found):
        shown += block
        if details and details[position]:
            shown += wrapped(details[position], width)
    return shown


def wrapped(text: str, width: int | None, indent: str = "    ") -> list[str]:
    """A text on as many indented lines as it needs, broken between words."""
    if width is None:
        return [indent + text]
    # A key longer than the line stays whole, so that it can be copied.
    return textwrap.wrap(
        text, max(width, 20), initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def clean(text: str) -> str:
    """A text on one line without characters that would steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _shrink(sizes: list[int], elastic: Sequence[int], width: int) -> bool:
    """Take from the widest elastic column until the line fits; False when it cannot."""
    excess = sum(sizes) + _GAP * (len(sizes) - 1) - width
    while excess > 0:
        widest = max(elastic, key=lambda i: sizes[i], default=None)
        if widest is None or sizes[widest] <= _LEAST:
            return False
        sizes[widest] -= 1
        excess -= 1
    return True


def _line(cells: Sequence[str], sizes: Sequence[int]) -> str:
    fitted = [_fit(cell, size) for cell, size in zip(cells, sizes, strict=True)]
    return (" " * _GAP).join(fitted).rstrip()


def _fit(text: str, size: int) -> str:
    if cell_len(text) > size:
        text = set_cell_size(text, size - 1).rstrip() + "…"
    return set_cell_size(text, size)


def _pair(header: str, cell: str, width: int) -> list[str]:
    label = f"{header}: " if header else ""
    return textwrap.wrap(
        f"{label}{cell}", max(width, 20), subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    ) or [label]
