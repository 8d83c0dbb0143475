"""The report on one upload: JSON for tools, one HTML page for people. It shows no value of personal columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops.report import html, svg

_HEADLINES = {
    "accepted": "Every row was accepted.",
    "partial": "The good rows were accepted; the bad ones are kept apart, with their reasons.",
    "rejected": "The upload was rejected; nothing of it entered the data set. It is kept.",
    "duplicate": "Every good row is in the data set already; nothing changed.",
}

#: Columns that are drawn, and those of the chart of missing values.
_DRAWN, _GAPS = 24, 12


def page(report: Mapping[str, Any]) -> str:
    """The HTML page of a report (its JSON form is made by :mod:`mlops.data.ingest`)."""
    rows = report["rows"]
    status = report["status"]
    sections: list[object] = [
        html.section(
            "Rows",
            html.cards(
                [
                    ("read", rows["read"], "rows in the upload"),
                    ("accepted", rows["accepted"], "good rows"),
                    ("kept apart", rows["quarantined"], "bad rows, in quarantine"),
                    *([("new", rows["new"], "not in the data set before")] if "new" in rows else []),
                ]
            ),
        )
    ]
    if status == "rejected":
        first = report["reasons"][0]
        sections.append(html.section("Why it was rejected", first["message"], note=f"code {first['code']}"))
    if report.get("files"):
        sections.append(_files(report["files"]))
    findings = report["findings"]
    if findings:
        shown = findings[:12]
        chart = svg.bars(
            [f"{f['column'] or 'row'}: {f['code']}" for f in shown],
            [f["count"] for f in shown],
            title="Rows by finding",
            highlight=[f"{f['column'] or 'row'}: {f['code']}" for f in shown if f["severity"] != "warn"],
        )
        sections += [html.section("What was found", chart), _findings(findings)]
    else:
        sections.append(html.section("What was found", "No cell broke a rule of the contract."))
    if report["columns"]:
        sections.append(_columns(report["columns"]))
    if report["notes"]:
        sections.append(html.section("Remarks", html.join([html.paragraph(n) for n in report["notes"]])))
    names = ("model", "upload_id", "source", "part_id", "dataset_version", "contract_digest", "created_at")
    facts = [(name.replace("_", " "), report.get(name) or "-") for name in names]
    sections.append(html.section("Where it comes from", html.definitions(facts)))
    summary = html.join([html.badge(status), html.escape(" " + _HEADLINES[status])])
    return html.page(f"Upload of {report['model']}", summary, sections, footer=f"upload {report['upload_id']}")


def _files(files: list[dict[str, Any]]) -> html.Markup:
    rows = [
        [
            f["key"].rsplit("/", 1)[-1],
            html.badge(f["status"]),
            f["read"],
            f["new"],
            f["quarantined"],
            f["repeated"],
            f["known"],
            f["why"] or "-",
        ]
        for f in files
    ]
    headers = ["file", "status", "rows", "new", "kept apart", "in an earlier file", "known before", "why"]
    note = "Files in the order of their names. Of equal rows, that of the first file counts."
    return html.section("Files", html.table(headers, rows), note=note)


def _columns(columns: list[dict[str, Any]]) -> html.Markup:
    gaps = sorted((c for c in columns if c["missing"] > 0), key=lambda c: (-c["missing"], c["name"]))[:_GAPS]
    drawn = []
    if gaps:
        shares = [100 * c["missing"] for c in gaps]
        drawn.append(svg.bars([c["name"] for c in gaps], shares, title="Missing values", unit=" %"))
    drawn += [
        svg.bars([b["label"] for b in c["bins"]], [b["count"] for b in c["bins"]], title=c["name"])
        for c in columns[:_DRAWN]
        if c["bins"]
    ]
    note = "Good rows; of large files a random sample. Personal columns are not shown."
    if len(columns) > _DRAWN:
        note += f" The first {_DRAWN} of {len(columns)} columns; the JSON report has all."
    return html.section("How the columns are distributed", html.figures(drawn), note=note)


def _findings(findings: list[dict[str, Any]]) -> html.Markup:
    rows = [
        [
            f["column"] or "(row)",
            f["code"],
            html.badge("warn" if f["severity"] == "warn" else "bad", _effect(f["severity"])),
            f["count"],
            f"{f['share']:.2%}",
            ", ".join(str(r) for r in f["rows"][:8]) + (", …" if f["count"] > len(f["rows"][:8]) else ""),
            ", ".join(f["examples"]) or "-",
            f["message"],
        ]
        for f in findings
    ]
    headers = ["column", "code", "effect", "rows", "share", "row numbers", "for example", "what is wrong"]
    note = "Row 1 is the first row below the header. A row can break several rules."
    return html.section("Findings", html.table(headers, rows), note=note)


def _effect(severity: str) -> str:
    return {"warn": "row kept", "quarantine": "row kept apart", "reject": "file rejected"}[severity]
