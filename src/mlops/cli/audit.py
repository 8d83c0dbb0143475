"""Commands that explain: ledger, report, cost."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mlops.cli.app import session
from mlops.cli.output import when
from mlops.errors import MlopsError, NotFoundError
from mlops.objects import report_prefix

ledger_app = typer.Typer(help="The append-only record of who did what, why, from which data.")
cost_app = typer.Typer(help="What the stack cost, and what a stack would cost.")
report_app = typer.Typer(help="Reports that the stack has written.")

REPORT_KINDS = ("ingest", "drift", "evaluation", "release", "cost")
#: Figures of the cost function's result, in the order in which a person asks for them.
_FIGURES = (
    ("at list price", "list_usd"), ("of it idle, a month", "idle_usd_per_month"), ("billed", "billed_usd"),
    ("free tier", "free_tier_usd"), ("1000 requests", "usd_per_1000_requests"), ("a training", "usd_per_training"),
    ("this month so far", "month_spent_usd"), ("this month, expected", "month_expected_usd"), ("budget", "budget_usd"),
)  # fmt: skip
_EVALUATIONS = ("evaluation.html", "evaluation.json")


def register(app: typer.Typer) -> None:
    """Add these commands to the parser."""
    app.add_typer(ledger_app, name="ledger", rich_help_panel="Audit")
    app.command("history", rich_help_panel="Audit")(history)
    app.add_typer(report_app, name="report", rich_help_panel="Audit")
    app.add_typer(cost_app, name="cost", rich_help_panel="Audit")


@ledger_app.callback(invoke_without_command=True)
def ledger(context: typer.Context) -> None:
    """The append-only record of who did what, why, from which data; the latest entries when nothing else is said."""
    if context.invoked_subcommand is None:
        entries(context, model=None, limit=50)


@ledger_app.command("list")
def entries(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="Entries about one model.")] = None,
    limit: Annotated[int, typer.Option(help="How many, from the newest.", min=1)] = 50,
) -> None:
    """Entries in the order in which they were written."""
    from mlops.registry.history import about

    current = session(context)
    found = list(current.workbench.ledger.entries())
    found = (about(found, model) if model else found)[-limit:]
    current.out.result([asdict(e) for e in found])
    current.out.table(
        "ledger",
        ["#", "time", "actor", "action", "outcome"],
        [[e.sequence, when(e.time), e.actor.removeprefix("function:"), e.action, e.outcome] for e in found],
        elastic=["actor", "outcome"],
        details=[f"{e.subject}: {e.reason}" for e in found],
    )


@ledger_app.command("verify")
def verify(context: typer.Context) -> int:
    """Check the whole chain, and every copy of its head that was anchored: every edit, gap or reorder shows, and a
    chain that was rewritten as a whole. Exit code 0 when it is intact."""
    from mlops.registry import anchors, chain

    current = session(context)
    bench = current.workbench
    head = bench.ledger.head()  # first: what is appended meanwhile is no problem
    entries = list(bench.ledger.entries())
    kept = list(anchors.read(bench.anchorage, bench.stack))
    found = chain.verify(entries, head)
    problems = [*found.problems, *anchors.check(entries, kept)]
    current.out.result({**found.to_dict(), "problems": problems, "intact": not problems, "anchors": len(kept)})
    if not problems:
        since = f"; {len(kept)} anchors agree, the last of {when(kept[-1].time)} UTC" if kept else "; no anchors yet"
        current.out.say(f"intact: {found.entries} entries, head {found.sequence} {found.hash}{since}")
        return 0
    for problem in problems:
        current.out.say(f"{problem.kind}: {problem.message}", "red")
    return 1


@ledger_app.command("export")
def export(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="File to write: .csv or .json.")],
    sign: Annotated[bool, typer.Option("--sign", help="Sign it with the stack's KMS key, or with --key.")] = False,
    key: Annotated[str | None, typer.Option(help="Another KMS key (id, ARN or alias) to sign with.")] = None,
) -> None:
    """Write the whole ledger to a file for an auditor. With `--sign`, a signature goes beside it (`FILE.sig.json`).

    Example: `mlops ledger export ledger.json --sign`
    """
    from mlops.registry import export as files

    current = session(context)
    bench = current.workbench
    if out.suffix not in (".json", ".csv"):
        raise MlopsError(f"{out}: the name must end in .csv or .json", code="unknown_format")
    signer = bench.signer(key) if sign or key else None
    head = bench.ledger.head()
    found = [e for e in bench.ledger.entries() if e.sequence <= head[0]]
    body = files.to_json(bench.stack, found, head) if out.suffix == ".json" else files.to_csv(found)
    out.write_bytes(body)
    result = {"path": str(out), "entries": len(found), "head": head[1]}
    if signer is not None:
        beside = _signature_of(out)
        now = datetime.now(UTC).isoformat()
        beside.write_bytes(files.signature(body, signer, signed_at=now, signed_by=current.actor))
        result["signature"] = str(beside)
    current.out.result(result)
    current.out.say(f"{len(found)} entries written to {out}{f', signed: {beside}' if signer else ''}")


@ledger_app.command("verify-export")
def verify_export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="File that `mlops ledger export` wrote.")],
    public_key: Annotated[Path | None, typer.Option(help="Public key (DER or PEM) that must have signed it.")] = None,
) -> int:
    """Check an exported file: its chain, and its signature when it has one. Needs neither the stack nor AWS.

    Example: `mlops ledger verify-export ledger.json --public-key ours.der`
    """
    from mlops.registry import chain
    from mlops.registry import export as files

    current = session(context)
    body = file.read_bytes()
    entries, head = files.read(body)
    last = (entries[-1].sequence, entries[-1].hash) if entries else (0, chain.GENESIS)
    found = chain.verify(entries, head or last)
    beside, signed = _signature_of(file), None
    if beside.is_file():
        trusted = _der(public_key.read_bytes()) if public_key else None
        signed = files.check_signature(body, beside.read_bytes(), trusted=trusted)
    elif public_key:
        raise NotFoundError(f"{file} has no signature beside it ({beside.name})")
    current.out.result({**found.to_dict(), "signature": signed, "trusted": bool(signed and public_key)})
    for problem in found.problems:
        current.out.say(f"{problem.kind}: {problem.message}", "red")
    if found.intact:
        current.out.say(f"intact: {found.entries} entries, head {found.hash}")
    if signed:
        current.out.say(f"signed by {signed['signed_by']} at {when(signed['signed_at'])} UTC with {signed['key']}")
        if not public_key:
            current.out.say(f"is that key the stack's? Its SHA-256 fingerprint: {signed['fingerprint']}")
    else:
        current.out.say("not signed")
    return 0 if found.intact else 1


def _signature_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.sig.json")


def _der(key: bytes) -> bytes:
    if not key.startswith(b"-----"):
        return key
    from cryptography.hazmat.primitives import serialization

    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:
        return serialization.load_pem_public_key(key).public_bytes(*form)
    except ValueError as error:
        raise MlopsError("the public key is neither DER nor PEM", code="bad_key") from error


def history(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    out: Annotated[Path | None, typer.Option(help="Also write it to a file: .html or .md.")] = None,
) -> None:
    """The whole history of a model in plain sentences, from the ledger alone: who, what, why, from which data.

    Example: `mlops history churn --out churn.html`
    """
    from mlops.registry import history as story

    current = session(context)
    bench = current.workbench
    if out is not None and out.suffix not in (".html", ".md"):
        raise MlopsError(f"{out}: the name must end in .html or .md", code="unknown_format")
    found = story.about(bench.ledger.entries(), model)
    if not found:
        raise NotFoundError(f"the ledger tells nothing of a model '{model}'; `mlops status` lists all")
    lines, served = story.tell(found), story.reigns(found)
    current.out.result({"model": model, "served": served, "acts": lines})
    current.out.table(
        "who served when",
        ["version", "from", "until", "data set"],
        [[r.version, when(r.since), when(r.until) if r.until else "still", r.dataset_version] for r in served],
        elastic=["data set"],
    )
    for line in lines:
        current.out.say(f"{when(line.time)} {line.who}: {line.what}")
        current.out.say(f"                 {line.why}")
    if out is not None:
        written = f"From the ledger of {bench.stack}, entries {found[0].sequence} to {found[-1].sequence}."
        make = story.page if out.suffix == ".html" else story.markdown
        out.write_text(make(model, found, written=written), encoding="utf-8")
        current.out.note(f"written: {out}")


@report_app.callback(invoke_without_command=True)
def report(context: typer.Context) -> None:
    """Reports that the stack has written; their list when nothing else is said."""
    if context.invoked_subcommand is None:
        reports(context, kind=None)


@report_app.command("list")
def reports(
    context: typer.Context,
    kind: Annotated[str | None, typer.Option(help=f"One of {', '.join(REPORT_KINDS)}.")] = None,
) -> None:
    """Keys of the reports by kind, oldest first. HTML is for people, JSON for programs."""
    current = session(context)
    if kind is not None and kind not in REPORT_KINDS:
        raise MlopsError(f"no reports of kind '{kind}'; kinds: {', '.join(REPORT_KINDS)}", code="unknown_kind")
    found = []
    for name in [kind] if kind else REPORT_KINDS:
        if name == "evaluation":  # beside the version that was judged
            keys = [i for i in current.workbench.artifacts.list("models/") if i.key.split("/")[-1] in _EVALUATIONS]
        else:
            keys = list(current.workbench.data.list(report_prefix(name)))
        found += sorted(keys, key=lambda i: i.modified)
    current.out.result(found)
    rows = [[when(i.modified), i.size] for i in found]
    current.out.table("reports", ["written", "bytes"], rows, details=[i.key for i in found])


@report_app.command("get")
def get(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="A key from `mlops report list`, or a prefix of keys: the newest.")],
    out: Annotated[Path | None, typer.Option(help="File to write; named like the key when not given.")] = None,
) -> None:
    """Download a report. HTML reports are one file each and open offline."""
    current = session(context)
    bucket = current.workbench.artifacts if key.startswith("models/") else current.workbench.data
    matches = sorted(bucket.list(key), key=lambda i: i.modified) if key.startswith(("models/", "reports/")) else []
    if not matches:
        raise NotFoundError(f"no report '{key}'; `mlops report list` lists all")
    found = matches[-1].key
    path = out or Path(found.replace("/", "-"))
    path.write_bytes(bucket.get(found))
    current.out.result({"key": found, "path": str(path)})
    current.out.say(f"{found} written to {path}")


@cost_app.callback(invoke_without_command=True)
def cost(context: typer.Context) -> None:
    """What the stack cost, and what a stack would cost."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@cost_app.command("report")
def cost_report(
    context: typer.Context,
    hours: Annotated[float, typer.Option(help="How far back.", min=0.1)] = 24,
    bill: Annotated[bool, typer.Option(help="Also ask Cost Explorer, which costs a cent a request.")] = False,
) -> None:
    """What this stack used in the last hours, at list price, and what it was billed where the account tells.

    Example: `mlops cost report --hours 168 --bill`
    """
    current = session(context)
    with current.out.spinner("metering"):
        found = current.workbench.invoke("cost_report", {"task": "report", "hours": hours, "bill": bill})
    if found["status"] != "reported":
        raise MlopsError(found.get("message", "no report was made"), code="invalid_request")
    current.out.result(found)
    figures = [[label, f"{found[key]} USD"] for label, key in _FIGURES if found.get(key) is not None]
    current.out.table(f"{found['start'][:16]} to {found['end'][:16]} UTC", ["what", "cost"], figures)
    if not found["complete"]:
        current.out.say(f"not counted, for want of a price or a measurement: {', '.join(found['unknown'])}")
    current.out.say(f"budget: {found['budget_state']}")
    current.out.say(f"report: mlops report get {found['html_key']}")


@cost_app.command("estimate")
def estimate(
    context: typer.Context,
    requests_per_month: Annotated[int, typer.Option(help="Requests to the API a month.", min=0)],
    rows: Annotated[int, typer.Option(help="Records in a request.", min=1)] = 1,
    template: Annotated[Path, typer.Option(help="Template to price.")] = Path("template.yaml"),
    out: Annotated[Path | None, typer.Option(help="Also write an HTML page with the break-even plot.")] = None,
) -> None:
    """Price a stack before it is deployed: idle, and at a load, against SageMaker and Fargate.

    Prices are those of `--region`, or of us-east-1.

    Example: `mlops cost estimate --requests-per-month 1000000`
    """
    from mlops.cost import estimate as pricing

    current = session(context)
    if not template.is_file():
        raise NotFoundError(f"{template} is not a file; give the template's path with --template")
    region = current.region or "us-east-1"
    try:
        found: Any = pricing.estimate(str(template), requests_per_month=requests_per_month, rows=rows, region=region)
    except MlopsError as error:
        raise MlopsError(f"{template}: {error.message}", code=error.code) from error
    current.out.result(found.to_dict())
    if not current.out.as_json:
        sys.stdout.write(pricing.render_terminal(found) + "\n")
    if out is not None:
        from mlops.cost.estimate_page import to_html

        out.write_bytes(to_html(found))
        current.out.note(f"written: {out}")
