"""From the bytes of an upload to a plain file that can be read as a table: unpacked, in UTF-8, of a known kind.

Everything streams, so that memory does not grow with the file.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from mlops.contract import FileFormat
from mlops.data.outcome import Rejection, UnreadableError

Kind = Literal["csv", "jsonl", "parquet"]

CHUNK = 4 * 1024 * 1024
HEAD = 64 * 1024

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_PARQUET = b"PAR1"
_PARQUET_ENCRYPTED = b"PARE"
# Longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_KNOWN_BINARY = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "an image"),
    (b"\xff\xd8\xff", "an image"),
    (b"GIF8", "an image"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"ORC", "an ORC file"),
    (b"Obj\x01", "an Avro file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x80\x04\x95", "a Python pickle"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3", "an SQLite database"),
)
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1a\x1b\x0b\x08")
_KINDS = "CSV, JSON Lines or Parquet, plain or packed with gzip or zstd"


@dataclass(frozen=True, slots=True)
class PlainFile:
    """A file ready to be read: Parquet, or text in UTF-8 without a byte-order mark. Whether plain CSV is UTF-8 to its
    end is seen while it is read, which saves a reading of its own."""

    path: Path
    kind: Kind
    encoding: str = "utf-8"
    compression: str = "none"
    notes: tuple[str, ...] = ()


def too_large(size: int, max_bytes: int, what: str = "The file") -> Rejection:
    """The rejection of a file above ``checks.max_bytes``."""
    return Rejection(
        "too_large",
        f"{what} has {size:,} bytes; the contract takes at most {max_bytes:,} (checks.max_bytes). "
        "Split it into smaller files and upload those.",
    )


def prepare(path: Path, fmt: FileFormat, max_bytes: int, work: Path, *, guess_encoding: bool = False) -> PlainFile:
    """Unpack and decode a file as far as needed.

    Parameters
    ----------
    path : the file as uploaded.
    fmt : what the contract says about files; ``None`` fields are found out.
    max_bytes : largest size, as stored and unpacked.
    work : folder for intermediate files; the caller deletes it.
    guess_encoding : read text that is not UTF-8 as Windows-1252, and note it, instead of rejecting it.

    Raises
    ------
    UnreadableError
        with the reason, for a file that is empty, too large, damaged, of another kind or encoding.
    """
    size = path.stat().st_size
    if size == 0:
        raise UnreadableError(Rejection("empty", "The file is empty (0 bytes). Upload it again with its rows."))
    if size > max_bytes:
        raise UnreadableError(too_large(size, max_bytes))
    compression = "none"
    head = _head(path)
    if head.startswith(_GZIP):
        path, compression = _gunzip(path, max_bytes, work / "unpacked"), "gzip"
    elif head.startswith(_ZSTD):
        path, compression = _unzstd(path, max_bytes, work / "unpacked"), "zstd"
    if compression != "none":
        head = _head(path)
        if not head:
            raise UnreadableError(Rejection("empty", f"The file is empty once unpacked ({compression})."))
    if head.startswith((_PARQUET, _PARQUET_ENCRYPTED)):
        _check_parquet(path, head)
        _check_told(fmt, "parquet")
        return PlainFile(path, "parquet", compression=compression)
    path, encoding, notes = _to_utf8(path, head, fmt, work / "decoded", guess_encoding=guess_encoding)
    kind = _text_kind(_head(path).decode("utf-8", errors="ignore"))
    _check_told(fmt, kind)
    return PlainFile(path, kind, encoding, compression, notes)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _check_told(fmt: FileFormat, found: Kind) -> None:
    if fmt.format is not None and fmt.format != found:
        names = {"csv": "CSV", "jsonl": "JSON Lines", "parquet": "Parquet"}
        raise UnreadableError(
            Rejection(
                "wrong_format",
                f"The contract expects {names[fmt.format]} files (file.format), but this one is {names[found]}.",
            )
        )


# Packed files -------------------------------------------------------------------------------------


def _gunzip(path: Path, max_bytes: int, target: Path) -> Path:
    try:
        with gzip.open(path, "rb") as source:
            _store(iter(lambda: source.read(CHUNK), b""), target, max_bytes)
    except EOFError as error:
        raise UnreadableError(_truncated("gzip")) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UnreadableError(
            Rejection("damaged_archive", "The gzip data is damaged. Pack the file again and upload it.")
        ) from error
    return target


def _unzstd(path: Path, max_bytes: int, target: Path) -> Path:
    """Unpack zstd text. Python has no zstd before 3.14, so polars unpacks it, line by line."""

    def lines() -> Iterator[bytes]:
        for batch in pl.scan_lines(path, glob=False).collect_batches(maintain_order=True):
            yield ("\n".join(batch.to_series().to_list()) + "\n").encode()

    try:
        _store(lines(), target, max_bytes)
    except OSError as error:
        raise UnreadableError(_truncated("zstd")) from error
    except pl.exceptions.ComputeError as error:
        raise UnreadableError(
            Rejection(
                "damaged_archive",
                "The zstd data is damaged, or does not hold text in UTF-8. Pack CSV or JSON Lines in UTF-8 with zstd; "
                "Parquet is compressed inside already.",
            )
        ) from error
    return target


def _truncated(kind: str) -> Rejection:
    return Rejection(
        "truncated", f"The {kind} data ends too early: the file is incomplete. Upload the whole file again."
    )


def _store(chunks: Iterator[bytes], target: Path, max_bytes: int) -> None:
    written = 0
    with target.open("wb") as out:
        for chunk in chunks:
            written += len(chunk)
            if written > max_bytes:
                raise UnreadableError(
                    Rejection(
                        "too_large",
                        f"The file has more than {max_bytes:,} bytes once unpacked; that is what the contract takes "
                        "(checks.max_bytes). Split it into smaller files and upload those.",
                    )
                )
            out.write(chunk)


# Parquet ------------------------------------------------------------------------------------------


def _check_parquet(path: Path, head: bytes) -> None:
    """A Parquet file begins and ends with its magic number; an encrypted footer has its own (Parquet format)."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 4))
        tail = file.read(4)
    if head.startswith(_PARQUET_ENCRYPTED) or tail == _PARQUET_ENCRYPTED:
        raise UnreadableError(encrypted_parquet())
    if size < 12 or tail != _PARQUET:
        raise UnreadableError(
            Rejection(
                "truncated",
                "The Parquet file has no end mark: it is incomplete or damaged. Write and upload it again.",
            )
        )


def encrypted_parquet() -> Rejection:
    """Why a Parquet file with encryption of its own is not read."""
    return Rejection(
        "encrypted", "The Parquet file is encrypted. Upload it without Parquet encryption; the bucket encrypts it."
    )


# Text ---------------------------------------------------------------------------------------------


def _to_utf8(
    path: Path, head: bytes, fmt: FileFormat, target: Path, *, guess_encoding: bool
) -> tuple[Path, str, tuple[str, ...]]:
    """The file as UTF-8 without a mark; its own path when it is that already."""
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    encoding = marked or _codec(fmt.encoding) or "utf-8"
    if encoding not in ("utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        _check_text(head)
    if encoding in ("utf-8", "ascii"):
        if not guess_encoding and _text_kind(head.decode("utf-8", errors="ignore")) == "csv":
            return path, "utf-8", ()  # the reader of CSV looks at every byte; see require_utf8
        failed = _transcode(path, "utf-8", None)
        if failed is None:
            return path, "utf-8", ()
        if not guess_encoding or fmt.encoding:
            raise UnreadableError(failed)
        encoding = "cp1252"
        if _transcode(path, encoding, target) is not None:
            raise UnreadableError(failed)
        return target, encoding, ("the file is not UTF-8; it was read as Windows-1252 (encoding: windows-1252)",)
    failed = _transcode(path, encoding, target)
    if failed is not None:
        raise UnreadableError(failed)
    return target, encoding, ()


def require_utf8(path: Path) -> None:
    """Read a file whose reader met bytes that are no UTF-8.

    Raises
    ------
    UnreadableError
        naming the first line with such bytes.
    """
    failed = _transcode(path, "utf-8", None)
    if failed is not None:
        raise UnreadableError(failed)


def _codec(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        "".encode(name)  # refuses codecs that do not turn text into bytes, such as base64
        return codecs.lookup(name).name
    except LookupError:
        raise UnreadableError(
            Rejection("bad_encoding", f"The contract names the encoding '{name}' (file.encoding), which is unknown.")
        ) from None


def _check_text(head: bytes) -> None:
    known = next((name for magic, name in _KNOWN_BINARY if head.startswith(magic)), None)
    if known:
        raise UnreadableError(Rejection("not_a_table", f"The file looks like {known}. Upload {_KINDS}."))
    if head[1:64:2].count(0) > 20 or head[0:64:2].count(0) > 20:
        raise UnreadableError(
            Rejection(
                "bad_encoding",
                "The file looks like UTF-16 without a byte-order mark. Save it as UTF-8, or name the encoding in "
                "the contract (file.encoding: utf-16-le).",
            )
        )
    strange = sum(1 for byte in head if byte < 32 and byte not in _TEXT_CONTROLS)
    if b"\x00" in head or strange > len(head) / 100:
        raise UnreadableError(Rejection("not_a_table", f"The file is binary, not a table. Upload {_KINDS}."))


def _transcode(path: Path, encoding: str, target: Path | None) -> Rejection | None:
    """Decode the whole file strictly; write it as UTF-8 when ``target`` is given. None when all went well."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict")
    out = target.open("wb") if target else None
    lines = 0
    plain = True  # no character is cut in two by the end of the last chunk
    chunk = b""
    try:
        with path.open("rb") as source:
            while chunk := source.read(CHUNK):
                if out is None and plain and chunk.isascii():
                    lines += chunk.count(b"\n")
                    continue
                text = decoder.decode(chunk)
                plain = out is None and decoder.getstate()[0] == b""
                if out:
                    out.write(text.encode("utf-8"))
                lines += chunk.count(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = lines + chunk[:start].count(b"\n") + 1
        return Rejection(
            "bad_encoding",
            f"The file is not text in {encoding.upper()}: it has bytes that do not belong there, first in line {line}. "
            "Save it as UTF-8, or name its encoding in the contract (file.encoding, for example windows-1252).",
        )
    finally:
        if out:
            out.close()
    return None


def _text_kind(head: str) -> Kind:
    start = head.lstrip()
    if not start:
        raise UnreadableError(Rejection("empty", "The file holds nothing but blanks. Upload it with its rows."))
    low = start[:64].lower()
    if low.startswith(("<!doctype", "<html", "<?xml", "<error")):
        raise UnreadableError(Rejection("not_a_table", f"The file looks like a web page or XML. Upload {_KINDS}."))
    if start[0] == "[" and start[1:].lstrip()[:1] in ("{", "[", "]"):
        raise UnreadableError(
            Rejection(
                "json_array",
                "The file is one JSON array. Upload JSON Lines instead: one object a line, without brackets or "
                "commas between them.",
            )
        )
    if start[0] == "{":
        first = start.splitlines()[0]
        try:
            if isinstance(json.loads(first), dict):
                return "jsonl"
        except ValueError:
            if '"' in first or first.strip() == "{":
                return "jsonl"
    return "csv"
