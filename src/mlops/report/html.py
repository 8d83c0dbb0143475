"""Pages: a title, a summary, sections. One file, no network, no script; follows the reader's light or dark theme.

>>> from mlops.report import html
>>> page = html.page("Drift of <a>", "All quiet.", [html.section("Rows", html.table(["day", "rows"], [["Mon", 12]]))])
>>> "Drift of &lt;a&gt;" in page, "<script" in page
(True, False)
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from mlops.report.markup import Markup, escape, join, number
from mlops.report.style import CSS

__all__ = [
    "Markup",
    "badge",
    "cards",
    "code",
    "definitions",
    "details",
    "escape",
    "figures",
    "join",
    "number",
    "page",
    "paragraph",
    "section",
    "table",
]

#: Status word -> tone. A word that is not here is neutral.
TONES = {
    "good": "good", "ok": "good", "accepted": "good", "promoted": "good", "passed": "good", "yes": "good",
    "registered": "good", "trained": "good", "champion": "good", "launched": "good", "live": "good",
    "warn": "warn", "warning": "warn", "partial": "warn", "insufficient": "warn", "needs_approval": "warn",
    "unconfirmed": "warn", "waiting": "warn", "skipped": "warn", "estimated": "warn", "duplicate": "warn",
    "bad": "bad", "drift": "bad", "rejected": "bad", "failed": "bad", "error": "bad", "rolled_back": "bad",
    "over_budget": "bad", "no": "bad", "quarantined": "bad", "aborted": "bad", "breach": "bad", "over": "warn",
    "degraded": "bad",
}  # fmt: skip


def page(title: object, summary: object, sections: Sequence[object], *, footer: object = "", form: bool = False) -> str:
    """A complete HTML document.

    Parameters
    ----------
    title : plain text.
    summary : text or :class:`Markup`: the outcome in a sentence or two.
    sections : what :func:`section` returned, in order. Plain text among them becomes escaped text.
    footer : where it comes from and when (ids, times).
    form : whether the page has a form, which may then be sent to where the page came from.
    """
    digest = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    target = "'self'" if form else "'none'"
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action {target}"
    foot = f"<footer>{escape(footer)}</footer>" if footer else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(str(title))}</title>\n<style>{CSS}</style>\n"
        f"</head>\n<body>\n<main>\n<header><h1>{escape(str(title))}</h1>\n"
        f'<p class="summary">{escape(summary)}</p></header>\n'
        f"{join(sections, chr(10))}\n</main>\n{foot}\n</body>\n</html>\n"
    )


def section(title: object, body: object, note: object = "") -> Markup:
    """A headed section; ``note`` is small print under the heading. ``body`` is markup or a text."""
    inner = body if isinstance(body, Markup) else paragraph(body)
    small = f'<p class="note">{escape(note)}</p>' if note else ""
    return Markup(f"<section><h2>{escape(title)}</h2>{small}{inner}</section>")


def paragraph(text: object) -> Markup:
    """A paragraph."""
    return Markup(f"<p>{escape(text)}</p>")


def table(
    headers: Sequence[object],
    rows: Sequence[Sequence[object]],
    *,
    numeric: Sequence[int] | None = None,
    stacked: bool = False,
    caption: object = "",
    empty: object = "Nothing to show.",
) -> Markup:
    """A table that scrolls sideways on a phone.

    Parameters
    ----------
    headers : column titles.
    rows : cells: text, numbers, ``None`` (a dash) or markup such as a :func:`badge`.
    numeric : positions of columns that are aligned right; by default those whose cells are all numbers.
    stacked : on a phone the last column, which holds sentences, goes below the others instead of out of the window.
    empty : said instead of a table without rows.
    """
    if not rows:
        return Markup(f'<p class="note">{escape(empty)}</p>')
    if numeric is None:
        numeric = [i for i in range(len(headers)) if all(_is_number(row[i]) for row in rows if row[i] is not None)]
    right = set(numeric)

    def cell(tag: str, position: int, value: object, extra: str = "") -> str:
        kind = ' class="n"' if position in right else ""
        return f"<{tag}{kind}{extra}>{escape(value)}</{tag}>"

    head = "".join(cell("th", i, h, ' scope="col"') for i, h in enumerate(headers))
    body = "".join(f"<tr>{''.join(cell('td', i, v) for i, v in enumerate(row))}</tr>" for row in rows)
    wide = ' class="stack"' if stacked else ' class="wide"' if len(headers) > 6 else ""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    # What scrolls by keyboard has a name for those who do not see it.
    name = caption or ", ".join(str(h) for h in headers if h)
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(name)}">'
        f"<table{wide}>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def badge(status: object, text: object = None) -> Markup:
    """A small coloured label; the colour is never the only carrier of the meaning, the word is there."""
    tone = TONES.get(str(status).lower(), "plain")
    label = str(status).replace("_", " ") if text is None else text
    return Markup(f'<span class="badge {tone}">{escape(label)}</span>')


def cards(items: Sequence[tuple[object, object, object]]) -> Markup:
    """Key figures: ``(label, value, note)`` each."""
    inner = "".join(
        f'<div class="card"><div class="label">{escape(label)}</div><div class="value">{escape(value)}</div>'
        f'<div class="small">{escape(note) if note not in (None, "") else ""}</div></div>'
        for label, value, note in items
    )
    return Markup(f'<div class="cards">{inner}</div>')


def figures(items: Sequence[Markup]) -> Markup:
    """Figures side by side where there is room, below each other on a phone."""
    return Markup(f'<div class="figures">{"".join(items)}</div>')


def definitions(items: Sequence[tuple[object, object]]) -> Markup:
    """Name and value pairs, for ids and settings."""
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in items)
    return Markup(f"<dl>{inner}</dl>")


def details(summary: object, body: object, *, opened: bool = False) -> Markup:
    """Something that the reader unfolds."""
    inner = body if isinstance(body, Markup) else paragraph(body)
    return Markup(f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>{inner}</details>")


def code(text: object) -> Markup:
    """A block of text as it is written, such as a command or JSON; a single short line stays inline."""
    plain = str(text)
    if "\n" in plain or len(plain) > 60:
        return Markup(f'<pre tabindex="0"><code>{escape(plain)}</code></pre>')
    return Markup(f"<code>{escape(plain)}</code>")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
