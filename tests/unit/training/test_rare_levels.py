"""Levels that few training rows have count as one, in training, in ONNX, in the gates and where requests are read."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.evaluation.evaluate import Bundle, evaluate
from mlops.evaluation.scoring import OnnxScorer
from mlops.features.columns import Columns, category_column
from mlops.features.encoding import encode, other_code, width
from mlops.features.spec import Feature
from mlops.inference.explainer import Explainer
from mlops.inference.parsing import Parser
from mlops.manifest import Manifest
from mlops.training.fit import Trained, fit
from mlops.training.pooling import pool_rare
from tests.unit.training import tables

LEVELS = tuple(f"town {i}" for i in range(200))
FEATURES = (Feature("a", "number"), Feature("town", "category", categories=LEVELS, nullable=True))


def towns(rows: int = 600, seed: int = 1) -> Columns:
    """A few large towns, which matter, and many with a handful of rows."""
    rng = np.random.default_rng(seed)
    place = np.where(rng.random(rows) < 0.5, rng.integers(0, 5, rows), rng.integers(5, 200, rows))
    a = rng.normal(size=rows)
    signal = a + 2.0 * (place < 3) + rng.normal(0, 0.3, rows)
    column = category_column("town", [None if i % 50 == 0 else LEVELS[p] for i, p in enumerate(place)])
    plain = tables.table("binary", (Feature("a", "number"),), rows)["a"]
    return Columns((replace(plain, values=a), column, tables.target("binary", signal)))


def trained(family: str, **training: object) -> Trained:
    contract = tables.contract("binary", FEATURES, families=(family,), **training)
    return fit(towns(), contract, dataset_version="d1", listen=lambda _: False)


@pytest.mark.parametrize("family", ["linear", "forest", "boosting"])
def test_rare_levels_are_one_from_training_to_the_explained_answer(family: str) -> None:
    result = trained(family)
    manifest = Manifest.from_dict(json.loads(result.artifacts["manifest.json"]))
    town = manifest.features[1]

    assert set(LEVELS[:5]).isdisjoint(town.pooled)
    assert len(town.pooled) == 195
    assert "rare levels count as one: 195 of 'town'" in result.explanation
    records = [{"a": 0.5, "town": t} for t in ("town 1", "town 150", "town 151", None)]
    matrix = Parser(manifest.features).parse(records).matrix
    assert matrix[:, 1].tolist() == [1.0, 201.0, 201.0, 200.0]
    scorer = OnnxScorer(result.artifacts["model.onnx"], width(manifest.features), 2)
    answers = scorer(matrix)
    assert answers[1].tolist() == answers[2].tolist()
    assert answers[0].tolist() != answers[1].tolist()
    assert np.isfinite(Explainer(manifest, result.artifacts["model.onnx"]).explain(matrix, answers)).all()
    assert len(result.artifacts["model.onnx"]) < 300_000

    contract = tables.contract("binary", FEATURES, families=(family,))
    judged = evaluate(contract, Bundle(manifest, result.artifacts["model.onnx"], result.artifacts))
    assert judged.status == "accepted", judged.reasons
    assert judged.parity is not None
    assert judged.parity.passed


@given(st.lists(st.sampled_from([*"abcdef", None, "unheard of"]), max_size=60), st.integers(1, 6), st.integers(1, 6))
def test_no_level_is_kept_that_is_rarer_than_one_that_is_not(
    values: list[str | None], min_rows: int, max_levels: int
) -> None:
    feature, counts = Feature("c", "category", categories=tuple("abcdef"), nullable=True), Counter(values)

    (found,) = pool_rare([feature], Columns((category_column("c", values),)), min_rows=min_rows, max_levels=max_levels)

    kept = [c for c in "abcdef" if c not in found.pooled]
    assert len(kept) <= max_levels
    assert all(counts[c] >= min_rows for c in kept)
    for level in found.pooled:
        assert counts[level] < min_rows or (len(kept) == max_levels and all(counts[level] <= counts[c] for c in kept))
    coded = encode([found], Columns((category_column("c", [*"abcdef", "unheard of"]),)))[:, 0]
    assert {c for c, code in zip("abcdef", coded, strict=False) if code == other_code(found)} == set(found.pooled)
    assert coded[6] == other_code(found)


def test_what_is_rare_is_counted_on_training_rows_and_is_no_part_of_the_contract() -> None:
    contract = tables.contract("binary", FEATURES, families=("linear",))
    assert trained("linear").manifest.lineage["contract_digest"] == contract.digest()
    result = trained("linear", min_level_rows=1, max_levels=1000)
    held_out = Columns.load(result.artifacts["holdout.npz"])["town"]
    there = Counter(towns()["town"].levels[c] for c in towns()["town"].values if c >= 0)
    there.subtract(held_out.levels[c] for c in held_out.values if c >= 0)
    assert set(result.manifest.features[1].pooled) == {level for level in LEVELS if there[level] == 0}
