"""Rows far from those of the data set are kept apart: row by row, so however an upload is split."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.bulk.entities import Bulk
from mlops.contract import Checks, Contract, Target
from mlops.contract.source import check
from mlops.data import outliers, reference
from mlops.data.reference import known_reference
from mlops.features.spec import Feature
from tests.unit.bulk.world import Broken, World

PLAIN = Contract(
    "pumps",
    "classification",
    Target("failed", ("no", "yes")),
    (
        Feature("heat", "number", nullable=True),
        Feature("speed", "number"),
        Feature("load", "integer", nullable=True),
        Feature("age", "number", pii="pseudonymise"),
    ),
    key=("id",),
)
APART = replace(PLAIN, checks=Checks(severity={"outliers": "quarantine"}))
HEADER = "id,heat,speed,load,age,failed\n"


def lines(count: int, seed: int, far: tuple[int, ...] = ()) -> list[str]:
    """Rows in which heat and speed go together; in those of ``far`` they part, each of a usual size."""
    rng = np.random.default_rng(seed)
    heat = rng.normal(60, 5, count)
    speed = heat * 2 + rng.normal(0, 1, count)
    for i in far:
        heat[i], speed[i] = 72.0, 84.0
    load = [str(n) if i % 9 else "" for i, n in enumerate(rng.integers(0, 50, count))]
    age = [9e6 if i == 5 else 40 for i in range(count)]
    failed = ["no" if i % 2 else "yes" for i in range(count)]
    return [f"p{seed}-{i},{heat[i]:.3f},{speed[i]:.3f},{load[i]},{age[i]},{failed[i]}\n" for i in range(count)]


def csv(rows: list[str]) -> bytes:
    return (HEADER + "".join(rows)).encode()


def with_past(*parts: list[str], contract: Contract = APART) -> World:
    """A stack whose data set has these rows; they came under a contract that only warns."""
    world = World(PLAIN)
    for i, rows in enumerate(parts):
        world.alone(csv(rows), f"earlier-{i}.csv")
    world.contract = contract
    world.registry.put_contract(contract)
    return world


def apart(world: World, prefix: str) -> list[dict[str, Any]]:
    found = [
        json.loads(line)
        for key in sorted(world.objects.versions)
        if key.startswith(f"quarantine/pumps/{prefix}") and key.endswith("rows.jsonl")
        for line in world.objects.get(key).splitlines()
    ]
    return sorted(({"reasons": f["reasons"], "values": f["values"]} for f in found), key=lambda f: f["values"]["id"])


@given(
    past=st.lists(st.integers(0, 2), min_size=240, max_size=240),
    files=st.lists(st.integers(0, 2), min_size=80, max_size=80),
    far=st.sets(st.integers(0, 79), max_size=20),
    shuffled=st.randoms(),
)
@settings(deadline=None, max_examples=4)
def test_the_same_rows_are_kept_apart_however_they_are_split(
    past: list[int], files: list[int], far: set[int], shuffled: Any
) -> None:
    """Neither how the data set came in files nor how the upload does changes a verdict, a reason or the version."""
    earlier, rows = lines(240, 1), lines(80, 2, tuple(far))
    one, many = (
        with_past(earlier),
        with_past(*([r for r, p in zip(earlier, past, strict=True) if p == n] for n in range(3))),
    )
    single = one.alone(csv(rows)).to_dict()
    split: dict[str, list[str]] = {}
    for row, file in zip(rows, files, strict=True):
        split.setdefault(f"{file}.csv", []).append(row)
    for part in split.values():
        shuffled.shuffle(part)
    together = many.take({name: csv(part) for name, part in split.items()})
    assert together["dataset_version"] == single["dataset_version"]
    assert together["rows"] == single["rows"]
    assert apart(many, together["upload_id"]) == apart(one, single["upload_id"])
    assert {f["values"]["id"] for f in apart(one, single["upload_id"])} == {f"p2-{i}" for i in far}
    assert together["reasons"] == list(single["reasons"])


def test_a_finding_names_column_rows_and_limit_and_shows_no_person() -> None:
    world = with_past(lines(400, 1))
    result = world.alone(csv(lines(50, 2, (7, 30))))
    assert (result.status, result.rows.quarantined, result.rows.new) == ("partial", 2, 48)
    report = world.report(result.to_dict())
    (found,) = report["findings"]
    assert (found["code"], found["severity"], found["count"], found["share"]) == ("outliers", "quarantine", 2, 0.04)
    assert (found["column"], found["rows"], found["examples"]) == ("speed", [8, 31], ["84.000"])
    usual = known_reference(world.objects, world.registry, APART, result.upload_id)
    assert usual is not None
    assert usual.names == ("heat", "speed", "load")
    assert f"above {usual.limit:.3g} (400 rows looked at" in found["message"]
    assert "9000000" not in json.dumps(report), "an age is personal: neither looked at nor shown"


@pytest.mark.parametrize("rows", [0, 150])
def test_without_a_past_it_is_said_that_rows_were_not_judged(rows: int) -> None:
    body = csv(lines(300, 2, (7, 30)))
    alone, many = (with_past(*([lines(rows, 1)] if rows else [])) for _ in range(2))
    single, together = alone.alone(body).to_dict(), many.take({"a.csv": body})
    for world, result in ((alone, single), (many, together)):
        report = world.report(result)
        assert (result["status"], result["rows"]["new"]) == ("accepted", 300)
        assert [n for n in report["notes"] if "outlier" in n] == [outliers.NOT_JUDGED]
        (found,) = (f for f in report["findings"] if f["code"] == "outliers")
        assert (found["severity"], found["count"]) == ("warn", 2)


@pytest.mark.parametrize(("steps", "kept_apart"), [(0.5, True), (3.0, True), (100.0, False)])
def test_how_far_is_too_far_is_the_contract_s_to_say(steps: float, kept_apart: bool) -> None:
    world = with_past(lines(300, 1), contract=replace(APART, checks=replace(APART.checks, outlier_steps=steps)))
    result = world.alone(csv(lines(300, 2, (7,))))
    reasons = [r["code"] for r in result.reasons]
    assert ("outliers" in reasons) == kept_apart


def test_a_limit_beyond_all_numbers_is_no_fault() -> None:
    far = np.array([[1e300], *[[float(i)] for i in range(150)], *[[-1e300]] * 30])
    usual = outliers.learn(("a",), far, steps=100)
    assert usual is not None
    assert not len(usual.far(far)[0])


def test_a_run_that_broke_off_is_judged_again_by_what_was_there_before_it() -> None:
    """Its own rows, and those that came later, do not count; a bulk upload keeps what its plan found."""
    world = with_past(lines(300, 1))
    body = csv(lines(500, 2, (3,)))
    before = known_reference(world.objects, world.registry, APART, "")
    keep, world.registry.put_record = world.registry.put_record, _breaks  # type: ignore[method-assign]
    with pytest.raises(Broken):
        world.alone(body)
    world.registry.put_record = keep  # type: ignore[method-assign]
    plan = world.do("plan", request={"model": "pumps", "prefix": world.put({"a.csv": body})})
    bulk = Bulk.from_dict(plan)
    pinned = world.objects.get(bulk.reference_key)
    world.alone(csv(lines(200, 3)), "later.csv")
    (own, *_) = (i["upload_id"] for i in _parts(world) if i["rows"] == 499)
    after = known_reference(world.objects, world.registry, APART, own)
    assert before is not None
    assert after is not None
    assert after.to_dict() == before.to_dict()
    assert world.do("plan", request={"model": "pumps", "prefix": bulk.prefix})["bulk_id"] == bulk.bulk_id
    assert world.objects.get(bulk.reference_key) == pinned


def _breaks(*_: Any) -> None:
    raise Broken


def _parts(world: World) -> list[dict[str, Any]]:
    current = world.registry.current_dataset("pumps")
    assert current is not None
    return [dict(world.objects.json(f"datasets/pumps/parts/{p}/part.json")) for p in current.parts]


def test_parts_without_a_sample_or_a_column_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    world = with_past(lines(300, 1), lines(300, 2), lines(300, 3))

    def rows(contract: Contract = APART) -> int | None:
        found = known_reference(world.objects, world.registry, contract, "")
        return found and found.rows

    assert rows() == 900
    first, second, _ = (f"datasets/pumps/parts/{i['part_id']}/sample.npz" for i in _parts(world))
    world.objects.delete(first)
    assert rows() == 600
    monkeypatch.setattr(reference, "PARTS", 1)
    assert rows() == 300
    world.objects.delete(second)
    assert rows(replace(APART, features=(*APART.features, Feature("noise", "number")))) is None
    assert rows(PLAIN) is None


@given(seed=st.integers(0, 2**32 - 1), cut=st.integers(1, 199))
@settings(deadline=None, max_examples=10)
def test_a_row_on_the_very_limit_has_one_verdict(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    usual = outliers.learn(("a", "b", "c", "d", "e"), rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)), steps=3)
    assert usual is not None
    scaled = rng.normal(size=(200, 5))
    scaled *= usual.limit / np.sqrt(np.einsum("ij,jk,ik->i", scaled, usual.precision, scaled))[:, None]
    values = scaled * usual.spreads + usual.middles

    def verdicts(part: outliers.Floats) -> list[bool]:
        return np.isin(np.arange(len(part)), usual.far(part)[0]).tolist()

    whole = verdicts(values)
    assert (
        whole == verdicts(values[:cut]) + verdicts(values[cut:]) == [verdicts(values[i : i + 1])[0] for i in range(200)]
    )
    assert outliers.Reference.from_dict(json.loads(json.dumps(usual.to_dict()))).to_dict() == usual.to_dict()


def test_only_outliers_can_keep_rows_apart() -> None:
    assert check(APART) == []
    (wrong,) = check(replace(APART, checks=Checks(severity={"leakage": "quarantine"})))
    assert "leakage" in wrong
