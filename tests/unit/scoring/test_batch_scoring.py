"""Batch scoring gives what the API gives, row by row, and loses none."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.errors import MlopsError
from mlops.inference.answers import prediction
from mlops.inference.models import load_model
from mlops.scoring import preparing
from mlops.scoring.entities import Mark, Run, SourceObject
from tests.rows import FATAL_PARQUET
from tests.unit.inference.small_models import MIXED, MIXED_RECORD, TUMOUR, classifier, regressor
from tests.unit.scoring.runner import BUCKET, World

ROWS = [
    {**MIXED_RECORD, "customer": "c-1"},
    {**MIXED_RECORD, "amount": 99.0, "age": None, "active": False, "colour": "blue", "customer": "c-2"},
    {**MIXED_RECORD, "since": None, "size": None, "colour": "1", "customer": "c-3"},
]


@pytest.fixture
def price(tmp_path: Path) -> World:
    return World(tmp_path, regressor(), MIXED)


@pytest.fixture
def tumour(tmp_path: Path) -> World:
    return World(tmp_path, classifier(), TUMOUR)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    names = list(rows[0])
    cells = {True: "true", False: "false", None: ""}
    for row in [dict(zip(names, names, strict=True)), *rows]:
        text.write(",".join(cells.get(v, str(v)) if not isinstance(v, (int, float)) or isinstance(v, bool) else str(v)
                            for v in row.values()) + "\n")  # fmt: skip
    return text.getvalue().encode()


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(r) + "\n" for r in rows).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    body = io.BytesIO()
    typed = [{**r, "since": r["since"] and date.fromisoformat(r["since"])} for r in rows]
    pl.DataFrame(typed, schema_overrides={"age": pl.Int32}).write_parquet(body)
    return body.getvalue()


def answers_of_the_api(world: World, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    model = load_model(str(world.folder))
    return [prediction(model, model.run(model.parser.parse([r]).matrix).tolist()[0]) for r in records]


@pytest.mark.parametrize(("name", "write"), [("a.csv", as_csv), ("a.jsonl", as_jsonl), ("a.parquet", as_parquet)])
def test_every_kind_of_file_gets_the_answers_of_the_api(price: World, name: str, write: Any) -> None:
    price.data.put(f"scoring/in/{name}", write(ROWS))
    summary = price.run()
    found = price.predictions(summary, name)
    assert [line["row"] for line in found] == [1, 2, 3]
    assert [line["key"] for line in found] == [{"customer": f"c-{i}"} for i in (1, 2, 3)]
    expected = [a["value"] for a in answers_of_the_api(price, ROWS)]
    assert [line["value"] for line in found] == pytest.approx(expected, rel=1e-6)
    assert summary["status"] == "scored"
    assert summary["rows"] == {"scored": 3, "errors": 0}


def test_a_file_that_ended_the_first_attempt_fails_alone_in_the_second(tumour: World) -> None:
    tumour.data.put("scoring/in/a.parquet", FATAL_PARQUET.read_bytes())
    planned = tumour.plan()
    (item,) = map(json.loads, tumour.data.get(planned["items_key"]).splitlines())
    prepared = tumour.prepare.run(Run.from_dict(planned), SourceObject(**item), attempt=1)
    assert (prepared["status"], prepared["code"]) == ("failed", "damaged")
    summary = tumour.scoring.run({"task": "finish", "run": planned})
    assert (summary["status"], summary["failures"][0]["code"]) == ("failed", "damaged")


GOOD = st.builds(lambda r, c: f"{r},20.5,{c}", st.integers(0, 40), st.integers(0, 1000))
BAD = st.sampled_from([",20.5,3", "x,20.5,3", "3,20.5,2.5", "3,y,z", "1e60,1,1", "3,4", "1,2,3,4", "inf,1,1"])


@settings(max_examples=25)
@given(lines=st.lists(st.one_of(GOOD, BAD), min_size=1, max_size=40), size=st.integers(1, 7))
def test_each_row_has_its_answer_or_its_error_at_its_own_number(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int
) -> None:
    """Whatever is wrong with whichever rows, and wherever chunks are cut."""
    world = World(tmp_path_factory.mktemp("w"), classifier(), TUMOUR)
    world.data.put("scoring/in/a.csv", ("radius,texture,cells\n" + "\n".join(["1,1,1", *lines, ""])).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "MIN_CHUNK", size)
        patch.setattr(preparing, "MAX_CHUNK", size)
        summary = world.run()
    found = world.predictions(summary, "a.csv")
    good = [line.count(",") == 2 and line.split(",")[0].isdigit() and line.split(",")[1] == "20.5" and
            line.split(",")[2].isdigit() for line in ["1,20.5,1", *lines]]  # fmt: skip
    assert [line["row"] for line in found] == list(range(1, len(lines) + 2))
    assert ["label" in line for line in found] == good
    assert ["error" in line for line in found] == [not g for g in good]
    assert summary["rows"] == {"scored": sum(good), "errors": len(good) - sum(good)}


def test_errors_are_those_of_the_api_and_name_the_field(tumour: World) -> None:
    rows = ["1,1,1", ",1,1", "x,1,2.5", "1e60,1,1"] + ["-,1,1"] * 150
    tumour.data.put("scoring/in/a.csv", ("radius,texture,cells\n" + "\n".join(rows) + "\n").encode())
    found = tumour.predictions(tumour.run(), "a.csv")
    codes = [[(d["field"], d["code"]) for d in f["error"]["details"]] for f in found[1:]]
    assert codes[0] == [("radius", "null_not_allowed")]
    assert codes[1] == [("radius", "wrong_type")]
    assert codes[2] == [("radius", "not_finite")]
    assert codes[3:] == [[("radius", "wrong_type")]] * 150
    assert found[1]["error"]["message"] == "'radius' is null but is required"


def test_a_second_run_scores_only_what_is_new_changed_or_failed(tumour: World, tmp_path: Path) -> None:
    good = b"radius,texture,cells\n1,1,1\n2,2,2\nx,2,2\n"
    tumour.data.put("scoring/in/a.csv", good)
    tumour.data.put("scoring/in/deep/b.csv", good)
    tumour.data.put("scoring/in/other.csv", b"weight,texture,cells\n1,1,1\n")
    tumour.data.put("scoring/in/_SUCCESS", b"")
    first = tumour.run()
    assert first["objects"] == {"scored": 2, "skipped": 0, "failed": 1, "ignored": 1}
    assert first["status"] == "partial"
    assert [f["code"] for f in first["failures"]] == ["missing_columns"]
    tumour.data.put("scoring/in/a.csv", good + b"3,3,3\n")
    tumour.data.put("scoring/in/other.csv", good)
    second = tumour.run(run_id="run-2")
    assert second["objects"] == {"scored": 2, "skipped": 1, "failed": 0, "ignored": 1}
    assert second["rows"] == {"scored": 5, "errors": 2}
    assert second["skipped_rows"] == {"scored": 2, "errors": 1}
    third = tumour.run(run_id="run-3")
    assert (third["status"], third["objects"]["skipped"], third["rows"]["scored"]) == ("scored", 3, 0)
    tumour.add(tmp_path, classifier(version="cccccccccccc"), seed=2)
    tumour.live.champions["tumour"] = "cccccccccccc"
    fourth = tumour.run(run_id="run-4")
    assert (fourth["version"], fourth["objects"]["scored"]) == ("cccccccccccc", 3)


def test_a_run_that_stopped_goes_on_where_it_ended(tumour: World) -> None:
    for name in "abc":
        tumour.data.put(f"scoring/in/{name}.csv", f"radius,texture,cells\n1,1,{ord(name)}\n".encode())
    planned = tumour.plan()
    items = [json.loads(x) for x in tumour.data.get(planned["items_key"]).splitlines()]
    tumour.score(planned, items[0])
    prepared = tumour.prepare.run(Run.from_dict(planned), SourceObject(**items[1]))
    assert prepared["status"] == "prepared"  # and here it crashes: b has chunks, and no mark
    again = tumour.run(run_id="run-2")
    assert again["objects"] == {"scored": 2, "skipped": 1, "failed": 0, "ignored": 0}


def test_the_version_is_pinned_when_the_run_begins(tumour: World, tmp_path: Path) -> None:
    tumour.data.put("scoring/in/a.csv", b"radius,texture,cells\n1,1,1\n")
    planned = tumour.plan()
    tumour.add(tmp_path, classifier(version="cccccccccccc"), seed=2)
    tumour.live.champions["tumour"] = "cccccccccccc"
    tumour.score(planned, json.loads(tumour.data.get(planned["items_key"])))
    summary = tumour.scoring.run({"task": "finish", "run": planned})
    assert summary["version"] == "aaaaaaaaaaaa"
    (entry,) = tumour.ledger.kept
    assert (entry.action, entry.subject) == ("score.finished", "model/tumour/aaaaaaaaaaaa")
    assert tumour.registry.records("tumour", "score")[0].body["rows"] == {"scored": 1, "errors": 0}


def test_a_file_that_changes_or_goes_during_the_run_is_told(tumour: World) -> None:
    for name in "ab":
        tumour.data.put(f"scoring/in/{name}.csv", b"radius,texture,cells\n1,1,1\n")
    planned = tumour.plan()
    tumour.data.put("scoring/in/a.csv", b"radius,texture,cells\n2,2,2\n")
    tumour.data.delete("scoring/in/b.csv")
    for line in tumour.data.get(planned["items_key"]).splitlines():
        tumour.score(planned, json.loads(line))
    summary = tumour.scoring.run({"task": "finish", "run": planned})
    assert (summary["status"], summary["objects"]["failed"]) == ("failed", 2)
    assert {f["code"] for f in summary["failures"]} == {"conflict", "not_found"}


def test_lost_rows_are_a_fault(tumour: World) -> None:
    tumour.data.put("scoring/in/a.csv", b"radius,texture,cells\n1,1,1\n")
    planned = tumour.plan()
    item = json.loads(tumour.data.get(planned["items_key"]))
    with pytest.raises(MlopsError, match="2 rows were read but 1 were scored"):
        tumour.scoring.run(
            {"task": "close", "run": planned, "object": item, "chunks": 1, "expected": 2, "rows": 1, "errors": 0}
        )
    tumour.scoring.run({"task": "object_failed", "run": planned, "object": item, "error": {"Error": "RowsLost"}})
    summary = tumour.scoring.run({"task": "finish", "run": planned})
    assert (summary["status"], summary["failures"][0]["code"]) == ("failed", "RowsLost")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"model": "nobody"}, "there is no model 'nobody'"),
        ({"version": "ffffffffffff"}, "has no version 'ffffffffffff'"),
        ({"prefix": "datasets/tumour/"}, "may not read s3://data-bucket/datasets/tumour/"),
        ({"bucket": "elsewhere"}, "may not read s3://elsewhere/"),
        ({"output": f"s3://{BUCKET}/reports/"}, "may not write to"),
        ({"output": "somewhere"}, "the output must be s3://bucket/prefix"),
        ({"capture": "yes"}, "capture must be true or false, not 'yes'"),
    ],
)
def test_what_it_may_not_do_is_refused_with_the_reason(tumour: World, request_: dict[str, Any], words: str) -> None:
    refused = tumour.plan(**request_)
    assert refused["status"] == "refused"
    assert words in refused["explanation"]


def test_no_champion_and_no_file_are_answers(tumour: World) -> None:
    assert tumour.run()["status"] == "nothing"
    tumour.live.champions.clear()
    assert "no version that serves" in tumour.run()["explanation"]
    assert tumour.scoring.run({"task": "dance"})["status"] == "invalid"


def test_another_bucket_may_hold_files_and_take_predictions(tumour: World) -> None:
    tumour.other.put("daily/a.csv", b"radius,texture,cells\n1,1,1\n")
    summary = tumour.run("daily/", bucket="theirs", output="s3://theirs/daily/out")
    assert summary["output"] == "s3://theirs/daily/out/"
    again = tumour.run("daily/", bucket="theirs", output="s3://theirs/daily/out/", run_id="run-2")
    assert again["objects"]["scored"] == 0
    assert again["objects"]["skipped"] == 1  # and predictions are no input
    assert (
        tumour.run("daily/", bucket="theirs", run_id="run-3")["output"] == f"s3://{BUCKET}/scores/tumour/theirs/daily/"
    )


def test_a_model_that_gives_no_finite_answer_says_so(tmp_path: Path) -> None:
    from tests.unit.inference.small_models import linear, put_version

    manifest = replace(classifier(), version="dddddddddddd")
    world = World(tmp_path, classifier(), TUMOUR)
    put_version(tmp_path / "nan", manifest, graph=lambda c, o: linear(c, o, 1, nan_safe=False))
    for path in (tmp_path / "nan" / "tumour" / "dddddddddddd").iterdir():
        world.artifacts.put(f"models/tumour/dddddddddddd/{path.name}", path.read_bytes())
    world.live.champions["tumour"] = "dddddddddddd"
    world.data.put("scoring/in/a.csv", b"radius,texture,cells\n1,,1\n1,1,1\n")
    first, second = world.predictions(world.run(), "a.csv")
    assert first["error"]["code"] == "model_failed"
    assert "label" in second


def test_marks_are_read_from_their_names() -> None:
    assert Mark.of("x/_objects/abc.12.3.json") == Mark("abc", 12, 3)
    assert Mark.of("x/_objects/readme.txt") is None
