"""Champion and challenger: who answers, and that a challenger never hurts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.features.spec import Feature
from mlops.inference.application import Application
from mlops.inference.hashing import identity, position, pseudonym
from mlops.inference.scoring import PATIENCE, REST
from tests.unit.inference.small_models import (
    TUMOUR,
    TUMOUR_RECORD,
    application,
    classifier,
    duel,
    endless,
    failing,
    linear,
    proxy_event,
    put_set,
    put_version,
    routes,
)

CHAMPION, CHALLENGER = "aaaaaaaaaaaa", "cccccccccccc"
Printed = Callable[[], list[dict[str, Any]]]


def records(count: int) -> list[dict[str, Any]]:
    return [{"radius": i / 100, "texture": i, "cells": i % 1000, "patient": f"p-{i}"} for i in range(count)]


def ask(app: Application, rows: list[dict[str, Any]], path: str = "/predict") -> dict[str, Any]:
    response = app.handle(proxy_event("POST", path, {"model": "tumour", "records": rows}), None)
    assert response["statusCode"] == 200, response["body"]
    answer: dict[str, Any] = json.loads(response["body"])
    return answer


def versions(answer: dict[str, Any]) -> list[str]:
    return [p.get("version", answer["version"]) for p in answer["predictions"]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    duel(tmp_path, key=("patient",))
    return tmp_path


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_is_exact_in_the_long_run(folder: Path, share: float) -> None:
    answer = ask(application(folder, routes=routes(share)), records(4000))
    found = versions(answer).count(CHALLENGER) / 4000
    assert found == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)


def test_shadow_scores_both_and_only_the_champion_answers(folder: Path, printed: Printed) -> None:
    answer = ask(application(folder, routes=routes(0.0)), records(5))
    (line,) = (x for x in printed() if x.get("kind"))
    assert versions(answer) == [CHAMPION] * 5
    assert {row["answered"] for row in line["rows"]} == {"champion"}
    assert all(row["challenger"] is not None for row in line["rows"])
    assert line["rows"][-1]["challenger"] != line["rows"][-1]["champion"]
    assert line["challenger"]["version"] == CHALLENGER
    assert line["challenger"]["error"] is None


def test_an_entity_sticks_to_its_version_while_the_share_grows(folder: Path) -> None:
    small = versions(ask(application(folder, routes=routes(0.1)), records(500)))
    large = versions(ask(application(folder, routes=routes(0.5)), records(500)))
    assert all(after == CHALLENGER for before, after in zip(small, large, strict=True) if before == CHALLENGER)


def test_the_entity_key_decides_and_not_its_features(folder: Path) -> None:
    app = application(folder, routes=routes(0.5))
    rows = [{**TUMOUR_RECORD, "radius": i / 10, "patient": "p-1"} for i in range(50)]
    assert len(set(versions(ask(app, rows)))) == 1


def test_what_is_answered_is_what_is_captured(folder: Path, printed: Printed) -> None:
    answer = ask(application(folder, routes=routes(0.5)), records(50))
    (line,) = (x for x in printed() if x.get("kind"))
    assert line["step"] == "canary-1"
    assert line["release"] == "release-7"
    for prediction, row, version in zip(answer["predictions"], line["rows"], versions(answer), strict=True):
        assert row["id"] == prediction["id"]
        assert row["answered"] == ("challenger" if version == CHALLENGER else "champion")
        assert list(prediction["probabilities"].values()) == row[row["answered"]]


def test_the_header_names_every_version_that_answered(folder: Path) -> None:
    app = application(folder, routes=routes(0.5))
    response = app.handle(proxy_event("POST", "/predict", {"model": "tumour", "records": records(50)}), None)
    assert response["headers"]["X-Model-Version"] == f"{CHAMPION},{CHALLENGER}"


def test_without_a_route_the_challenger_is_not_run(folder: Path, printed: Printed) -> None:
    ask(application(folder), records(2))
    (line,) = (x for x in printed() if x.get("kind"))
    assert line["challenger"] is None
    assert line["step"] is None


@pytest.mark.parametrize(
    ("graph", "error", "settings"),
    [
        (failing, None, {}),  # the name of onnxruntime's exception
        (lambda c, o: linear(c, o, 1, nan_safe=False, bias=float("nan")), "not_finite", {}),
        (endless, "budget", {"budget_ms": 5.0}),
    ],
)
def test_a_bad_challenger_never_changes_the_answer_and_is_counted(
    tmp_path: Path, printed: Printed, graph: Any, error: str | None, settings: dict[str, float]
) -> None:
    duel(tmp_path / "bad", graph=graph)
    duel(tmp_path / "good")
    rows = [TUMOUR_RECORD, {**TUMOUR_RECORD, "radius": 3}]
    expected = ask(application(tmp_path / "good"), rows)
    printed()
    answer = ask(application(tmp_path / "bad", routes=routes(1.0), **settings), rows)
    (line,) = (x for x in printed() if x.get("kind"))
    assert versions(answer) == [CHAMPION] * 2
    assert [p["probabilities"] for p in answer["predictions"]] == [p["probabilities"] for p in expected["predictions"]]
    assert line["challenger"]["error"] == (error or line["challenger"]["error"]) != ""
    assert [row["challenger"] for row in line["rows"]] == [None, None]
    assert {row["answered"] for row in line["rows"]} == {"champion"}


def test_nan_for_one_record_leaves_that_record_to_the_champion(tmp_path: Path, printed: Printed) -> None:
    duel(tmp_path, graph=lambda c, o: linear(c, o, 2, nan_safe=False))
    answer = ask(application(tmp_path, routes=routes(1.0)), [TUMOUR_RECORD, {**TUMOUR_RECORD, "texture": None}])
    assert versions(answer) == [CHALLENGER, CHAMPION]
    (line,) = (x for x in printed() if x.get("kind"))
    assert line["challenger"]["error"] == "not_finite"


def test_a_challenger_that_fails_again_and_again_is_left_out_for_a_while(tmp_path: Path, printed: Printed) -> None:
    duel(tmp_path, graph=failing)
    app = application(tmp_path, routes=routes(0.0))
    for _ in range(PATIENCE + REST + 1):
        ask(app, [TUMOUR_RECORD])
    errors = [x["challenger"]["error"] for x in printed() if x.get("kind")]
    assert errors[PATIENCE : PATIENCE + REST] == ["resting"] * REST
    assert "resting" not in (errors[0], errors[-1])


def test_a_challenger_with_other_features_reads_the_records_itself(tmp_path: Path, printed: Printed) -> None:
    put_version(tmp_path, classifier())
    put_version(tmp_path, classifier(version=CHALLENGER, features=(*TUMOUR[:2], Feature("cells", "number"))), seed=2)
    put_set(tmp_path, {"tumour": (CHAMPION, CHALLENGER)})
    app = application(tmp_path, routes=routes(1.0))
    assert versions(ask(app, [TUMOUR_RECORD])) == [CHALLENGER]


def test_a_challenger_that_refuses_the_records_is_counted(tmp_path: Path, printed: Printed) -> None:
    put_version(tmp_path, classifier())
    put_version(tmp_path, classifier(version=CHALLENGER, features=(*TUMOUR, Feature("new", "number"))), seed=2)
    put_set(tmp_path, {"tumour": (CHAMPION, CHALLENGER)})
    assert versions(ask(application(tmp_path, routes=routes(1.0)), [TUMOUR_RECORD])) == [CHAMPION]
    (line,) = (x for x in printed() if x.get("kind"))
    assert line["challenger"]["error"] == "features"


def test_a_version_asked_for_by_name_reads_records_by_its_own_features(tmp_path: Path, printed: Printed) -> None:
    put_version(tmp_path, classifier())
    put_version(tmp_path, classifier(version=CHALLENGER, features=(*TUMOUR, Feature("new", "number"))), seed=2)
    put_set(tmp_path, {"tumour": (CHAMPION, CHALLENGER)})
    app = application(tmp_path)
    record = {**TUMOUR_RECORD, "new": 1}
    inputs = [{"name": n, "datatype": "FP64", "shape": [1], "data": [v]} for n, v in record.items()]
    for version, status in ((CHALLENGER, 200), (CHAMPION, 400)):
        path = f"/v2/models/tumour/versions/{version}/infer"
        assert app.handle(proxy_event("POST", path, {"inputs": inputs}), None)["statusCode"] == status
    line = next(x for x in printed() if x.get("kind"))
    assert line["champion"]["error"] == "features"
    assert line["rows"][0]["answered"] == "challenger"


def test_a_challenger_with_other_classes_is_watched_but_never_answers(tmp_path: Path) -> None:
    put_version(tmp_path, classifier())
    put_version(tmp_path, classifier(version=CHALLENGER, classes=("benign", "malignant", "unclear")), seed=2)
    put_set(tmp_path, {"tumour": (CHAMPION, CHALLENGER)})
    assert versions(ask(application(tmp_path, routes=routes(1.0)), [TUMOUR_RECORD])) == [CHAMPION]


def test_a_challenger_that_cannot_be_loaded_leaves_the_champion_alone(folder: Path) -> None:
    (folder / "tumour" / CHALLENGER / "model.onnx").unlink()
    assert versions(ask(application(folder, routes=routes(1.0)), records(3))) == [CHAMPION] * 3


def test_wrong_records_of_a_partial_request_keep_the_rows_aligned(folder: Path) -> None:
    app = application(folder, routes=routes(0.5))
    good = versions(ask(app, records(20)))
    mixed: list[Any] = [x for row in records(20) for x in ({"radius": "bad"}, row)]
    body = {"model": "tumour", "records": mixed, "partial": True}
    answer = json.loads(app.handle(proxy_event("POST", "/predict", body), None)["body"])
    assert ["error" in p for p in answer["predictions"]] == [True, False] * 20
    assert [p.get("version", answer["version"]) for p in answer["predictions"][1::2]] == good


@given(st.dictionaries(st.text(max_size=5), st.integers(-(2**63), 2**63) | st.text(max_size=5), min_size=1))
@settings(deadline=None)
def test_a_record_without_a_key_is_known_by_all_it_says_in_any_order(record: dict[str, Any]) -> None:
    backwards = dict(reversed(record.items()))
    assert identity(record, ()) == identity(backwards, ())
    assert identity(record, ("no such field",)) == identity(record, ())


def test_positions_are_stable_and_differ_between_releases() -> None:
    # A changed hash would move callers between versions in the middle of a release.
    assert position("tumour", "release-7", b'["p-1"]') == pytest.approx(0.1864239268769086, abs=1e-15)
    places = [position("tumour", "release-7", str(i).encode()) for i in range(1000)]
    others = [position("tumour", "release-8", str(i).encode()) for i in range(1000)]
    assert all(0 <= p < 1 for p in places)
    assert sum(p < 0.5 for p in places) == pytest.approx(500, abs=65)
    assert sum((p < 0.5) == (q < 0.5) for p, q in zip(places, others, strict=True)) == pytest.approx(500, abs=65)


def test_pseudonyms_need_the_key() -> None:
    assert pseudonym(b"a" * 32, "entity", ["p-1"]) == pseudonym(b"a" * 32, "entity", ["p-1"])
    assert pseudonym(b"a" * 32, "entity", ["p-1"]) != pseudonym(b"b" * 32, "entity", ["p-1"])
    assert pseudonym(b"a" * 32, "age", 1) != pseudonym(b"a" * 32, "entity", 1)
