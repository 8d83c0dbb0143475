"""Prediction drift, expected and realised losses: how they are measured, what they stop, and that peeking is safe."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.contract import Contract, Release
from mlops.evaluation.metrics import Task, metric_for
from mlops.features.columns import Columns, category_column, float_column
from mlops.features.spec import Feature
from mlops.manifest import Manifest
from mlops.objects import ESTIMATE, label_prefix, version_prefix
from mlops.quality.calibration import calibrate
from mlops.quality.estimate import expected, expected_error, inputs_of, learn_loss
from mlops.quality.portable import estimate_json
from mlops.release import report
from mlops.release.dispatch import run
from mlops.release.evidence import Evidence, Judge
from mlops.release.losses import Expectation, Paired, increase, loss
from mlops.release.shift import CUTS, Cells, cells_of, distance
from mlops.release.verdict import ALPHA, Compared, decide, rules_of
from tests.fakes import MemoryObjects
from tests.unit.release.fake_serving import World, call

FEATURES = (
    Feature("size", "number"),
    Feature("kind", "category", categories=("a", "b")),
    Feature("name", "category", categories=("x",), pii="drop"),
)
BINARY = Manifest("m", "v", "classification", FEATURES, "y", ("no", "yes"), "yes")
THREE = Manifest("m", "v", "classification", FEATURES, "y", ("a", "b", "c"))
VALUE = Manifest("m", "v", "regression", FEATURES, "y", value_range=(0.0, 100.0))
RULES = Release(min_requests=50, min_seconds=0, min_labels=50)


# The file that the evaluation writes ----------------------------------------------------------------


def table(rows: int, generator: np.random.Generator) -> Columns:
    kinds = [("a", "b", None, "strange")[i] for i in generator.integers(0, 4, rows)]
    size = np.where(generator.random(rows) < 0.1, np.nan, generator.normal(size=rows))
    return Columns((float_column("size", "number", size), category_column("kind", kinds)))


def records(held: Columns) -> list[dict[str, Any]]:
    kind = held["kind"]
    kinds = [kind.levels[c] if c >= 0 else None for c in kind.values]
    return [
        {"size": None if np.isnan(s) else s, "kind": k}
        for s, k in zip(held["size"].values.tolist(), kinds, strict=True)
    ]


def expectation(manifest: Manifest, held: Columns, actual: Any, scores: Any) -> Expectation:
    store = MemoryObjects()
    store.put(version_prefix("m", "v") + ESTIMATE, estimate_json(manifest, held, actual, scores, seed=1))
    found = Expectation.load(store, manifest)
    assert found is not None
    return found


@pytest.mark.parametrize("manifest", [BINARY, THREE], ids=["two", "three"])
@pytest.mark.parametrize("overconfident", [False, True])
def test_the_expected_loss_is_that_of_the_quality_check(manifest: Manifest, overconfident: bool) -> None:
    generator = np.random.default_rng(3)
    classes = len(manifest.classes)
    logits = generator.normal(size=(600, classes))
    truth = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    actual = np.array([generator.choice(classes, p=p) for p in truth])
    sharp = np.exp((3 if overconfident else 1) * logits)
    scores = sharp / sharp.sum(axis=1, keepdims=True)
    held = table(600, generator)
    known = expectation(manifest, held, actual, scores)
    assert known.body["calibration"] == ("logistic" if overconfident else "none")
    ours = np.mean([known.loss({}, row) for row in scores.tolist()])
    calibrated = calibrate(actual, scores, seed=1)(scores)
    brier = expected(scores, calibrated, metric_for("brier", "classification"), Task(classes, 1), seed=1, draws=2).value
    assert ours == pytest.approx(brier if classes == 2 else brier / 2, rel=1e-9)
    realised = np.mean([loss(manifest, s, a) for s, a in zip(scores.tolist(), actual.tolist(), strict=True)])
    assert ours == pytest.approx(realised, abs=0.03)


def test_the_expected_error_is_that_of_the_quality_check_on_captured_records() -> None:
    generator = np.random.default_rng(4)
    held = table(800, generator)
    scores = generator.normal(50, 10, size=(800, 1))
    strange = np.isin(held["kind"].values, [held["kind"].levels.index("strange")])
    actual = scores[:, 0] + generator.normal(size=800) * np.where(strange, 9.0, 1.0)
    known = expectation(VALUE, held, actual, scores)
    assert known.body["features"] == ["size", "kind"], "what captures hide cannot be looked at"
    assert "column" in known.body["tree"]
    ours = [known.loss(r, s) for r, s in zip(records(held), scores.tolist(), strict=True)]
    mae = metric_for("mae", "regression")
    inputs = inputs_of(held, scores, FEATURES[:2])
    theirs = learn_loss(inputs, actual - scores[:, 0], mae, seed=1)
    assert ours == pytest.approx(theirs.predict(inputs).tolist())
    assert np.mean(ours) == pytest.approx(expected_error(theirs, inputs, mae, seed=1, draws=2).value)
    assert known.loss({"size": "no number", "kind": []}, [50.0]) > 0, "a strange value counts as missing"


# Prediction drift -------------------------------------------------------------------------------------


def moved(manifest: Manifest, pairs: Any, cells: Cells | None = None) -> tuple[Cells, Evidence]:
    found = cells or cells_of(manifest, MemoryObjects())
    assert found is not None
    rows = [{"champion": list(a), "challenger": list(b)} for a, b in pairs]
    sides = {"champion": {"us": 1, "error": None}, "challenger": {"us": 1, "error": None}}
    return found, Judge(manifest, manifest, 0.2, found).evidence([{"rows": rows, **sides}])


probability = st.floats(0, 1).map(lambda p: round(p, 3))


@settings(max_examples=40)
@given(st.lists(st.tuples(probability, probability), min_size=1, max_size=60))
def test_the_distance_of_scores_is_the_wasserstein_distance_on_the_grid(pairs: list[tuple[float, float]]) -> None:
    cells, seen = moved(BINARY, [((1 - a, a), (1 - b, b)) for a, b in pairs])
    found = distance(cells, seen.up, seen.down, seen.rows, ALPHA)
    a, b = (np.array([p[i] for p in pairs]) for i in (0, 1))
    shares = [abs((a >= t).mean() - (b >= t).mean()) for t in cells.cuts]
    assert found.value == pytest.approx(sum(shares) / (CUTS + 1))
    assert 0 <= found.lower <= found.value + 1e-12 <= found.upper + 1e-9 <= 1 + 2e-9


def test_the_distance_of_classes_is_the_total_variation() -> None:
    one, two, three = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    cells, seen = moved(THREE, [(one, two)] * 300 + [(two, one)] * 100 + [(three, three)] * 600)
    found = distance(cells, seen.up, seen.down, seen.rows, ALPHA)
    assert found.value == pytest.approx(0.2), "shares 0.3, 0.1, 0.6 against 0.1, 0.3, 0.6"
    assert 0 < found.lower < 0.2 < found.upper


def test_the_distance_of_values_is_in_ranks_of_the_champions_usual_answers() -> None:
    store = MemoryObjects()
    edges = [0.0, *range(1, 40), 1e9]
    columns = [{"name": "size", "role": "feature", "edges": [0, 1]}, {"role": "prediction", "edges": edges}]
    store.put(version_prefix("m", "v") + "baseline.json", json.dumps({"columns": columns}).encode())
    cells = cells_of(VALUE, store)
    assert cells is not None
    assert cells.count == len(cells.cuts) <= CUTS
    usual = np.random.default_rng(1).uniform(0, 40, 400).tolist()
    above = [([v], [v + 1000.0]) for v in usual]
    _, seen = moved(VALUE, above, cells)
    found = distance(cells, seen.up, seen.down, seen.rows, ALPHA)
    assert found.value == pytest.approx(0.5, abs=0.05), "everything is above all of before"
    assert cells_of(VALUE, MemoryObjects()) is None, "no baseline, no cells, no rule"


def verdict(seen: Evidence, rules: Release = RULES, **compared: Any) -> Any:
    return decide(seen, rules, 60, regression=False, compared=Compared(floor=0.01, **compared))


def test_scores_that_moved_without_another_label_stop_a_release_only_when_far_and_sure() -> None:
    pairs = [((0.95, 0.05), (0.55, 0.45))] * 400
    cells, seen = moved(BINARY, pairs)
    assert seen.disagreements == 0
    found = verdict(seen, cells=cells)
    assert found.decision == "rollback"
    assert "the answers' distribution is 0.400 away from the champion's" in found.reasons[0]
    drift = next(rule for rule in found.rules if rule.name == "prediction_drift")
    assert not drift.at_fault, "it may be what the version is for: it can be released again"
    assert verdict(moved(BINARY, pairs[:49])[1], cells=cells).decision == "continue"
    unsure = verdict(moved(BINARY, pairs[:60])[1], cells=cells)
    assert (unsure.decision, unsure.pending) == ("continue", ("prediction_drift",)), "the planned look holds it"
    assert [r.to_dict()["result"] for r in unsure.rules if r.name == "prediction_drift"] == ["over"]
    generous = replace(RULES, max_prediction_drift=None)
    told = verdict(seen, generous, cells=cells)
    assert (told.decision, [r.name for r in told.rules if r.warned]) == ("advance", ["prediction_drift"])


# Losses -----------------------------------------------------------------------------------------------


def paired(champion: float, challenger: float, rows: int, spread: float = 0.05) -> Paired:
    generator = np.random.default_rng(5)
    total = Paired()
    for _ in range(rows):
        total += Paired.of(champion + generator.normal() * spread, challenger + generator.normal() * spread)
    return total


def test_a_realised_loss_stops_a_release_and_an_expected_one_is_told() -> None:
    seen = Evidence(requests=60, rows=60)
    assert verdict(seen, realised=paired(0.1, 0.1, 300)).decision == "advance"
    assert verdict(seen, realised=paired(0.1, 0.3, 49)).decision == "advance", "too few labels say nothing"
    found = verdict(seen, realised=paired(0.1, 0.3, 300))
    assert found.decision == "rollback"
    assert "over 300 records by labels that came since the release began, allowed are 0.2" in found.reasons[0]
    told = verdict(replace(seen, expected=paired(0.1, 0.3, 300)))
    assert (told.decision, [r.name for r in told.rules if r.warned]) == ("advance", ["expected_loss"])
    strict = replace(RULES, max_expected_loss=0.2)
    assert verdict(replace(seen, expected=paired(0.1, 0.3, 300)), strict).decision == "rollback"
    assert [r.name for r in rules_of(seen, RULES, Compared(), regression=False)][-1] == "latency", "nothing to see yet"


def test_twice_nearly_nothing_is_nothing() -> None:
    found = increase(paired(0.0001, 0.0008, 200, 1e-5), 0.2, 0.01, ALPHA, 50)
    assert found is not None
    assert found.value < 0.1
    assert found.upper < 0.2


def test_peeking_at_labels_stops_hardly_any_good_challenger() -> None:
    """Equal versions, 150 times 400 labels, a look after every ten; at the bound itself a plain interval is fooled."""
    generator = np.random.default_rng(8)
    ours = plain = 0
    for _ in range(150):
        a, b = generator.exponential(0.1, 400), generator.exponential(0.12, 400)
        x = b - 1.2 * a
        total, stopped, fooled = Paired(), False, False
        for n in range(10, 401, 10):
            total += sum((Paired.of(*p) for p in zip(a[n - 10 : n], b[n - 10 : n], strict=True)), Paired())
            found = increase(total, 0.2, 0.01, ALPHA, 50)
            assert found is not None
            stopped = stopped or (n >= 50 and found.lower > 0.2)
            fooled = fooled or (n >= 50 and x[:n].mean() > 2.054 * x[:n].std(ddof=1) / n**0.5)
        ours, plain = ours + stopped, plain + fooled
    assert ours <= 150 * ALPHA + 3
    assert plain > 3 * max(ours, 1)


# In a release -----------------------------------------------------------------------------------------


class Dated(MemoryObjects):
    """A bucket whose objects have the times of a clock."""

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.clock, self.times = clock, dict[str, str]()

    def put(self, key: str, body: bytes, **more: Any) -> bool:
        self.times[key] = self.clock().isoformat()
        return super().put(key, body, **more)

    def list(self, prefix: str) -> Any:
        for info in super().list(prefix):
            yield replace(info, modified=self.times[info.key])


class Labelled:
    """A world whose requests get their labels: the truth is 'no', which is what the champion answers."""

    def __init__(self, **rules: Any) -> None:
        self.world = World(
            Release(steps=(0.5,), min_requests=20, min_seconds=60, max_seconds=3600, min_labels=20, **rules)
        )
        self.world.data = Dated(self.world.clock)
        self.world.first_champion()
        self.world.add_version("b")
        self.sent = 0

    def traffic(self, challenger: list[float], *, labels: bool = True, late: bool = False) -> Any:
        def act(step: str) -> None:
            first = self.sent
            self.world.capture(25, challenger=challenger)
            self.sent += 25
            ids = range(max(0, first - 25), first) if late else range(first, self.sent)
            if labels and len(ids):
                self.label(list(ids))

        return act

    def label(self, numbers: list[int], value: str = "no", name: str = "") -> None:
        rows = "".join(f"q{n}-0,{value}\n" for n in numbers)
        key = f"{label_prefix('iris')}{name or numbers[0]}.csv"
        self.world.data.put(key, b"inference_id,kind\n" + rows.encode())


def test_a_challenger_that_labels_show_to_be_worse_goes_back() -> None:
    labelled = Labelled()
    answers = list(labelled.world.walk(labelled.world.start("b"), labelled.traffic([0.7, 0.3], late=True)))
    assert answers[-1]["status"] == "rolled_back"
    assert "by labels that came since the release began" in answers[-1]["reasons"][0]
    assert any(a["status"] == "advance" for a in answers), "labels of the shadow count in the canary, when they come"
    version = labelled.world.registry.version("iris", "b")
    assert version is not None
    assert version.state == "rejected"
    entry = list(labelled.world.ledger.entries())[-1]
    told = {r["name"]: r["result"] for r in entry.inputs["evidence"][-1]["rules"]}
    assert told["realised_loss"] == "breach"
    assert entry.inputs["evidence"][-1]["labelled"] >= 20
    html = labelled.world.data.get("reports/release/iris/iris-b-r.html").decode()
    assert "loss, by labels" in html
    assert "breach" in html


def test_labels_that_agree_let_it_pass_and_are_counted_once() -> None:
    labelled = Labelled()
    walk = labelled.world.walk(labelled.world.start("b"), labelled.traffic([0.95, 0.05]))
    answers = list(walk)
    assert answers[-1]["status"] == "promoted"
    counts = [
        a["realised"]["rows"] for a in answers if a["status"] in ("continue", "advance") and a["realised"]["rows"]
    ]
    assert counts == sorted(counts)
    assert counts[-1] == labelled.sent


def test_a_corrected_label_replaces_the_first_and_strangers_do_not_count() -> None:
    labelled = Labelled()
    walk = labelled.world.walk(labelled.world.start("b"), labelled.traffic([0.9, 0.1], labels=False))
    for _ in range(2):
        next(walk)
    labelled.world.capture(10)
    labelled.label(list(range(0, 10)), name="1")
    labelled.label([900, 901], name="2")
    first = next(walk)["realised"]
    assert first["rows"] == 10
    labelled.world.clock.forward(seconds=1)
    labelled.label([0], "yes", name="3")
    assert next(walk)["status"] == "deployed"
    second = next(walk)["realised"]
    assert second["rows"] == 10
    assert second["champion"] == pytest.approx(first["champion"] - 0.01 + 0.81)


def test_labels_of_other_classes_than_the_models_are_no_evidence() -> None:
    """The contract's classes changed since both were trained: the position of a label means another class."""
    labelled = Labelled()
    contract = labelled.world.registry.contracts["iris"]
    target = replace(contract.target, classes=("yes", "no"))
    labelled.world.registry.put_contract(replace(contract, target=target))
    answers = list(labelled.world.walk(labelled.world.start("b"), labelled.traffic([0.85, 0.15])))
    assert answers[-1]["status"] == "promoted"
    assert {a["realised"]["rows"] for a in answers if "realised" in a} == {0}


def test_a_large_hold_out_set_is_sampled() -> None:
    generator = np.random.default_rng(6)
    scores = generator.dirichlet((1, 1), 50_000)
    actual = (generator.random(50_000) < scores[:, 1]).astype(int)
    assert json.loads(estimate_json(BINARY, table(50_000, generator), actual, scores, seed=1))["rows"] == 20_000


def test_expected_losses_of_both_are_told_in_a_release() -> None:
    labelled = Labelled()
    for version, body in (("a", '"none", "curves": []'), ("b", '"none", "curves": []')):
        text = '{"schema": "mlops.estimate.v1", "calibration": ' + body + "}"
        labelled.world.artifacts.put(version_prefix("iris", version) + ESTIMATE, text.encode())
    answers = list(labelled.world.walk(labelled.world.start("b"), labelled.traffic([0.7, 0.3], labels=False)))
    assert answers[-1]["status"] == "promoted", "an estimate alone does not stop a release"
    promoted = next(
        e for e in labelled.world.ledger.entries() if (e.action, e.subject) == ("version.promoted", "model/iris/b")
    )
    warnings = promoted.inputs["evidence"][-1]["warnings"]
    assert any("expected without labels" in text for text in warnings)


def test_drift_alone_archives_and_the_line_for_people_says_why() -> None:
    labelled = Labelled(max_prediction_drift=0.2)
    answers = list(labelled.world.walk(labelled.world.start("b"), labelled.traffic([0.51, 0.49], labels=False)))
    assert answers[-1]["status"] == "rolled_back"
    version = labelled.world.registry.version("iris", "b")
    assert version is not None
    assert version.state == "archived"
    last = next(a for a in reversed(answers) if a["status"] == "stopped")
    assert "records compared" in report.told(last)
    assert "away from the champion's" in report.told(last)
    assert report.told({}) == "waits for its turn"


# Replays ----------------------------------------------------------------------------------------------


def test_replayed_records_are_told_apart_from_traffic() -> None:
    world = World(Release(steps=(), min_requests=20, min_seconds=0, max_seconds=600, if_thin="replay"))
    world.first_champion()
    world.clock.forward(hours=1)
    world.capture(60)
    world.add_version("b")
    world.serving.replay = lambda batch: {
        "champion": {"us": 40, "error": None, "scores": [[0.9, 0.1]] * len(batch)},
        "challenger": {"us": 45, "error": None, "scores": [[0.8, 0.2]] * len(batch)},
    }
    answers = list(world.walk(world.start("b"), lambda step: world.capture(1)))
    assert answers[-1]["status"] == "promoted"
    promoted = next(e for e in world.ledger.entries() if (e.action, e.subject) == ("version.promoted", "model/iris/b"))
    (shadow,) = promoted.inputs["evidence"]
    live = shadow["requests"]
    assert 0 < live < 20, "the requests of callers alone"
    assert shadow["replayed_records"] > 0
    assert shadow["compared"] == live + shadow["replayed_records"]
    assert shadow["replayed"]
    for captured in world.data.list("captures/"):
        assert b"replay-" not in world.data.get(captured.key)


def test_the_page_tells_the_contracts_defaults() -> None:
    page = (Path(__file__).parents[3] / "docs" / "release.md").read_text()
    told = yaml.safe_load(page.split("```yaml\n", 1)[1].split("```", 1)[0])["release"]
    assert {**told, "steps": tuple(told["steps"])} == asdict(Release())


def test_a_release_goes_on_when_newer_code_is_deployed_in_the_middle() -> None:
    """The machine holds a state that earlier code wrote, without what is new."""
    world = World(Release(steps=(0.5,), min_requests=20, min_seconds=60, max_seconds=3600))
    world.first_champion()
    world.add_version("b")
    new = {"rules", "realised", "labels"}
    in_evidence = {"up", "down", "expected", "replayed_requests", "replayed_rows"}

    def act(action: str, state: dict[str, Any]) -> dict[str, Any]:
        if action in ("deploy_step", "check"):
            state = {name: value for name, value in state.items() if name not in new}
            kept = {name: value for name, value in state["evidence"].items() if name not in in_evidence}
            state["evidence"] = kept
        return run(world.releases, call(action, state))

    answers = list(world.walk(world.start("b"), lambda step: world.capture(12), act))
    assert answers[-1]["status"] == "promoted"


def test_the_contract_takes_null_for_no_limit() -> None:
    body = {"name": "m", "task": "regression", "target": {"name": "y"}, "features": [{"name": "x", "type": "number"}]}
    rules = Contract.from_dict({**body, "release": {"max_realised_loss": None}}).release
    assert rules.max_realised_loss is None
    assert rules.max_expected_loss is None
    assert timedelta(seconds=rules.max_seconds) == timedelta(days=1)
