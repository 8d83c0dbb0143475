"""The demo's report: one HTML page, with the stack's own reports beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from local.demo.narrator import Step
from mlops.aws.workbench import Workbench
from mlops.report import html


def write_report(steps: Sequence[Step], reports: Mapping[str, str], bench: Workbench, path: Path) -> Path:
    """Write the page and the stack's reports that it links to; returns the page's path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    links = []
    for name, key in reports.items():
        html_key = key.removesuffix(".json") + ".html" if key.endswith(".json") else key
        if key and bench.data.exists(html_key):
            copy = path.parent / f"demo-{name.replace(' ', '-')}.html"
            copy.write_bytes(bench.data.get(html_key))
            links.append((name, copy.name))
    sections = [
        html.section(
            f"{number}. {step.title}",
            html.table(["what", "found"], [[label.strip(), str(value)] for label, value in step.facts]),
            note=f"{step.seconds:.0f} s",
        )
        for number, step in enumerate(steps, start=1)
    ]
    if links:
        sections.append(html.section("Reports of the stack, beside this file", html.table(["report", "file"], links)))
    entries = list(bench.ledger.entries())
    rows = [[str(e.sequence), e.time[:19], e.actor, e.action, e.subject, e.outcome, e.reason] for e in entries]
    headers = ["#", "time", "actor", "action", "subject", "outcome", "reason"]
    sections.append(html.section("Ledger", html.table(headers, rows)))
    summary = f"{len(steps)} steps on a stack deployed to the local AWS engine; every step was asserted."
    path.write_text(html.page("serverless-mlops: the demo", summary, sections), encoding="utf-8")
    return path
