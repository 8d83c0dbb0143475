"""What no single row shows: balance, contradictions, leakage, outliers, volume and age of a file."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from mlops.contract import Checks, Contract, Rule, Target
from mlops.data.outcome import Finding, Rejection
from mlops.data.validation import Validated, validate_file
from mlops.data.violations import constraint_violations
from mlops.data.whole_file import _gini, predictive_power
from mlops.features.columns import category_column, float_column
from mlops.features.spec import Feature

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CONTRACT = Contract(
    "shop",
    "classification",
    Target("bought", ("no", "yes")),
    (
        Feature("a", "number", nullable=True),
        Feature("b", "number"),
        Feature("c", "number"),
        Feature("size", "category", categories=("small", "large", "huge")),
    ),
    key=("who",),
    timestamp="seen",
)


def table(rows: int = 2_000, **changes: Any) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    a = rng.normal(size=rows)
    columns: dict[str, Any] = {
        "who": [f"w{i}" for i in range(rows)],
        "seen": ["2026-03-01T10:00:00Z"] * rows,
        "a": a,
        "b": a + rng.normal(size=rows) / 4,
        "c": rng.normal(size=rows),
        "size": rng.choice(["small", "large", "huge"], rows),
        "bought": rng.choice(["no", "yes"], rows),
    }
    return pl.DataFrame(columns | changes)


def check(folder: Path, frame: pl.DataFrame, contract: Contract = CONTRACT, **more: Any) -> Validated:
    path = folder / "rows.parquet"
    frame.write_parquet(path)
    checked = validate_file(path, contract, folder, now=NOW, **more)
    assert isinstance(checked, Validated)
    return checked


def found(checked: Validated, code: str) -> Finding:
    (finding,) = [f for f in checked.findings if f.code == code]
    return finding


def test_a_sound_file_has_no_findings(tmp_path: Path) -> None:
    assert check(tmp_path, table(), history=[1500, 2500, 3000]).findings == ()


def test_balance(tmp_path: Path) -> None:
    finding = found(check(tmp_path, table(bought=["no"] * 2_000)), "balance")
    assert (finding.column, finding.count, finding.severity) == ("bought", 0, "warn")
    assert "'yes'" in finding.message


def test_contradicting_labels(tmp_path: Path) -> None:
    frame = (
        table()
        .with_row_index()
        .with_columns(
            who=pl.when(pl.col("index") == 10).then(pl.lit("w3")).otherwise("who"),
            bought=pl.when(pl.col("index") == 10)
            .then(pl.lit("yes"))
            .when(pl.col("index") == 3)
            .then(pl.lit("no"))
            .otherwise("bought"),
        )
    )
    finding = found(check(tmp_path, frame.drop("index")), "conflicting_labels")
    assert (finding.count, finding.rows, finding.examples) == (2, [4, 11], [])
    assert "w3" not in finding.message
    later = frame.with_columns(seen=pl.when(pl.col("index") == 10).then(pl.lit("2026-03-02")).otherwise("seen"))
    assert check(tmp_path, later.drop("index")).findings == ()  # another time is another case


@pytest.mark.parametrize("rare", [False, True])
def test_leakage_of_a_number_and_of_a_category(tmp_path: Path, rare: bool) -> None:
    positive = np.arange(2_000) % (400 if rare else 3) == 0
    changes = {
        "bought": np.where(positive, "yes", "no"),
        "c": np.where(positive, 5.0, 0.0) + np.random.default_rng(1).normal(size=2_000) / 10,
        "size": np.where(positive, "huge", "small"),
    }
    checked = check(tmp_path, table(**changes))
    assert {f.column for f in checked.findings if f.code == "leakage"} == {"c", "size"}
    strict = replace(CONTRACT, checks=Checks(severity={"leakage": "reject"}))
    rejection = check(tmp_path, table(**changes), strict).rejection
    assert rejection is not None
    assert rejection.code == "leakage"
    quiet = replace(
        CONTRACT, checks=Checks(severity={"leakage": "ignore", "rare_categories": "ignore", "outliers": "ignore"})
    )
    assert check(tmp_path, table(**changes), quiet).findings == ()


def test_predictive_power_against_known_answers() -> None:
    rng = np.random.default_rng(3)
    x, noise = rng.normal(size=5_000), rng.normal(size=5_000)
    known = np.ones(5_000, dtype=bool)
    number = float_column("x", "number", np.round(x, 1))
    linear = float_column("y", "number", x + noise)
    assert predictive_power(number, linear, known) == pytest.approx(0.5, abs=0.05)  # R² of x in x + noise
    assert predictive_power(float_column("z", "number", noise), float_column("y", "number", x), known) < 0.05
    positive = x + noise > 0
    assert _gini(number.values, positive) == pytest.approx(2 * roc_auc_score(positive, number.values) - 1, abs=1e-9)
    folded = category_column("y", ["in" if abs(v) < 1 else "out" for v in x])
    assert predictive_power(float_column("x", "number", x), folded, known) > 0.9  # no rank would see it
    names = category_column("n", [f"n{i}" for i in range(5_000)])
    assert predictive_power(names, folded, known) == 0.0  # learning by heart is no leakage


def test_outliers_that_only_the_columns_together_show(tmp_path: Path) -> None:
    frame = table()
    a, b = frame["a"].to_numpy().copy(), frame["b"].to_numpy().copy()
    a[[70, 7]], b[[70, 7]] = 3.0, -3.0  # each is usual alone; together they break the correlation
    clean = check(tmp_path, frame)
    assert not [f for f in clean.findings if f.code == "outliers"]
    a[9] = 60.0
    finding = found(check(tmp_path, frame.with_columns(a=a, b=b)), "outliers")
    assert finding.rows == [8, 10, 71]
    assert "'a'" in finding.message


@pytest.mark.parametrize("shape", ["normal", "lognormal", "t"])
def test_heavy_tails_are_no_outliers_by_the_thousand(tmp_path: Path, shape: str) -> None:
    rng = np.random.default_rng(11)
    draw = {"normal": rng.normal, "lognormal": rng.lognormal, "t": lambda size: rng.standard_t(4, size)}[shape]
    checked = check(tmp_path, table(20_000, a=draw(size=20_000), b=draw(size=20_000), c=draw(size=20_000)))
    assert sum(f.count for f in checked.findings if f.code == "outliers") <= 20


def test_volume_freshness_completeness_and_rare_levels(tmp_path: Path) -> None:
    checks = Checks(completeness={"a": 0.9}, max_age_days=0.5)
    frame = table(a=[None, 1.0] * 1_000, size=["small", "large"] * 999 + ["huge"] * 2)
    checked = check(tmp_path, frame, replace(CONTRACT, checks=checks), history=[50, 60, 70])
    assert {f.code for f in checked.findings} == {"completeness", "freshness", "volume", "rare_categories"}
    assert found(checked, "completeness").count == 1_000
    assert "1.1 days old" in found(checked, "freshness").message
    assert "60 (median)" in found(checked, "volume").message


def test_dates_in_the_future(tmp_path: Path) -> None:
    later = table(seen=["2026-03-03T10:00:00Z"] * 1_999 + ["2027-01-01"])  # tomorrow is somebody's today
    finding = found(check(tmp_path, later), "future_date")
    assert (finding.column, finding.count, finding.rows, finding.severity) == ("seen", 1, [2_000], "warn")
    strict = replace(CONTRACT, checks=Checks(future_dates="quarantine"))
    assert check(tmp_path, later, strict).apart == 1


def test_rules_keep_rows_apart_or_reject(tmp_path: Path) -> None:
    frame = table(c=[-1.0] * 100 + [1.0] * 1_900)
    apart = check(tmp_path, frame, replace(CONTRACT, rules=(Rule("c > 0", message="c must be positive"),)))
    assert (apart.apart, apart.accepted.count) == (100, 1_900)
    assert json.loads(apart.quarantine.read_text().splitlines()[0])["reasons"][0]["message"] == "c must be positive"
    two = (Rule("c > 0", "warn"), Rule("c < 1 or a < 100", "warn"), Rule("c > 5", "warn"))
    assert [f.count for f in check(tmp_path, frame, replace(CONTRACT, rules=two)).findings] == [2_000, 100]
    for share, rejected in ((0.05, False), (0.04, True)):
        rules = (Rule("c > 0", "reject", max_share=share),)
        assert (check(tmp_path, frame, replace(CONTRACT, rules=rules)).rejection is not None) is rejected


def test_violations_in_the_layout_of_model_monitor(tmp_path: Path) -> None:
    frame = table().with_columns(size=pl.Series(["tiny"] * 3 + ["small"] * 1_997), b=pl.Series(["x"] + ["1"] * 1_999))
    checked = check(tmp_path, frame)
    body = json.loads(constraint_violations([f.to_dict(checked.read) for f in checked.findings], ()))
    assert {(v["feature_name"], v["constraint_check_type"]) for v in body["violations"]} == {
        ("size", "categorical_values_check"),
        ("b", "data_type_check"),
    }
    assert all(set(v) == {"feature_name", "constraint_check_type", "description"} for v in body["violations"])
    frame.drop("a").write_parquet(tmp_path / "rows.parquet")
    refused = validate_file(tmp_path / "rows.parquet", CONTRACT, tmp_path)
    assert isinstance(refused, Rejection)
    (violation,) = json.loads(constraint_violations([], [refused.to_dict()]))["violations"]
    assert (violation["feature_name"], violation["constraint_check_type"]) == ("a", "missing_column_check")
