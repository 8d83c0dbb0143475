"""A column of numbers on disk in as few bytes a value as give every value back.

Most numbers in files are decimals of a few digits. Such a column is kept as whole numbers of one, two or four bytes
and one power of ten for all of them (the idea of ALP, Afroozeh, Kuffo and Boncz 2023, doi:10.1145/3626717, without
its blocks): 12.75 is 1275 with two digits. Dividing gives the very same float64, which is tried for every value when
it is written; a column for which it fails is kept as float64. Every value has the same width, so any row can be read
without its neighbours. When a later batch needs more digits or bytes, the file is written anew, which can happen
once for each width and number of digits at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

#: Values handled at a time while a file is rewritten.
BLOCK = 131_072
#: Values at a time while they come: what is made of them stays in the processor's cache, and its memory is not asked
#: of the system anew, which takes longer than all the rest.
_ROWS = 16_384
_WIDTHS = (np.int8, np.int16, np.int32)
_MOST_DIGITS = 9
#: Values that say how many digits are worth trying on all the others.
_TRIED = 64

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Form:
    """How values are written: as whole numbers of a ``dtype``, with ``digits`` after the point; None: as they are."""

    dtype: Any
    digits: int | None

    def unpack(self, stored: npt.NDArray[Any]) -> Floats:
        """The values again."""
        if self.digits is None:
            return np.asarray(stored, dtype=np.float64)
        values = stored / 10.0**self.digits
        values[stored == np.iinfo(self.dtype).min] = np.nan
        return values


RAW = Form(np.float64, None)


class PackedFile:
    """Writes one column, batch after batch, and remembers what the widest batch needed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._digits, self._largest = 0, 0.0
        self.form = Form(np.int8, 0)

    def add(self, values: Floats) -> None:
        """Append values: finite ones, or NaN."""
        for at in range(0, len(values), _ROWS):
            part = values[at : at + _ROWS]
            whole = None if self.form is RAW else self._fitting(part)
            self._file.write(_packed(part, whole, self.form).data)

    def close(self) -> None:
        self._file.close()

    def _fitting(self, values: Floats) -> Floats | None:
        """The values as whole numbers, in a form that holds these and all earlier ones; None if only RAW does."""
        for digits in range(self._digits, _MOST_DIGITS + 1):
            if _whole(values[:_TRIED], digits) is None:
                continue
            whole = _whole(values, digits)
            if whole is not None:
                self._widen(digits, _largest(whole))
                return None if self.form is RAW else whole
        self._rewrite(RAW)
        return None

    def _widen(self, digits: int, largest: float) -> None:
        # Digits are added to what is written already; only then is it known how wide all of it is.
        largest = max(largest, self._largest * 10.0 ** (digits - self._digits))
        width = next((w for w in _WIDTHS if largest <= np.iinfo(w).max), None)
        form = RAW if width is None else Form(width, digits)
        if form != self.form:
            self._rewrite(form)
        self._digits, self._largest = digits, largest

    def _rewrite(self, form: Form) -> None:
        self._file.close()
        old = self._path.with_name(self._path.name + ".narrow")
        self._path.rename(old)
        self._file = self._path.open("wb")
        for block in _blocks(old, self.form):
            whole = None if form.digits is None else _whole(block, form.digits)
            self._file.write(_packed(block, whole, form).data)
        old.unlink()
        self.form = form


def _whole(values: Floats, digits: int) -> Floats | None:
    """The values times a power of ten, if those are whole numbers that give every value back; NaN stays."""
    power = 10.0**digits
    with np.errstate(over="ignore"):  # what becomes infinite does not come back
        scaled: Floats = values * power
    np.rint(scaled, out=scaled)
    same = scaled / power == values
    return scaled if same.all() or (same | np.isnan(values)).all() else None


def _largest(whole: Floats) -> float:
    low, high = float(whole.min(initial=0.0)), float(whole.max(initial=0.0))
    if np.isnan(low):
        low, high = float(np.nanmin(whole, initial=0.0)), float(np.nanmax(whole, initial=0.0))
    return max(-low, high)


def _packed(values: Floats, whole: Floats | None, form: Form) -> npt.NDArray[Any]:
    if whole is None:
        return values + 0.0  # one zero, as in the whole numbers: -0.0 is 0.0
    lacking = np.isnan(whole)
    if lacking.any():
        whole = np.where(lacking, np.iinfo(form.dtype).min, whole)
    return whole.astype(form.dtype)


def _blocks(path: Path, form: Form) -> Iterator[Floats]:
    width = np.dtype(form.dtype).itemsize
    with path.open("rb") as file:
        while block := file.read(BLOCK * width):
            yield form.unpack(np.frombuffer(block, dtype=form.dtype))
