"""The command that puts two versions side by side: models compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops.cli.app import session
from mlops.cli.naming import A_VERSION, version_of
from mlops.errors import MlopsError

if TYPE_CHECKING:
    from mlops.registry.comparing import Comparison, Pair

_MOST_COLUMNS = 15


def compare(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    first: Annotated[str, typer.Argument(help=A_VERSION)],
    second: Annotated[str, typer.Argument(help=A_VERSION)],
    out: Annotated[Path | None, typer.Option(help="Also write all of it to this file: .html or .json.")] = None,
) -> None:
    """Two versions side by side: metrics with their intervals, what they were made from and with, how the data moved,
    features, size and latency.

    Example: `mlops models compare churn previous champion --out compared.html`
    """
    from mlops.registry import comparing, comparing_page

    current = session(context)
    if out is not None and out.suffix not in (".html", ".json"):
        raise MlopsError(f"{out.name}: a comparison is written as .html or .json", code="usage")
    artifacts = current.workbench.artifacts
    sides = [comparing.read(artifacts, version_of(current, model, word)) for word in (first, second)]
    found = comparing.compare(*sides)
    if out is not None:
        text = json.dumps(found.to_dict(), ensure_ascii=False, indent=2)
        out.write_text(comparing_page.render(found) if out.suffix == ".html" else text + "\n", encoding="utf-8")
        current.out.note(f"written: {out}")
    current.out.result(found.to_dict())
    a, b = found.first, found.second
    rows = [
        [m.name, within(m.first, m.first_interval), within(m.second, m.second_interval), m.difference, word(m.apart)]
        for m in found.metrics
    ]
    current.out.table(f"{model}: metrics", ["metric", a, b, "difference", "intervals"], rows)
    if found.paired:
        current.out.say(comparing.paired_words(found.paired))
    _pairs(current.out, "state, lineage, serving", found, [found.states, *found.lineage, *found.serving])
    _pairs(current.out, "parameters", found, found.parameters)
    _pairs(current.out, "features that differ", found, found.features)
    _data(current.out, found)
    for note in found.notes:
        current.out.say(f"note: {note}")


def _pairs(out: Any, title: str, found: Comparison, pairs: Any) -> None:
    """What differs, and in one line what does not."""
    shown: list[Pair] = [p for p in pairs if not p.same]
    out.table(title, ["", found.first, found.second], [[p.name, _text(p.first), _text(p.second)] for p in shown],
              elastic=[found.first, found.second])  # fmt: skip
    same = [p.name for p in pairs if p.same and p.first is not None]
    if same:
        out.say(f"    the same in both: {', '.join(same)}")


def _data(out: Any, found: Comparison) -> None:
    rows = [
        [s.column, s.first, s.second, s.moved, f"{s.first_missing:.1%}", f"{s.second_missing:.1%}"]
        for s in found.data[:_MOST_COLUMNS]
    ]
    headers = ["column", found.first, found.second, "moved", "missing", "missing then"]
    out.table("training data, what moved most first", headers, rows, elastic=["column"])
    if len(found.data) > _MOST_COLUMNS:
        out.say(f"    {len(found.data) - _MOST_COLUMNS} more columns: --out FILE.html has all")


def within(value: float | None, interval: tuple[float, float] | None) -> str | None:
    """A metric with its interval."""
    if value is None:
        return None
    return f"{value:.4g}" + (f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else "")


def word(apart: bool | None) -> str | None:
    """What two intervals say about a difference."""
    return None if apart is None else "apart" if apart else "overlap"


def _text(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
