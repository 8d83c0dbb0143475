"""Where a training fits: how large and how long it will be, against what the place allows.

This version of the bundle trains in a Lambda function. What outgrows it is refused, with the numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlops.contract import Contract

#: A Lambda function ends after 900 seconds; the rest is for reading, exporting and writing.
LAMBDA_SECONDS = 780.0
#: Values (rows times features) that train in 3 GB: the data, its encoding and the estimators' copies.
LAMBDA_VALUES = 20_000_000
#: Reading, encoding, exporting, measured per value; small beside the search.
SECONDS_PER_VALUE = 5e-6


@dataclass(frozen=True)
class Place:
    """Where a run goes. ``seconds``: estimate; ``possible``: whether it can run there at all."""

    where: str
    possible: bool
    seconds: float
    values: int
    explanation: str


def estimate(contract: Contract, *, rows: int, seconds: float | None, seconds_rows: int | None) -> float:
    """Seconds that a training takes: the last one's, scaled by rows, but at least its fixed part; without history
    the contract's time budget and the handling of the data."""
    if seconds is not None and seconds_rows:
        return seconds * max(1.0, rows / seconds_rows)
    return contract.training.time_budget_seconds + rows * len(contract.features) * SECONDS_PER_VALUE


def choose(contract: Contract, *, rows: int, seconds: float | None = None, seconds_rows: int | None = None) -> Place:
    """Where to train ``rows`` rows.

    Parameters
    ----------
    seconds, seconds_rows : the last training's duration and rows, if known.
    """
    values = rows * max(1, len(contract.features))
    expected = estimate(contract, rows=rows, seconds=seconds, seconds_rows=seconds_rows)
    basis = f"about {expected:.0f} s for {values:,} values"
    if contract.retrain.where == "sagemaker":
        text = (
            "The contract asks for SageMaker (retrain.where), and this stack trains in Lambda only: "
            "set 'lambda' or 'auto'."
        )
        return Place("sagemaker", False, expected, values, text)
    limits = []
    if values > LAMBDA_VALUES:
        limits.append(f"{values:,} values are more than the {LAMBDA_VALUES:,} that fit its memory")
    if expected > LAMBDA_SECONDS:
        limits.append(f"{expected:.0f} s are more than the {LAMBDA_SECONDS:.0f} s that it may take")
    if not limits:
        return Place("lambda", True, expected, values, f"It runs in Lambda: {basis}.")
    told = " and ".join(limits)
    if contract.retrain.where == "lambda":
        text = f"It runs in Lambda because the contract says so, although it may not fit: {told}."
        return Place("lambda", True, expected, values, text)
    text = (
        f"This training outgrows Lambda, the only place where this stack trains: {told}. Lower the number of rows or "
        "training.time_budget_seconds, or set retrain.where to 'lambda' to try."
    )
    return Place("lambda", False, expected, values, text)
