"""Labels in any order, again, contradictory or strange, and the predictions that they belong to."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.capture.reading import CaptureLine, CaptureRow, CaptureSide
from mlops.contract import Contract
from mlops.features.spec import Feature
from mlops.inference.hashing import entity_name
from mlops.quality.joining import join
from mlops.quality.labels import Labels, parse
from tests.fakes import blocks

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
FEATURES = (Feature("x", "number"),)
KEY = b"k" * 32


def contract(task: str = "classification", **more: Any) -> Contract:
    target = {"name": "y", "classes": ["no", "yes"], "positive": "yes"} if task == "classification" else {"name": "y"}
    return Contract.from_dict({"name": "m", "task": task, "target": target, "features": [], "key": ["who"], **more})


def hashed(values: Sequence[Any]) -> str:
    return entity_name(KEY, values)


def read(*files: str, task: str = "classification", name: Any = hashed, **more: Any) -> Labels:
    labels = Labels()
    for i, text in enumerate(files):
        labels.add(parse(text.encode()), contract(task, **more), START + timedelta(days=1 + i), name)
    return labels


def line(i: int, *, who: Any = None, minutes: float = 0, version: str = "v1", scores: Any = (0.3, 0.7), **more: Any):
    row = CaptureRow(f"id-{i}", who and hashed([who]), {"x": float(i)}, "champion", scores, None)
    side = CaptureSide(version, 1, None)
    values = {"request_id": f"r-{i}", "step": None, "release": None, "challenger": None, **more}
    return CaptureLine(
        model="m", time=START + timedelta(minutes=minutes), rows=(row,), champion=side, **values
    )  # fmt: skip


def actual(labels: Labels, lines: Sequence[CaptureLine], classes: int = 2) -> dict[float, float]:
    """x of each labelled prediction -> its label."""
    rows = join(FEATURES, blocks(lines), labels, "v1", classes=classes).labelled
    return dict(zip(rows.table["x"].values.tolist(), rows.actual.tolist(), strict=True)) if len(rows) else {}


def test_labels_are_found_by_id_and_the_last_word_wins() -> None:
    labels = read("inference_id,y\nid-1,yes\nid-2,no\nid-9,no\n", "inference_id,y\nid-2,yes\nid-1,yes\n")
    joined = join(FEATURES, blocks([line(1), line(2), line(3)]), labels, "v1", classes=2)
    assert actual(labels, [line(1), line(2), line(3)]) == {1.0: 1, 2.0: 1}
    assert (labels.rows, labels.usable, labels.repeated, labels.conflicting) == (5, 3, 1, 1)
    assert (joined.seen, joined.matched) == (3, 2)


def test_what_is_no_label_is_counted_by_its_reason() -> None:
    labels = read(
        "inference_id;y;time\nid-1;maybe;\nid-2;yes;soon\n;yes;\nid-4;yes;2026-03-02T12:00:00Z\n",
        '{"inference_id": "id-5", "y": "no"}\n{"y": \n[1]\n',
    )
    assert labels.invalid == {"no_label": 1, "bad_time": 1, "no_id": 1, "not_a_row": 2}
    assert set(labels.by_id) == {"id-4", "id-5"}


def test_an_entity_s_label_belongs_to_its_last_prediction_not_after_it() -> None:
    lines = [line(1, who="a", minutes=0), line(2, who="a", minutes=60), line(3, who="a", minutes=120)]
    at = (START + timedelta(minutes=90)).isoformat()
    assert actual(read(f"who,y,time\na,yes,{at}\n"), lines) == {2.0: 1}
    assert actual(read("who,y\na,no\n"), lines) == {3.0: 0}
    early = (START - timedelta(minutes=1)).isoformat()
    assert actual(read(f"who,y,time\na,yes,{early}\nb,yes,{at}\n"), lines) == {}


def test_a_corrected_label_of_an_entity_counts_once_and_its_repetition_is_told() -> None:
    at = (START + timedelta(minutes=30)).isoformat()
    first, again, corrected = (f"who,y,time\na,{y},{at}\n" for y in ("yes", "yes", "no"))
    labels = read(first, again, corrected)
    assert (labels.usable, labels.repeated, labels.conflicting) == (1, 1, 1)
    assert actual(labels, [line(1, who="a")]) == {1.0: 0}


def test_several_labels_of_one_entity_find_their_own_predictions() -> None:
    lines = [line(1, who="a", minutes=0), line(2, who="a", minutes=60)]
    first, second, third = ((START + timedelta(minutes=m)).isoformat() for m in (30, 70, 80))
    labels = read(f"who,y,time\na,yes,{first}\na,yes,{second}\na,no,{third}\n")
    assert actual(labels, lines) == {1.0: 1, 2.0: 0}, "of two labels for one prediction the later one counts"


def test_a_key_may_have_been_a_number_in_the_request() -> None:
    assert actual(read("who,y\n17,yes\n"), [line(1, who=17), line(2, who="18")]) == {1.0: 1}
    assert actual(read('{"who": 18, "y": "yes"}'), [line(1, who=17), line(2, who="18")]) == {2.0: 1}


def test_without_the_pseudonym_key_entities_cannot_be_found() -> None:
    assert read("who,y\na,yes\n", name=lambda values: "").invalid == {"no_pseudonym_key": 1}


def test_an_id_goes_before_the_entity() -> None:
    labels = read("inference_id,who,y\nid-1,a,yes\n", "who,y\na,no\n")
    assert actual(labels, [line(1, who="a")]) == {1.0: 1}


def test_only_answers_of_the_version_count_and_replays_do_not() -> None:
    other = line(2, version="v0", challenger=CaptureSide("v1", 1, None))
    lines = [line(1), other, line(3, request_id="replay-3"), line(4, scores=None)]
    joined = join(FEATURES, blocks(lines), read("inference_id,y\nid-1,yes\nid-2,yes\n"), "v1", classes=2)
    assert (joined.seen, len(joined.labelled)) == (1, 1)


def test_numbers_are_labels_of_a_regression() -> None:
    labels = read("inference_id,y\nid-1,2.5\nid-2,inf\nid-3,x\n", task="regression")
    assert actual(labels, [line(1, scores=(2.0,))], classes=0) == {1.0: 2.5}
    assert labels.invalid == {"no_label": 2}


def test_the_contract_s_timestamp_is_the_time_of_a_label() -> None:
    lines = [line(1, who="a", minutes=0), line(2, who="a", minutes=60)]
    text = f"who,y,day\na,yes,{(START + timedelta(minutes=1)).isoformat()}\n"
    assert actual(read(text, timestamp="day"), lines) == {1.0: 1}


@pytest.mark.parametrize(
    "body", [b"\x1f\x8bdamaged", b'"open quote,y\n1,2', b"\xff\xfe\x00", b"{\n", b"", b"a\n1,2,3\n"]
)
def test_no_file_breaks_the_reading(body: bytes) -> None:
    labels = Labels()
    labels.add(parse(body), contract(), START, hashed)
    assert labels.usable == 0


def test_packed_files_are_read() -> None:
    assert list(parse(gzip.compress(b"inference_id,y\nid-1,yes\n"))) == [{"inference_id": "id-1", "y": "yes"}]


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(8)), st.integers(0, 8), st.permutations(range(8)))
def test_no_order_of_predictions_or_labels_matters(order: list[int], cut: int, captured: list[int]) -> None:
    """Different labels, cut into two files anywhere, and captures in any order: the same pairs."""
    rows = [f"id-{i},yes" if i % 2 else f"id-{i},no" for i in order]
    files = ["\n".join(["inference_id,y", *part]) + "\n" for part in (rows[:cut], rows[cut:])]
    assert actual(read(*files), [line(i) for i in captured]) == {float(i): i % 2 for i in range(8)}


def test_of_more_rows_than_fit_the_same_ones_are_kept_whatever_the_order() -> None:
    labels = read("inference_id,y\n" + "".join(f"id-{i},yes\n" for i in range(50)))
    lines = [line(i) for i in range(50)]
    few = [join(FEATURES, blocks(some), labels, "v1", classes=2, max_rows=10) for some in (lines, lines[::-1])]
    kept = [j.labelled.table["x"].values.tolist() for j in few]
    assert kept[0] == kept[1]
    assert [(len(j.predictions), len(j.labelled), j.seen, j.matched) for j in few] == [(10, 10, 50, 50)] * 2
