"""The evaluate function's work: a trained version's folder in, a result with reasons out."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlops.contract import Contract
from mlops.errors import NotFoundError
from mlops.evaluation import card
from mlops.evaluation.evaluate import Bundle, Evaluation, evaluate
from mlops.evaluation.recent import TRAINED_ON, RecentLabels
from mlops.evaluation.report import render
from mlops.manifest import Manifest
from mlops.objects import ObjectStore, version_prefix
from mlops.registry.entities import LedgerDraft
from mlops.registry.ports import Ledger, Registry

ACTOR = "function:evaluate"
FILES = ("parity.npz", "holdout.npz", "golden.json", TRAINED_ON)
CHAMPION_FILES = ("holdout.npz", TRAINED_ON)


@dataclass
class Evaluate:
    """Judges one version against the contract in force and the champion.

    Attributes
    ----------
    artifacts : the bucket with the versions' folders; results are written beside them.
    recent : live predictions whose truth is known by now; None: nobody tells.
    clock : the time of the result.
    """

    artifacts: ObjectStore
    registry: Registry
    ledger: Ledger
    clock: Callable[[], datetime]
    recent: RecentLabels | None = None

    def run(self, model: str, version: str, run_id: str) -> dict[str, Any]:
        """Evaluate a version.

        Returns
        -------
        ``{status: accepted | rejected | needs_approval, model, version, champion, checks, reasons, metrics,
        report_key}``.

        Raises
        ------
        NotFoundError
            when the model has no contract or the version has no folder.
        """
        contract = self.registry.contract(model)
        if contract is None:
            raise NotFoundError(f"model '{model}' has no contract; put models/{model}.yaml in force first")
        candidate = self._bundle(model, version, FILES)
        serving = self.registry.in_state(model, "champion")
        champion = self._bundle(model, serving.version, CHAMPION_FILES) if serving else None
        recent = functools.partial(self.recent.rows, model) if self.recent is not None else None
        result = evaluate(contract, candidate, champion, recent=recent)
        report_key = self._store(contract, candidate.manifest, result)
        self._tell(result, run_id, contract.digest(), candidate.manifest)
        body = result.to_dict()
        keys = ("status", "model", "version", "champion", "checks", "reasons", "metrics")
        return {**{key: body[key] for key in keys}, "report_key": report_key}

    def _bundle(self, model: str, version: str, names: tuple[str, ...]) -> Bundle:
        prefix = version_prefix(model, version)
        manifest = Manifest.from_dict(json.loads(self.artifacts.get(prefix + "manifest.json")))
        files = {name: self.artifacts.get(prefix + name) for name in names if self.artifacts.exists(prefix + name)}
        return Bundle(manifest, self.artifacts.get(prefix + "model.onnx"), files)

    def _store(self, contract: Contract, manifest: Manifest, result: Evaluation) -> str:
        prefix = version_prefix(result.model, result.version)
        now = self.clock().isoformat(timespec="seconds")
        body = {**result.to_dict(), "time": now}
        page = render(result, time=now)
        described = card.to_json(contract, manifest, result)
        files = {**result.files, "evaluation.json": _json(body), "model_card.json": _json(described)}
        for name, content in files.items():
            self.artifacts.put(prefix + name, content, content_type="application/json")
        pages = {"evaluation.html": page, "model_card.html": card.render(contract, manifest, result, time=now)}
        for name, text in pages.items():
            self.artifacts.put(prefix + name, text.encode(), content_type="text/html; charset=utf-8")
        return prefix + "evaluation.html"

    def _tell(self, result: Evaluation, run_id: str, contract_digest: str, manifest: Manifest) -> None:
        self.ledger.append(
            LedgerDraft(
                actor=ACTOR,
                action="version.evaluated",
                subject=f"model/{result.model}/{result.version}",
                reason="; ".join(result.reasons)[:1000] or "all gates passed",
                outcome=result.status,
                inputs={
                    "run_id": run_id,
                    "champion": result.champion,
                    "contract_digest": contract_digest,
                    "onnx_sha256": manifest.onnx_sha256,
                    "failed": [c.name for c in result.checks if c.required and not c.passed],
                    "metric": result.metric,
                    "value": result.metrics.get(result.metric),
                },
                id=f"evaluate-{run_id}-{result.version}",
            )
        )


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, indent=1, allow_nan=False).encode()
