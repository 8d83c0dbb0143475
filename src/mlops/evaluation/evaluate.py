"""One candidate judged: parity first, then metrics, gates, and the champion on the same rows."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops.contract import Contract
from mlops.evaluation import answering, fairness, gates, parity
from mlops.evaluation.compare import Interval, metric_intervals
from mlops.evaluation.gates import Check, Status
from mlops.evaluation.metrics import Metric, Task, compute_all, metric_for
from mlops.evaluation.recent import TRAINED_ON, learned
from mlops.evaluation.records import decode
from mlops.evaluation.robustness import Finding, probe
from mlops.evaluation.scoring import ModelRefusedError, OnnxScorer
from mlops.evaluation.slices import Slice, slices
from mlops.features.columns import Columns
from mlops.features.encoding import Matrix, encode, width
from mlops.manifest import Manifest
from mlops.objects import ESTIMATE
from mlops.quality.portable import estimate_json

FloatArray = npt.NDArray[np.float64]

SEED = 20_260
LATENCY_CALLS = 200
#: Recent labelled predictions without which they say nothing.
FEWEST_RECENT = 50
ON_RECENT = "no_worse_on_recent_traffic"


@dataclass(frozen=True)
class Bundle:
    """The files of a version's folder that an evaluation needs; of a champion model, manifest and rows."""

    manifest: Manifest
    model: bytes = field(repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Judged:
    """The hold-out rows and both models' answers to them, for plots."""

    task: Task
    actual: npt.NDArray[Any]
    scores: FloatArray
    champion: FloatArray | None = None


@dataclass(frozen=True)
class Evaluation:
    """The result: ``status`` with ``reasons``, every check, metrics of the ONNX model on the hold-out rows.

    ``files`` are those that come with the result: ``manifest.json`` with the ONNX model's metrics, ``golden.json``
    with its own answers, and what its loss is estimated by before labels come.
    """

    model: str
    version: str
    status: Status
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    metric: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    interval: Interval | None = None
    champion: str | None = None
    champion_metrics: Mapping[str, float] = field(default_factory=dict)
    gain: Interval | None = None
    notes: tuple[str, ...] = ()
    parity: parity.ParityResult | None = None
    robustness: tuple[Finding, ...] = ()
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    slices: tuple[Slice, ...] = ()
    fairness: tuple[fairness.Finding, ...] = ()
    rows: int = 0
    judged: Judged | None = field(default=None, repr=False, compare=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """``evaluation.json``."""
        return {
            "schema": "mlops.evaluation.v1",
            "model": self.model,
            "version": self.version,
            "status": self.status,
            "reasons": list(self.reasons),
            "checks": [c.to_dict() for c in self.checks],
            "metric": self.metric,
            "metrics": dict(self.metrics),
            "interval": asdict(self.interval) if self.interval else None,
            "champion": self.champion,
            "champion_metrics": dict(self.champion_metrics),
            "gain": asdict(self.gain) if self.gain else None,
            "notes": list(self.notes),
            "parity": _parity_dict(self.parity) if self.parity else None,
            "robustness": [asdict(f) for f in self.robustness],
            "intervals": {n: asdict(i) for n, i in self.intervals.items()},
            "slices": [asdict(s) for s in self.slices],
            "fairness": [f.to_dict() for f in self.fairness],
            "rows": self.rows,
        }


def evaluate(
    contract: Contract,
    candidate: Bundle,
    champion: Bundle | None = None,
    *,
    recent: Callable[[], Columns] | None = None,
    seconds: Callable[[], float] = time.perf_counter,
) -> Evaluation:
    """Judge a candidate. A model that cannot be judged is rejected with the reason, not an exception.

    ``recent`` gives live predictions whose truth is known by now, as :class:`mlops.evaluation.recent.RecentLabels`
    does; candidate and champion are compared on those that neither was trained on.
    """
    try:
        return _Evaluator(contract, candidate, champion, recent, seconds).run()
    except ModelRefusedError as error:
        check = Check("loads", False, None, None, error.message)
        return Evaluation(
            contract.name,
            candidate.manifest.version,
            "rejected",
            (error.message,),
            (check,),
            contract.metric,
            champion=champion.manifest.version if champion else None,
        )


def task_of(manifest: Manifest, contract: Contract) -> Task:
    """What metrics must know of a version's task; costs are those of the contract in force."""
    if manifest.task == "regression":
        return Task(interval=manifest.interval)
    positive = manifest.classes.index(manifest.positive) if manifest.positive in manifest.classes else 1
    rule = contract.decision
    costs = None
    if rule.false_positive is not None and rule.false_negative is not None:
        costs = (rule.false_positive, rule.false_negative)
    return Task(len(manifest.classes), positive, manifest.threshold, costs)


class _Evaluator:
    def __init__(
        self,
        contract: Contract,
        candidate: Bundle,
        champion: Bundle | None,
        recent: Callable[[], Columns] | None,
        seconds: Callable[[], float],
    ) -> None:
        self._contract, self._candidate, self._champion, self._seconds = contract, candidate, champion, seconds
        self._recent = recent
        self._manifest = candidate.manifest
        self._check_manifest()
        self._task = task_of(self._manifest, contract)
        self._metric: Metric = metric_for(contract.metric, contract.task)
        self._scorer = OnnxScorer(candidate.model, width(self._manifest.features), self._task.classes)

    def _check_manifest(self) -> None:
        contract, manifest = self._contract, self._manifest
        if manifest.task != contract.task:
            raise ModelRefusedError(f"the model's task is {manifest.task}; the contract's is {contract.task}")
        if contract.task == "classification" and manifest.classes != contract.target.classes:
            raise ModelRefusedError(
                f"the model's classes {list(manifest.classes)} are not the contract's {list(contract.target.classes)}"
            )
        features = tuple(replace(f, pooled=()) for f in manifest.features)  # what is rare, a version learns by itself
        if features != contract.features:
            known = {f.name: f for f in contract.features}
            other = [f.name for f in features if known.get(f.name) != f]
            other += [f.name for f in contract.features if f.name not in {g.name for g in features}]
            detail = f"'{other[0]}'" if other else "their order"
            raise ModelRefusedError(f"the model's features are not the contract's; they differ in {detail}")
        digest = hashlib.sha256(self._candidate.model).hexdigest()
        if manifest.onnx_sha256 != digest:
            raise ModelRefusedError("model.onnx is not the file that manifest.json names (SHA-256 differs)")

    def run(self) -> Evaluation:
        contract, task, metric = self._contract, self._task, self._metric
        inputs, expected = parity.load(self._file("parity.npz"))
        agreed = parity.check(self._scorer, inputs, expected, task, contract.gates.parity_tolerance)
        checks = [gates.parity_check(agreed), gates.size_check(contract, len(self._candidate.model))]
        table, actual = self._holdout()
        matrix = encode(self._manifest.features, table)
        scores = self._scorer(matrix)
        given = answering.Given.load(self._file("parity.npz"))
        rows, edges = (matrix, scores), (inputs, self._scorer(inputs))
        tolerance = contract.gates.parity_tolerance
        valid, *others = answering.answer_checks(self._scorer, rows, edges, task, tolerance, given, contract)
        checks += [valid, *others]
        if not valid.passed:
            return self._finish(checks, agreed, Judged(task, actual, np.nan_to_num(scores)), {}, rows=len(actual))
        metrics = compute_all(actual, scores, task)
        if task.classes:
            checks.append(answering.order_check(self._candidate.model, actual, scores, task, contract, SEED))
        checks += gates.bound_checks(contract, metrics)
        checks.append(self._trivial(actual, scores))
        findings = tuple(probe(self._scorer, self._manifest.features, matrix, task, SEED))
        checks.append(gates.robustness_check(findings))
        checks += gates.change_checks(contract, findings, task)
        checks += gates.coverage_check(actual, scores, task)
        judged = fairness.judge(contract, table, actual, scores, task)
        checks += [fairness.fairness_check(found) for found in judged]
        checks.append(gates.latency_check(contract, self._latency(matrix)))
        result = self._finish(checks, agreed, Judged(task, actual, scores), metrics, rows=len(actual))
        result = replace(
            result,
            robustness=findings,
            interval=gates.confidence_of(actual, scores, metric, task, SEED),
            intervals=metric_intervals(actual, scores, task, list(metrics), seed=SEED),
            slices=tuple(slices(contract, table, actual, scores, task, seed=SEED)),
            fairness=tuple(judged),
            files={**result.files, ESTIMATE: estimate_json(self._manifest, table, actual, scores, seed=SEED)},
        )
        return self._against_champion(result, table, actual, scores)

    def _file(self, name: str) -> bytes:
        body = self._candidate.files.get(name)
        if body is None:
            raise ModelRefusedError(f"the version's folder lacks {name}, without which it cannot be judged")
        return body

    def _holdout(self) -> tuple[Columns, npt.NDArray[Any]]:
        table, actual = self._rows(self._file("holdout.npz"))
        types = {column.name: column.type for column in table.columns}
        for attribute in self._contract.attributes:
            if types.get(attribute.name) != attribute.type:
                raise ModelRefusedError(
                    f"holdout.npz lacks attribute '{attribute.name}' of type {attribute.type}, which the contract "
                    "judges by; a version trained since the contract has it can be judged"
                )
        return table, actual

    def _rows(self, body: bytes) -> tuple[Columns, npt.NDArray[Any]]:
        try:
            table = Columns.load(body)
        except parity.UNREADABLE as error:
            raise ModelRefusedError("holdout.npz is not readable") from error
        return self._usable(table, "holdout.npz")

    def _usable(self, table: Columns, name: str) -> tuple[Columns, npt.NDArray[Any]]:
        """The rows that have a target, and their targets; ``name``: what a refusal calls them."""
        names = [f.name for f in self._manifest.features] + [self._manifest.target]
        absent = [n for n in names if n not in table]
        if absent:
            raise ModelRefusedError(f"{name} lacks column '{absent[0]}'")
        column = table[self._manifest.target]
        if self._task.classes:
            actual = column.recode(self._manifest.classes).astype(np.int64)
            usable = (actual >= 0) & (actual < self._task.classes)
        else:
            actual = column.values.astype(np.float64)
            usable = np.isfinite(actual)
        if int(usable.sum()) < 2:
            raise ModelRefusedError(f"{name} has fewer than two rows with a target")
        return table.take(usable), actual[usable]

    def _trivial(self, actual: npt.NDArray[Any], scores: FloatArray) -> Check:
        trivial = self._manifest.lineage.get("trivial")
        if trivial is None:  # an imported model: the hold-out rows' own shares, which is stricter
            counts = np.bincount(actual, minlength=self._task.classes) if self._task.classes else None
            trivial = float(np.mean(actual)) if counts is None else (counts / len(actual)).tolist()
        return gates.trivial_check(actual, scores, trivial, self._metric, self._task, seed=SEED)

    def _latency(self, matrix: Matrix) -> float:
        """Median microseconds of one row."""
        times = []
        for i in range(LATENCY_CALLS):
            row = matrix[i % len(matrix)][np.newaxis, :]
            started = self._seconds()
            self._scorer(row)
            times.append(self._seconds() - started)
        return float(np.median(times)) * 1e6

    def _against_champion(
        self, result: Evaluation, table: Columns, actual: npt.NDArray[Any], scores: FloatArray
    ) -> Evaluation:
        champion = self._champion
        if champion is None:
            return replace(result, notes=("there is no champion to compare with",))
        result = replace(result, champion=champion.manifest.version)
        if champion.manifest.version == result.version:
            return replace(result, notes=("this version is the champion itself",))
        try:
            answers = self._champion_scores(champion, table)
        except ModelRefusedError as error:
            note = f"not compared with champion {champion.manifest.version}: {error.message}"
            check = Check("no_worse_than_champion", True, None, None, note, effect="report")
            return replace(result, checks=(*result.checks, check), notes=(note,))
        margin = self._contract.gates.margin
        check, gain = gates.champion_check(
            actual,
            scores,
            answers,
            self._metric,
            self._task,
            margin=margin,
            seed=SEED,
            champion_task=task_of(champion.manifest, self._contract),
        )
        checks = (*result.checks, check, *self._on_champion_rows(champion, margin), *self._on_recent(champion, margin))
        status, reasons = gates.decide(self._contract, checks)
        return replace(
            result,
            checks=checks,
            status=status,
            reasons=tuple(reasons),
            champion_metrics=compute_all(actual, answers, task_of(champion.manifest, self._contract)),
            gain=gain,
            notes=(
                "rows are held out by a hash of their content, so the champion was not trained on them either, "
                "except for rows near the cut of a stratified split and for a split by time",
            ),
            judged=Judged(self._task, actual, scores, answers),
        )

    def _on_champion_rows(self, champion: Bundle, margin: float) -> list[Check]:
        """Both models on the rows that the champion was judged on."""
        body = champion.files.get("holdout.npz")
        if body is None:
            return []
        try:
            table, actual = self._rows(body)
            mine = self._scorer(encode(self._manifest.features, table))
            its = self._champion_scores(champion, table)
        except ModelRefusedError:  # the contract has changed: those rows lack something
            return []
        check, _ = gates.champion_check(
            actual,
            mine,
            its,
            self._metric,
            self._task,
            margin=margin,
            seed=SEED,
            champion_task=task_of(champion.manifest, self._contract),
            name="no_worse_on_champion_rows",
            where=f" on the {len(actual)} rows that the champion was judged on",
            effect="ask",
        )
        return [check]

    def _on_recent(self, champion: Bundle, margin: float) -> list[Check]:
        """Both models on live predictions whose truth is known and that neither was trained on."""
        if self._recent is None:
            return []
        try:
            table = self._recent()
        except ModelRefusedError as error:
            return [_not_on_recent(error.message)]
        known = table.rows
        if known < FEWEST_RECENT:
            return [_not_on_recent(f"{known} have a known truth, and {FEWEST_RECENT} are needed")]
        versions = (self._candidate, champion)
        try:
            _check_types(table, versions)
            table, actual = self._usable(table, "what is known of them")
            its = self._champion_scores(champion, table)
            seen = [learned(v.manifest, v.files, table) for v in versions]
        except ModelRefusedError as error:
            return [_not_on_recent(error.message)]
        new = ~(seen[0] | seen[1])
        count = int(new.sum())
        if count < FEWEST_RECENT:
            return [
                _not_on_recent(
                    f"{known} have a known truth, and {count} of them are new to both versions, which were trained on "
                    f"the others; {FEWEST_RECENT} are needed"
                )
            ]
        table, actual, its = table.take(new), actual[new], its[new]
        days = table.columns[-1].values
        notes = [f"captured {_day(days.min())} to {_day(days.max())}"]
        notes += [f"{len(new) - count} that a version was trained on left out"] if count < len(new) else []
        untold = [v.manifest.version for v in versions if TRAINED_ON not in v.files]
        notes += [f"what {version} was trained on is not known" for version in untold]
        check, _ = gates.champion_check(
            actual,
            self._scorer(encode(self._manifest.features, table)),
            its,
            self._metric,
            self._task,
            margin=margin,
            seed=SEED,
            champion_task=task_of(champion.manifest, self._contract),
            name=ON_RECENT,
            where=f" on {count} recent predictions whose truth is known ({', '.join(notes)})",
        )
        return [check]

    def _champion_scores(self, champion: Bundle, table: Columns) -> FloatArray:
        manifest = champion.manifest
        if manifest.task != self._manifest.task or manifest.classes != self._manifest.classes:
            raise ModelRefusedError("it predicts another target (task or classes differ)")
        absent = [f.name for f in manifest.features if f.name not in table]
        if absent:
            raise ModelRefusedError(f"it needs feature '{absent[0]}', which the contract no longer has")
        answers = OnnxScorer(champion.model, width(manifest.features), self._task.classes)(
            encode(manifest.features, table)
        )
        if not np.isfinite(answers).all():
            raise ModelRefusedError("it answers these rows with numbers that are not finite")
        return answers

    def _finish(
        self,
        checks: list[Check],
        agreed: parity.ParityResult,
        judged: Judged,
        metrics: Mapping[str, float],
        *,
        rows: int,
    ) -> Evaluation:
        status, reasons = gates.decide(self._contract, checks)
        manifest = replace(self._manifest, metrics=dict(metrics))
        files = {"manifest.json": json.dumps(manifest.to_dict(), ensure_ascii=False, indent=1).encode()}
        golden = self._candidate.files.get("golden.json")
        if golden is not None:
            files["golden.json"] = self._golden(golden)
        return Evaluation(
            self._contract.name,
            self._manifest.version,
            status,
            tuple(reasons),
            tuple(checks),
            self._metric.name,
            metrics=dict(metrics),
            parity=agreed,
            rows=rows,
            judged=judged,
            files=files,
        )

    def _golden(self, body: bytes) -> bytes:
        """The golden records with the ONNX model's own answers."""
        records = json.loads(body)["records"]
        scores = self._scorer(encode(self._manifest.features, decode(self._manifest.features, records)))
        if not np.isfinite(scores).all():
            raise ModelRefusedError("the model answers a golden record with a number that is not finite")
        return json.dumps(
            {"records": records, "expected": scores.tolist()}, ensure_ascii=False, sort_keys=True, indent=1
        ).encode()


def _check_types(table: Columns, versions: Sequence[Bundle]) -> None:
    """Rows that were kept under an earlier contract may hold a column in another type."""
    types = {column.name: column.type for column in table.columns}
    for manifest in (version.manifest for version in versions):
        target = (manifest.target, "category" if manifest.classes else "number")
        for name, type_ in [(f.name, f.type) for f in manifest.features] + [target]:
            if types.get(name, type_) != type_:
                raise ModelRefusedError(f"column '{name}' of what is known is a {types[name]}, not a {type_}")


def _not_on_recent(reason: str) -> Check:
    return Check(ON_RECENT, True, None, None, f"not compared on recent predictions: {reason}", effect="report")


def _day(days: float) -> str:
    return str(np.datetime64(int(days), "D"))


def _parity_dict(result: parity.ParityResult) -> dict[str, Any]:
    values = asdict(result)
    values["largest"] = result.largest if np.isfinite(result.largest) else None
    values["differing"] = list(result.differing)
    return values
