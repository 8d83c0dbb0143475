"""The beginning and the end of a run of batch scoring: what is to be scored by which version, and what it came to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from mlops.errors import MlopsError
from mlops.objects import ObjectStore, score_prefix
from mlops.registry.entities import LedgerDraft, Record
from mlops.registry.ports import Ledger, Registry
from mlops.scoring.entities import Mark, Run, SourceObject, Sources

ACTOR = "function:score"
KIND = "score"
#: Where files to score lie in the stack's own bucket, and where predictions go there.
SOURCES, OUTPUTS = "scoring/", "scores/"
#: Failures told in a summary; all of them lie beside it.
MAX_FAILURES = 20

Result = dict[str, Any]


class Serving(Protocol):
    """The function that serves."""

    def champion(self, model: str) -> str | None:
        """The version that answers requests of a model now; None when none does."""
        ...


class _RefusedError(MlopsError):
    code = "refused"


class Runs:
    """Plans and ends runs.

    Parameters
    ----------
    data : the stack's data bucket, named ``data_bucket``.
    score_bucket : one further bucket that may hold files and take predictions; empty for none.
    outputs : gives the store of a bucket that takes predictions.
    """

    def __init__(
        self,
        *,
        data: ObjectStore,
        data_bucket: str,
        score_bucket: str,
        sources: Sources,
        outputs: Callable[[str], ObjectStore],
        serving: Serving,
        registry: Registry,
        ledger: Ledger,
        clock: Callable[[], datetime],
    ) -> None:
        self.data = data
        self.data_bucket = data_bucket
        self.score_bucket = score_bucket
        self.sources = sources
        self.outputs = outputs
        self.serving = serving
        self.registry = registry
        self.ledger = ledger
        self.clock = clock

    def plan(self, request: Mapping[str, Any]) -> Result:
        """Pin the version, list the objects, leave out those that are scored already.

        ``request``: ``{run_id, model, bucket, prefix, output?, version?, capture?, actor?, reason?}``; without a bucket
        that of the stack; ``output`` as ``s3://bucket/prefix``; ``capture`` true to have labels judge the predictions.

        Returns
        -------
        the :class:`Run` as JSON with ``status``: ``planned``, ``nothing`` (no object there) or ``refused``, and
        ``explanation``; ``items_key`` names the list of objects.
        """
        try:
            run = self._pinned(request)
        except _RefusedError as error:
            return {"status": "refused", "run_id": request.get("run_id"), "explanation": error.message}
        done = {mark.identity: mark for mark in self._marks(run)}
        items: list[SourceObject] = []
        ignored = rows = errors = skipped = 0
        for source in self.sources.list(run.bucket, run.prefix):
            name = source.key.rsplit("/", 1)[-1]
            own = run.bucket == run.output_bucket and source.key.startswith(run.output)
            if not name or name[0] in "._" or own:
                ignored += 1
            elif (mark := run.mark_of(source, done)) is not None:
                skipped, rows, errors = skipped + 1, rows + mark.rows, errors + mark.errors
            else:
                items.append(source)
        planned = Run(
            **{
                **run.to_dict(),
                "objects": len(items),
                "bytes": sum(i.size for i in items),
                "ignored": ignored,
                "skipped": skipped,
                "skipped_rows": rows,
                "skipped_errors": errors,
            }
        )
        if not items and not skipped:
            where = f"s3://{run.bucket}/{run.prefix}"
            text = f"there is no file to score at {where}"
            return {"status": "nothing", "run_id": run.run_id, "version": run.version, "explanation": text}
        body = "".join(json.dumps(i.to_dict()) + "\n" for i in items).encode()
        self.data.put(run.items_key(), body, content_type="application/x-ndjson")
        self.data.put(run.plan_key(), json.dumps(planned.to_dict()).encode(), content_type="application/json")
        text = f"{len(items)} objects to score with version {run.version}, {skipped} scored already"
        return {**planned.to_dict(), "status": "planned", "items_key": run.items_key(), "explanation": text}

    def _pinned(self, request: Mapping[str, Any]) -> Run:
        model = str(request.get("model", ""))
        contract = self.registry.contract(model)
        if contract is None:
            raise _RefusedError(f"there is no model '{model}' in this stack")
        bucket = str(request.get("bucket") or self.data_bucket)
        prefix = str(request.get("prefix") or "")
        self._may("read", bucket, prefix, SOURCES)
        capture = request.get("capture", False)
        if not isinstance(capture, bool):
            raise _RefusedError(f"capture must be true or false, not {str(capture)[:50]!r}")
        output_bucket, output = self._output(request, model, bucket, prefix)
        self._may("write to", output_bucket, output, OUTPUTS)
        return Run(
            run_id=str(request["run_id"]),
            model=model,
            version=self._version(model, request.get("version")),
            bucket=bucket,
            prefix=prefix,
            output_bucket=output_bucket,
            output=output,
            file=contract.to_dict()["file"],
            actor=str(request.get("actor") or ACTOR),
            reason=str(request.get("reason") or "batch scoring"),
            started_at=self.clock().astimezone(UTC).isoformat(),
            capture=capture,
        )

    def _version(self, model: str, asked: object) -> str:
        if asked:
            found = self.registry.version(model, str(asked))
            if found is None:
                raise _RefusedError(f"'{model}' has no version '{asked}'")
            return found.version
        champion = self.serving.champion(model)
        if champion is None:
            raise _RefusedError(f"'{model}' has no version that serves yet; upload data to train one")
        return champion

    def _output(self, request: Mapping[str, Any], model: str, bucket: str, prefix: str) -> tuple[str, str]:
        """The same source has the same output again, so that a second run goes on where the first one ended."""
        asked = str(request.get("output") or "")
        if not asked:
            folder = prefix[: prefix.rfind("/") + 1]
            inside = folder.removeprefix(SOURCES) if bucket == self.data_bucket else f"{bucket}/{folder}"
            return self.data_bucket, f"{score_prefix(model)}{inside}"
        address = asked.removeprefix("s3://")
        if address == asked or not address.partition("/")[0]:
            raise _RefusedError(f"the output must be s3://bucket/prefix, not '{asked[:200]}'")
        name, _, path = address.partition("/")
        return name, path if path.endswith("/") or not path else f"{path}/"

    def _may(self, what: str, bucket: str, prefix: str, own: str) -> None:
        if bucket == self.data_bucket and prefix.startswith(own):
            return
        if self.score_bucket and bucket == self.score_bucket:
            return
        allowed = f"s3://{self.data_bucket}/{own}"
        other = (
            f" and s3://{self.score_bucket}" if self.score_bucket else "; another bucket needs parameter ScoreBucket"
        )
        raise _RefusedError(f"batch scoring may not {what} s3://{bucket}/{prefix}: it may {what} {allowed}{other}")

    def _marks(self, run: Run) -> list[Mark]:
        found = (Mark.of(info.key) for info in self.outputs(run.output_bucket).list(run.marks()))
        return [mark for mark in found if mark is not None]

    def object_failed(self, run: Run, source: SourceObject, error: Mapping[str, Any]) -> Result:
        """Write down that an object could not be scored because something broke."""
        code = str(error.get("Error") or "fault")
        message = "a function failed on it; its log says why, and a further run tries it again"
        body = {"key": source.key, "code": code, "message": message}
        key = f"{run.failed_prefix()}{run.identity(source)}.json"
        self.outputs(run.output_bucket).put(key, json.dumps(body).encode(), content_type="application/json")
        return {"status": "failed", "code": code}

    def finish(self, run: Run) -> Result:
        """Add up what was scored, write the summary, the record and the ledger's entry."""
        items = self.data.get(run.items_key()).splitlines() if run.objects else []
        sources = [SourceObject(**json.loads(line)) for line in items]
        marks = {mark.identity: mark for mark in self._marks(run)}
        scored = [mark for source in sources if (mark := run.mark_of(source, marks)) is not None]
        failed = len(sources) - len(scored)
        store = self.outputs(run.output_bucket)
        failures: list[Any] = []
        for info in store.list(run.failed_prefix()):
            if len(failures) == MAX_FAILURES:
                break
            failures.append(json.loads(store.get(info.key)))
        rows, errors = sum(m.rows for m in scored), sum(m.errors for m in scored)
        summary: Result = {
            "schema": "mlops.score-summary.v1",
            "status": "failed" if failed and not scored and not run.skipped else "partial" if failed else "scored",
            "run_id": run.run_id,
            "model": run.model,
            "version": run.version,
            "source": f"s3://{run.bucket}/{run.prefix}",
            "output": f"s3://{run.output_bucket}/{run.output}",
            "objects": {
                "scored": len(scored),
                "skipped": run.skipped,
                "failed": failed,
                "ignored": run.ignored,
            },
            "rows": {"scored": rows - errors, "errors": errors},
            "skipped_rows": {"scored": run.skipped_rows - run.skipped_errors, "errors": run.skipped_errors},
            "captured": run.capture,
            "failures": failures,
            "started_at": run.started_at,
            "finished_at": self.clock().astimezone(UTC).isoformat(),
            "summary": f"s3://{run.output_bucket}/{run.summary_key()}",
        }
        summary["explanation"] = (
            f"version {run.version} scored {rows - errors} rows of {len(scored)} objects; {errors} rows have an error "
            f"in their place; {run.skipped} objects were scored before; {failed} failed"
        )
        store.put(run.summary_key(), json.dumps(summary, indent=1).encode(), content_type="application/json")
        self._keep(run, summary)
        return summary

    def fail(self, request: Mapping[str, Any], error: Mapping[str, Any]) -> Result:
        """The run itself broke: what is scored stays, and a further run goes on from there."""
        run_id, model = str(request.get("run_id")), str(request.get("model"))
        text = f"batch scoring {run_id} stopped: {str(error.get('Error') or 'fault')[:80]}"
        self.ledger.append(
            LedgerDraft(
                actor=ACTOR, action="score.failed", subject=f"model/{model}", reason=text, outcome="failed",
                inputs={"run": run_id}, id=f"score/{run_id}",
            )
        )  # fmt: skip
        return {"status": "failed", "run_id": run_id, "explanation": text}

    def _keep(self, run: Run, summary: Mapping[str, Any]) -> None:
        body = {name: value for name, value in summary.items() if name not in ("failures", "schema")}
        self.registry.put_record(Record(run.model, KIND, run.run_id, str(summary["finished_at"]), body))
        self.ledger.append(
            LedgerDraft(
                actor=run.actor,
                action="score.finished",
                subject=f"model/{run.model}/{run.version}",
                reason=run.reason,
                outcome=str(summary["status"]),
                inputs={
                    "run": run.run_id,
                    "objects": summary["objects"],
                    "rows": summary["rows"],
                    "output": summary["output"],
                },
                id=f"score/{run.run_id}",
            )
        )
