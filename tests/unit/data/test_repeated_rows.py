"""Duplicates and contradictions are found exactly, however bad the fingerprints are and however little fits memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.data import contradictions, levels, repeats, runs, store
from mlops.data import digests as dg
from mlops.data.fingerprints import Fingerprints, row_fingerprints, text_fingerprints
from mlops.data.packed import RAW, PackedFile
from mlops.data.store import Rows, RowWriter
from mlops.features.columns import Columns, category_column, float_column

VALUES = st.sampled_from([None, 0.0, -0.0, 1.0, 0.1, 1e300])
ROWS = st.lists(st.tuples(VALUES, st.sampled_from([None, "", "a", "ä"])), min_size=1, max_size=40)
#: What a fingerprint may be worth: all of it, two bits of it, nothing, and all rows at one end of the range.
WEAKENED: list[Callable[[Fingerprints], Fingerprints]] = [
    lambda found: found,
    lambda found: found & np.uint64(3),
    lambda found: found * np.uint64(0),
    lambda found: found | np.uint64(2**64 - 2),
]


def columns(rows: list[tuple[float | None, str | None]]) -> Columns:
    return Columns(
        (float_column("x", "number", [r[0] for r in rows]), category_column("k", [r[1] for r in rows])),
    )


def written(folder: Path, table: Columns, size: int = 7) -> Rows:
    with RowWriter(folder) as writer:
        for start in range(0, table.rows, size):
            batch = table.take(np.arange(start, min(start + size, table.rows)))
            writer.add(batch, np.arange(start, start + batch.rows) + 1)
        return writer.finish()


def little_memory(patch: pytest.MonkeyPatch, weaken: Callable[[Fingerprints], Fingerprints]) -> None:
    patch.setattr(runs, "RUN_ROWS", 3)
    patch.setattr(store, "BLOCK_ROWS", 4)
    for module in (store, contradictions):
        patch.setattr(module, "row_fingerprints", lambda table: weaken(row_fingerprints(table)))


@given(ROWS, st.sampled_from(WEAKENED))
@settings(deadline=None, max_examples=80)
def test_fingerprints_find_what_digests_find(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[float | None, str | None]],
    weaken: Callable[[Fingerprints], Fingerprints],
) -> None:
    table = columns(rows)
    seen: set[tuple[int, int]] = set()
    wanted = []
    for digest in map(tuple, dg.row_digests(table).tolist()):
        wanted.append(digest in seen)
        seen.add(digest)
    with pytest.MonkeyPatch.context() as patch:
        little_memory(patch, weaken)
        accepted = written(tmp_path_factory.mktemp("rows"), table)
        marks = repeats.repeated(accepted)
        assert (wanted if any(wanted) else None) == (None if marks is None else marks.tolist())
        if marks is not None:
            kept = accepted.without(marks)
            assert kept.count == len(seen)
            assert sorted(map(tuple, kept.addressed().digests.tolist())) == sorted(seen)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2)), min_size=1, max_size=40), st.booleans())
@settings(deadline=None, max_examples=60)
def test_contradictions_are_those_of_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], weak: bool
) -> None:
    answers: dict[str, set[int]] = defaultdict(set)
    for key, answer in rows:
        answers[key].add(answer)
    wrong = [i for i, (key, _) in enumerate(rows, 1) if len(answers[key]) > 1]
    table = Columns(
        (category_column("k", [k for k, _ in rows]), float_column("y", "number", [float(a) for _, a in rows]))
    )
    with pytest.MonkeyPatch.context() as patch:
        little_memory(patch, WEAKENED[weak])
        found = contradictions.conflicts(written(tmp_path_factory.mktemp("rows"), table), ["k"], "y", 5)
    assert found.keys == sum(len(a) > 1 for a in answers.values())
    assert (found.rows, list(found.first)) == (len(wrong), wrong[:5])


@given(ROWS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_equal_rows_have_equal_fingerprints_in_any_order(
    rows: list[tuple[float | None, str | None]], random: object
) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = row_fingerprints(columns(rows)), row_fingerprints(columns([rows[i] for i in order]))
    assert one[order].tolist() == other.tolist()
    digests = [tuple(d) for d in dg.row_digests(columns(rows)).tolist()]
    assert len(set(zip(digests, one.tolist(), strict=True))) == len(set(digests))


@pytest.mark.parametrize(
    ("sides", "step"), [((17,) * 4, 1.0), ((2,) * 16, 1.0), ((300, 300), 2.0**40), ((41,) * 3, 0.1)]
)
def test_rows_of_a_grid_have_fingerprints_of_their_own(sides: tuple[int, ...], step: float) -> None:
    """Numbers of few bits are where a weak hash would fail."""
    grid = np.indices(sides).reshape(len(sides), -1) * step
    found = row_fingerprints(Columns(tuple(float_column(f"x{i}", "number", v) for i, v in enumerate(grid))))
    assert len(np.unique(found)) == len(found)


def test_texts_have_fingerprints_of_their_own() -> None:
    texts = ["", "\0", "\0\0", "ab", "ba", "ä", *("x" * n for n in range(1, 40)), "x" * 5_000, "x" * 5_000 + "y"]
    assert len(np.unique(text_fingerprints(texts))) == len(texts)
    assert text_fingerprints(["ab", "ä"])[1] == text_fingerprints(["ä"])[0]


def test_the_sample_is_the_same_for_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BLOCK_ROWS", 16)
    numbers = [float(v) for v in range(200)]
    folders = [tmp_path / n for n in "ab"]
    for folder in folders:
        folder.mkdir()
    one, other = (
        written(f, Columns((float_column("x", "number", n),)))
        for f, n in zip(folders, (numbers, numbers[::-1]), strict=True)
    )
    table, places = one.sample(20)
    assert table["x"].values.tolist() == other.sample(20)[0]["x"].values.tolist()
    assert table["x"].values.tolist() == [float(p - 1) for p in places]
    assert len(set(places.tolist())) == 20


PACKABLE = st.one_of(
    st.none(),
    st.integers(-(2**40), 2**40).map(float),
    st.builds(lambda n, d: n / 10**d, st.integers(-(10**6), 10**6), st.integers(0, 11)),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(st.lists(st.lists(PACKABLE, max_size=6), min_size=1, max_size=5))
@settings(deadline=None, max_examples=200)
def test_packed_numbers_come_back(tmp_path_factory: pytest.TempPathFactory, batches: list[list[float | None]]) -> None:
    path = tmp_path_factory.mktemp("packed") / "c"
    file = PackedFile(path)
    for batch in batches:
        file.add(float_column("x", "number", batch).values)
    file.close()
    read = file.form.unpack(np.fromfile(path, dtype=file.form.dtype))
    wanted = [np.nan if v is None else v + 0.0 for batch in batches for v in batch]
    assert np.array_equal(read.view(np.uint64), np.array(wanted).view(np.uint64))


@pytest.mark.parametrize(
    ("batches", "width"),
    [
        ([[1.0, 0.0, None]], 1),
        ([[12.75], [12_750.0]], 4),
        ([[1.0], [300.5]], 2),
        ([[12.75], [1 / 3]], 8),
        ([[float(2**31)]], 8),
        ([[-128.0]], 2),  # the smallest number of a width means "missing"
    ],
)
def test_numbers_take_the_bytes_that_they_need(tmp_path: Path, batches: list[list[float | None]], width: int) -> None:
    file = PackedFile(tmp_path / "c")
    for batch in batches:
        file.add(float_column("x", "number", batch).values)
    file.close()
    assert np.dtype(file.form.dtype).itemsize == width
    assert (tmp_path / "c").stat().st_size == width * sum(map(len, batches))
    assert (file.form == RAW) == (width == 8)


def test_the_same_fingerprints_on_every_machine() -> None:
    """The sample follows from them, so a file gives the same findings wherever it is checked."""
    table = columns([(1.5, "ä"), (None, None)])
    assert [f"{f:016x}" for f in row_fingerprints(table)] == ["d0a6f2b5bcdff6cb", "218e018416ba9e10"]


@given(st.lists(st.lists(st.text("ab\0ä😀￿", max_size=3), max_size=6, unique=True), max_size=8), st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_many_texts_are_sorted_on_disk_as_few_are_in_memory(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[str]], bound: int
) -> None:
    folder = tmp_path_factory.mktemp("levels")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels, "IN_MEMORY", bound)
        patch.setattr(levels, "_STEP", 2)
        writer = levels.LevelWriter(folder / "c0")
        for batch in batches:
            writer.add(batch)
        codes, texts = writer.finish()
    listed = [text for batch in batches for text in batch]
    assert list(texts) == sorted(set(listed), key=str.encode)
    assert [texts[code] for code in codes[:-1].tolist()] == listed
    assert codes[-1] == -1
