"""Why a model answered as it did: explanations as both protocols send them.

What each feature added to the score of a record is computed by :mod:`mlops.inference.explainer`; here are the limits,
the choice of what is explained, and the forms of the answer. Loaded when an explanation is first asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlops.inference.answers import answered_rows, records_answer
from mlops.inference.errors import ApiError
from mlops.inference.explainer import Explainer, NotExplainableError
from mlops.manifest import Manifest

if TYPE_CHECKING:
    from mlops.inference.application import Application, Exchange, Response
    from mlops.inference.models import Model
    from mlops.inference.scoring import Outcome

#: Records in one request that asks for explanations.
MAX_EXPLAINED = 100
#: Steps of :attr:`Explainer.work` in one request: about a second of a whole core.
MAX_WORK = 150_000_000


def explainer(model: Model) -> Explainer:
    """The explainer of a version, made when it is first asked for.

    Raises
    ------
    ApiError
        ``not_explainable``.
    """
    if model.explainer is None:
        try:
            with open(os.path.join(model.folder, "model.onnx"), "rb") as stream:
                model.explainer = Explainer(model.manifest, stream.read())
        except NotExplainableError as error:
            model.explainer = error
    if isinstance(model.explainer, NotExplainableError):
        raise _refusal(model, model.explainer)
    made: Explainer = model.explainer
    return made


def _refusal(model: Model, error: NotExplainableError) -> ApiError:
    text = f"version {model.version} of the model '{model.manifest.model}' cannot be explained: {error}"
    return ApiError("not_explainable", text)


class Explanation:
    """Of one record: ``score`` is ``base`` and the sum of ``contributions``, one for each of ``features``.

    ``of``: the class whose score it is; ``None`` for a value.
    """

    __slots__ = ("base", "contributions", "features", "of", "score", "source")

    def __init__(
        self, source: Explainer, features: tuple[str, ...], of: str | None, base: float, contributions: list[float]
    ) -> None:
        self.source = source
        self.features = features
        self.of = of
        self.base = base
        self.contributions = contributions
        self.score = base + sum(contributions)

    def as_record(self) -> dict[str, Any]:
        """What ``POST /predict`` answers beside a prediction."""
        answer: dict[str, Any] = {} if self.of is None else {"of": self.of}
        answer |= {"space": self.source.space, "base": self.base, "score": self.score}
        if self.source.is_calibrated:
            answer["calibrated"] = True
        answer["contributions"] = dict(zip(self.features, self.contributions, strict=True))
        return answer


def check_size(rows: int) -> None:
    """Refuse more records than one request may have explained, before they are scored.

    Raises
    ------
    ApiError
        ``batch_too_large``.
    """
    if rows > MAX_EXPLAINED:
        text = f"{rows} records are more than the {MAX_EXPLAINED} of one request with explanations"
        raise ApiError("batch_too_large", text)


def explanations(outcome: Outcome) -> list[Explanation | None]:
    """For every scored record: an explanation by the version that answered it; ``None`` where none did.

    Of two classes the contract's positive one is explained (the second where there is none), of more the one that is
    answered.

    Raises
    ------
    ApiError
        ``not_explainable``, or ``batch_too_large`` for trees so large that so many records would take too long.
    """
    answered = answered_rows(outcome)
    result: list[Explanation | None] = [None] * len(answered)
    for model in {id(m): m for m, row in answered if row is not None}.values():
        at = [i for i, (m, row) in enumerate(answered) if m is model and row is not None]
        source = explainer(model)
        if source.work * len(at) > MAX_WORK:
            most = max(1, MAX_WORK // source.work)
            text = f"'{outcome.entry.name}' is so large that one request may have {most} records explained"
            raise ApiError("batch_too_large", text)
        matrix = outcome.batch.matrix if model is outcome.lead else outcome.matrix_for(model)
        if matrix is None:  # cannot be, for a version that answered
            continue
        rows: list[Any] = [answered[i][1] for i in at]
        try:
            added = source.explain(matrix[at], rows)
        except NotExplainableError as error:
            raise _refusal(model, error) from None
        for i, row, each in zip(at, rows, added, strict=True):
            result[i] = _explanation(model.manifest, source, row, each)
    return result


def _explanation(
    manifest: Manifest, source: Explainer, row: Sequence[float], added: npt.NDArray[np.float64]
) -> Explanation:
    index, of = 0, None
    if manifest.task == "classification":
        classes = manifest.classes
        if len(classes) == 2:
            index = 1 if manifest.positive is None else classes.index(manifest.positive)
        else:
            index = max(range(len(row)), key=row.__getitem__)
        of = classes[index]
    score, sign = source.score_of(index)
    base = float(source.base[score])
    if sign < 0:
        base = 1 - base if source.space == "probability" else -base
    features = tuple(f.name for f in manifest.features)
    return Explanation(source, features, of, base, (sign * added[:, score]).tolist())


def explained_answer(
    application: Application,
    exchange: Exchange,
    name: str,
    records: list[Any],
    body: bytes | str,
    *,
    partial: bool,
    interval: bool,
) -> Response:
    """``POST /predict`` with ``"explain": true``.

    Raises
    ------
    ApiError
        as without explanations, and what :func:`check_size` and :func:`explanations` raise.
    """
    check_size(len(records))
    outcome = application.score(exchange, name, records, body=body)
    answer = records_answer(outcome, partial=partial, interval=interval)
    for position, explanation in zip(outcome.positions(), explanations(outcome), strict=True):
        if explanation is not None:
            answer["predictions"][position]["explanation"] = explanation.as_record()
    return application.reply(outcome, answer)


def as_tensors(outcome: Outcome, parameters: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The v2 protocol's outputs: what they are, and their flat values by name. Notes the space in ``parameters``.

    Raises
    ------
    ApiError
        what :func:`explanations` raises; ``not_explainable`` when two versions with other features answer.
    """
    found = [e for e in explanations(outcome) if e is not None]
    kinds = {(e.source.space, e.source.is_calibrated, e.features) for e in found}
    if len(kinds) > 1:
        text = "two versions with other features answer this request; ask for one of them by its version"
        raise ApiError("not_explainable", text)
    if not kinds:
        return [], {}
    ((space, is_calibrated, features),) = kinds
    parameters["explanation_space"] = space
    if is_calibrated:
        parameters["explanation_calibrated"] = True
    specs = [
        {"name": "contributions", "datatype": "FP64", "shape": [-1, len(features)]},
        {"name": "base", "datatype": "FP64", "shape": [-1]},
    ]
    values: dict[str, Any] = {
        "contributions": [c for e in found for c in e.contributions],
        "base": [e.base for e in found],
    }
    if space not in ("value", "log"):
        specs.append({"name": "explained", "datatype": "BYTES", "shape": [-1]})
        values["explained"] = [e.of for e in found]
    return specs, values
