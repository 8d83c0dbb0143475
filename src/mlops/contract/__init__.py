"""The contract of a model: what its data must look like and how it is trained, judged, released and watched."""

from mlops.contract.model import (
    Capture,
    Card,
    Checks,
    Contract,
    Decision,
    Drift,
    Fairness,
    FileFormat,
    Gates,
    Release,
    Retention,
    Retrain,
    Rule,
    Target,
    Training,
)

__all__ = [
    "Capture",
    "Card",
    "Checks",
    "Contract",
    "Decision",
    "Drift",
    "Fairness",
    "FileFormat",
    "Gates",
    "Release",
    "Retention",
    "Retrain",
    "Rule",
    "Target",
    "Training",
]
