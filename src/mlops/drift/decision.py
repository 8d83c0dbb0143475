"""From counts to a decision that people can trust.

A feature drifts when **both** hold: the difference is large (effect size, sampling noise taken out, at or above the
contract's threshold, or above what periods of the training data itself showed) and it cannot be chance (p-value below
the contract's significance after Benjamini and Hochberg's correction over all tests of the check). Large windows make
everything significant, small ones make everything look large; asking for both answers each.

Pairs of columns are judged by the same rule, by their correlation: that sees what no single column shows.

The model drifts when features with at least ``feature_share`` of the weight drift, by themselves or in a pair, or
its predictions do, or the labels of new data do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlops.contract import Drift
from mlops.drift import cells as cells_of
from mlops.drift import methods, thresholds
from mlops.drift import relations as relations_of
from mlops.drift.significance import change_of_rate, homogeneity
from mlops.drift.special import adjusted
from mlops.statistics.axis import Axis
from mlops.statistics.baseline import Baseline, BaselineError, Counts
from mlops.statistics.season import Slots
from mlops.statistics.tally import Tally

Status = Literal["insufficient", "ok", "drift"]

MISSING_RATE = "missing_rate"
CORRELATION = "correlation"
RELATION = "relation"
VANISHED = "vanished"
TYPE = "type"


@dataclass(frozen=True)
class Finding:
    """One comparison of one column.

    Attributes
    ----------
    feature, role : which column; role is ``feature``, ``prediction`` or ``target``; or which pair of columns, with
        the role ``relation``.
    method : of :data:`mlops.drift.methods.METHODS`, or ``missing_rate``, ``vanished``, ``type``, ``correlation``.
    value, noise, effect, threshold : see :class:`mlops.drift.methods.Measured`.
    p_value, q_value : before and after the correction for many tests.
    weight : the feature's share of the importance of all features, both features' for a pair, 0 for other roles.
    message : what was seen, in words.
    between : of a pair: the names of both columns.
    """

    feature: str
    role: str
    method: str
    value: float
    noise: float
    effect: float
    threshold: float
    p_value: float
    q_value: float
    drifted: bool
    weight: float
    message: str
    between: tuple[str, ...] = ()

    @property
    def severity(self) -> float:
        """How much it matters: how far above the threshold, weighted; predictions and labels count in full."""
        ratio = self.effect / self.threshold if self.threshold > 0 else 0.0
        return ratio * (self.weight if self.role in ("feature", RELATION) else 1.0)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features that it is about."""
        return self.between or ((self.feature,) if self.role == "feature" else ())

    def brief(self) -> dict[str, Any]:
        """The part that goes into events and answers."""
        return {
            "feature": self.feature,
            "role": self.role,
            "method": self.method,
            "value": round(self.value, 6),
            "threshold": round(self.threshold, 6),
            "p_value": self.p_value,
            "message": self.message,
        }


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check.

    Attributes
    ----------
    status : ``insufficient`` when there were too few rows to say anything.
    share : weight of the drifted features, 0 to 1.
    rows : rows compared.
    findings : every comparison, drifted and severe ones first.
    notes : what was not compared and why, and other things to know.
    explanation : the outcome in a sentence or two.
    """

    status: Status
    share: float
    rows: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    explanation: str

    @property
    def drifted(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.drifted)

    def first(self, count: int = 3) -> tuple[Finding, ...]:
        """The drifted columns that matter most, one finding each."""
        seen: dict[tuple[str, str], Finding] = {}
        for finding in self.drifted:
            seen.setdefault((finding.role, finding.feature), finding)
        return tuple(seen.values())[:count]

    def effects(self, count: int) -> dict[str, float]:
        """Column or pair -> its largest effect as a multiple of its threshold, those first that moved furthest."""
        found: dict[str, float] = {}
        for finding in self.findings:
            ratio = finding.effect / finding.threshold if finding.threshold > 0 else 0.0
            found[finding.feature] = max(found.get(finding.feature, 0.0), round(ratio, 4))
        return dict(sorted(found.items(), key=lambda item: -item[1])[:count])

    def to_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "share": self.share,
            "rows": self.rows,
            "explanation": self.explanation,
            "findings": [asdict(f) for f in self.findings],
            "notes": list(self.notes),
        }


def decide(baseline: Baseline, counts: Counts, policy: Drift, slots: Slots | None = None) -> Verdict:
    """Compare ``counts`` with what ``baseline`` was trained on.

    ``slots``: the hours, weekdays or months that the counted rows are of; the training rows of the same are taken
    where the baseline knows them (:func:`reference`).

    Raises
    ------
    BaselineError
        when the counts were taken on another baseline's bins.
    """
    if counts.reference != baseline.reference:
        raise BaselineError(f"counts on baseline {counts.reference} cannot be compared with {baseline.reference}")
    notes = _notes(baseline, counts, policy)
    baseline = reference(baseline, policy, slots, notes)
    least = max(2, policy.min_rows)
    if counts.rows < least or baseline.counts.rows < 2:
        short = f"{counts.rows} rows in the window, at least {least} are needed to say anything"
        if baseline.counts.rows < 2:
            short = "the baseline has fewer than two rows, so nothing can be compared with it"
        return Verdict("insufficient", 0.0, counts.rows, (), tuple(notes), short[0].upper() + short[1:] + ".")

    weights = _weights(baseline, counts)
    drafts: list[Finding] = []
    unrest = baseline.unrest
    for i, (axis, old, new) in enumerate(zip(baseline.axes, baseline.counts.tallies, counts.tallies, strict=True)):
        pair = _Pair(
            axis,
            old,
            new,
            weights.get((axis.role, axis.name), 0.0),
            threshold=thresholds.of_values(axis, old, new, policy, unrest.columns[i] if unrest else 0.0),
            missing_threshold=thresholds.of_missing(old, policy, unrest.missing[i] if unrest else 0.0),
        )
        drafts += _compare(pair, counts, policy, notes)
    # A column that is gone is seen, not tested; it takes no part in the correction for many tests.
    tested = [f for f in drafts if f.method not in (VANISHED, TYPE)]
    corrected = iter(adjusted([f.p_value for f in tested]))
    findings = [f if f.method in (VANISHED, TYPE) else _conclude(f, next(corrected), policy) for f in drafts]
    findings += _relations(baseline, counts, policy, weights, {n for f in findings if f.drifted for n in f.features})
    findings.sort(key=lambda f: (not f.drifted, -f.severity, f.role, f.feature))

    # math.fsum: a set has no order, and the last digit must not depend on one, nor on Python's version.
    moved = {n for f in findings if f.drifted for n in f.features}
    share = min(1.0, math.fsum(weights.get(("feature", n), 0.0) for n in moved))
    whole = [f for f in findings if f.drifted and f.role in ("prediction", "target")]
    drifted = bool(whole) or (share > 0 and share >= policy.feature_share)
    explanation = (
        _explain(findings, share, counts.rows, policy) if drifted else _calm(findings, share, counts.rows, policy)
    )
    return Verdict("drift" if drifted else "ok", share, counts.rows, tuple(findings), tuple(notes), explanation)


def reference(baseline: Baseline, policy: Drift, slots: Slots | None, notes: list[str] | None = None) -> Baseline:
    """The baseline with the counts of the given slots alone, where that makes a difference and leaves rows enough;
    what was done is added to ``notes``."""
    if baseline.season is None or slots is None or slots.whole:
        return baseline
    chosen = baseline.during(slots)
    known = slots.positions <= baseline.season.slots.keys()
    if not known or chosen.counts.rows < max(2, policy.min_rows):
        if notes is not None:
            notes.append(f"Training has too few rows of the same {slots.unit}s ({slots}) to compare with them alone.")
        return baseline
    if notes is not None:
        notes.append(f"Compared with the {chosen.counts.rows} training rows of the same {slots.unit}s: {slots}.")
    return chosen


def confirmed(current: bool, earlier: Sequence[bool], *, needed: int, windows: int) -> bool:
    """Whether drift counts: in at least ``needed`` of the last ``windows`` checks, this one included, and in this
    one. ``earlier``: newest first, checks with too few rows left out."""
    recent = [current, *earlier[: max(0, windows - 1)]]
    return current and sum(recent) >= max(1, needed)


@dataclass(frozen=True)
class _Pair:
    """One column then and now."""

    axis: Axis
    old: Tally
    new: Tally
    weight: float
    threshold: float
    missing_threshold: float

    def finding(self, measured: methods.Measured, p_value: float, text: str, *, certain: bool = False) -> Finding:
        return Finding(
            feature=self.axis.name,
            role=self.axis.role,
            method=measured.method,
            value=measured.value,
            noise=measured.noise,
            effect=measured.effect,
            threshold=measured.threshold,
            p_value=p_value,
            q_value=p_value,
            drifted=certain,
            weight=self.weight,
            message=text,
        )


def _compare(pair: _Pair, counts: Counts, policy: Drift, notes: list[str]) -> list[Finding]:
    """All findings about one column; what could not be compared goes to ``notes``."""
    axis, new = pair.axis, pair.new
    if new.absent == counts.rows:
        if axis.role != "feature" or axis.kind == "private":
            return []  # no labels in traffic; personal data is not captured
        mistyped = axis.name in counts.mistyped
        text = f"{axis.name} is no longer {'of type ' + axis.type if mistyped else 'there'}"
        gone = methods.Measured(TYPE if mistyped else VANISHED, 1.0, 0.0, 1.0, 1.0)
        return [pair.finding(gone, 0.0, text, certain=True)]
    return _missing_values(pair) + _values(pair, policy, notes)


def _missing_values(pair: _Pair) -> list[Finding]:
    old, new = pair.old, pair.new
    if not (old.known and new.known and (old.missing or new.missing)):
        return []
    now, was = new.missing / new.known, old.missing / old.known
    text = f"{_called(pair.axis)} is missing in {_percent(now)} of rows, was {_percent(was)}"
    measured = methods.Measured(MISSING_RATE, now - was, 0.0, abs(now - was), pair.missing_threshold)
    return [pair.finding(measured, change_of_rate(old.missing, old.known, new.missing, new.known), text)]


def _values(pair: _Pair, policy: Drift, notes: list[str]) -> list[Finding]:
    axis, old, new, name = pair.axis, pair.old, pair.new, _called(pair.axis)
    if axis.kind == "private":
        return []
    if not old.present or new.present < 2:
        if not old.present and new.present:
            notes.append(f"{name} has values now and had none in training: there is no distribution to compare with.")
        elif old.present:
            notes.append(f"{name} has {new.present} values in this window: its distribution was not compared.")
        return []
    wanted = policy.methods.get(axis.name)
    compared = cells_of.compared(axis, old, new, apart=wanted == methods.NEW_SHARE)
    measured = methods.measure(compared, threshold=pair.threshold, method=wanted if wanted in methods.METHODS else None)
    return [pair.finding(measured, homogeneity(compared), _describe(axis, old, new))]


def _relations(
    baseline: Baseline, counts: Counts, policy: Drift, weights: Mapping[tuple[str, str], float], moved: set[str]
) -> list[Finding]:
    """Findings about pairs, a family of tests of their own. A pair of which a column ``moved`` by itself is left
    out: its correlation may follow from that, and the column is named already."""
    relations, old, new = baseline.relations, baseline.counts.pairs, counts.pairs
    if relations is None or old is None or new is None:
        return []
    normal = dict(zip(relations.pairs, baseline.unrest.pairs, strict=True)) if baseline.unrest else {}
    drafts = []
    for change in relations_of.compare(relations, old, new):
        names = [baseline.axes[relations.scores[i].axis].name for i in change.pair]
        if moved.intersection(names):
            continue
        title = " with ".join(relations_of.label(relations, baseline.axes, i) for i in change.pair)
        drafts.append(
            Finding(
                feature=title,
                role=RELATION,
                method=CORRELATION,
                value=change.value,
                noise=change.noise,
                effect=change.effect,
                threshold=thresholds.of_relation(policy, normal.get(change.pair, 0.0)),
                p_value=change.p_value,
                q_value=change.p_value,
                drifted=False,
                weight=min(1.0, math.fsum(weights.get(("feature", n), 0.0) for n in names)),
                message=f"{title}: correlation {change.now:.2f}, was {change.was:.2f}",
                between=tuple(names),
            )
        )
    return [_conclude(f, q, policy) for f, q in zip(drafts, adjusted([f.p_value for f in drafts]), strict=True)]


def _conclude(draft: Finding, q_value: float, policy: Drift) -> Finding:
    drifted = draft.effect >= draft.threshold and q_value <= policy.significance
    return Finding(**{**asdict(draft), "q_value": q_value, "drifted": drifted})


def _weights(baseline: Baseline, counts: Counts) -> dict[tuple[str, str], float]:
    """Share of each column in the weight of all features that could be compared; other roles weigh nothing here."""
    comparable = [
        axis.name
        for axis, _, new in zip(baseline.axes, baseline.counts.tallies, counts.tallies, strict=True)
        if axis.role == "feature" and not (axis.kind == "private" and new.absent == counts.rows)
    ]
    raw = {name: max(0.0, float(baseline.importance.get(name, 0.0))) for name in comparable}
    total = math.fsum(raw.values())
    if total <= 0:
        raw, total = dict.fromkeys(comparable, 1.0), float(len(comparable))
    weights: dict[tuple[str, str], float] = {(a.role, a.name): 0.0 for a in baseline.axes}
    weights.update({("feature", name): value / total for name, value in raw.items()})
    return weights


def _notes(baseline: Baseline, counts: Counts, policy: Drift) -> list[str]:
    notes = []
    if counts.unknown:
        notes.append(f"New columns that the model does not know: {', '.join(counts.unknown)}.")
    if baseline.relations is None:
        notes.append("The baseline keeps no pairs of columns, so correlations were not compared; a new training does.")
    unrest = baseline.unrest
    if unrest:
        raised = [a.name for a, v in zip(baseline.axes, unrest.columns, strict=True) if v > policy.threshold]
        if raised:
            notes.append(
                f"Thresholds are higher where training itself changes as much within {unrest.days:.3g} days: "
                f"{', '.join(raised)}."
            )
    for axis, tally in zip(baseline.axes, counts.tallies, strict=True):
        if axis.role == "feature" and 0 < tally.absent < counts.rows:
            why = "of another type, or not there," if axis.name in counts.mistyped else "not there"
            notes.append(f"{axis.name} was {why} in {tally.absent} of {counts.rows} rows; the others were compared.")
    private = [a.name for a in baseline.axes if a.kind == "private"]
    if private:
        notes.append(f"Values not compared because they are personal data: {', '.join(private)}.")
    odd = sorted(set(policy.methods.values()) - set(methods.METHODS))
    if odd:
        notes.append(f"Unknown methods in the contract, the default is used: {', '.join(odd)}.")
    unnamed = sorted(set(policy.methods) - {a.name for a in baseline.axes})
    if unnamed:
        notes.append(f"The contract names a method for columns that are not there: {', '.join(unnamed)}.")
    return notes


def _part(findings: Sequence[Finding], share: float) -> tuple[list[str], str]:
    features = list(dict.fromkeys(f.feature for f in findings if f.drifted and f.role == "feature"))
    total = len({f.feature for f in findings if f.role == "feature"})
    pairs = [f.feature for f in findings if f.drifted and f.role == RELATION]
    text = f"{len(features)} of {total} features"
    if pairs:
        text += f" and {len(pairs)} correlation{'s' if len(pairs) > 1 else ''}"
    return [*features, *pairs], f"{text} ({_percent(share)} of the weight) differ from training"


def _explain(findings: Sequence[Finding], share: float, rows: int, policy: Drift) -> str:
    features, part = _part(findings, share)
    roles = {f.role for f in findings if f.drifted}
    reasons = [f"{part}, first {', '.join(features[:3])}"] if features and share >= policy.feature_share else []
    if "prediction" in roles:
        reasons.append("the model's predictions differ from training")
    if "target" in roles:
        reasons.append("the labels differ from training")
    return f"Drift over {rows} rows: {'; '.join(reasons)}."


def _calm(findings: Sequence[Finding], share: float, rows: int, policy: Drift) -> str:
    features, part = _part(findings, share)
    if features:
        return f"{part}: {', '.join(features[:3])}. That is below {_percent(policy.feature_share)}, so no drift."
    return f"No column differs from training by as much as the contract's threshold, over {rows} rows."


def _describe(axis: Axis, old: Tally, new: Tally) -> str:
    name = _called(axis)
    if axis.kind == "category":
        before = [c / old.present for c in (*old.counts, old.other)]
        after = [c / new.present for c in (*new.counts, new.other)]
        index = max(range(len(before)), key=lambda i: abs(after[i] - before[i]))
        level = axis.levels[index] if index < len(axis.levels) else "a level that training did not have"
        return f"{name}: {level} in {_percent(after[index])} of rows, was {_percent(before[index])}"
    was, now, spread = old.mean(axis), new.mean(axis), old.deviation(axis)
    if was is None or now is None:
        return f"{name}: no finite values to average"
    outside = (new.below + new.above) / new.present
    text = f"{name}: mean {cells_of.write(axis, now)}, was {cells_of.write(axis, was)}"
    if spread:
        text += f" ({(now - was) / spread:+.2g} standard deviations)"
    if outside >= 0.01:
        text += f"; {_percent(outside)} of values outside the range of training"
    return text


def _called(axis: Axis) -> str:
    return f"label {axis.name}" if axis.role == "target" else axis.name


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"
