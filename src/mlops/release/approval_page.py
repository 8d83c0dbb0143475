"""The page behind a signed link, on which a person decides about a release.

Opening it changes nothing: mail programs and scanners open links by themselves. Only the form's POST decides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

from mlops.errors import MlopsError, NotFoundError
from mlops.registry.entities import ModelVersion
from mlops.release.approval import Approvals, Waiting
from mlops.report import html
from mlops.report.html import Markup
from mlops.security.links import LinkError, read

PATH = "/approvals"

_MAX_BODY = 16_384
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
}

Page = tuple[int, str]


@dataclass(frozen=True)
class ApprovalPage:
    """Answers GET and POST of :data:`PATH`. ``key`` signs links; ``clock`` gives UTC."""

    approvals: Approvals
    key: bytes
    clock: Callable[[], datetime]

    def respond(self, method: str, query: Mapping[str, str], body: str) -> dict[str, Any]:
        """A REST proxy response."""
        try:
            status, text = self._decide(body) if method == "POST" else self._show(query.get("link", ""))
        except LinkError as error:
            status, text = 403, html.page("This link does not count", error.message, [])
        except NotFoundError:
            status, text = 404, html.page("Nothing to decide", "The release that this link is for is not known.", [])
        return {"statusCode": status, "headers": _HEADERS, "body": text}

    def _show(self, link: str) -> Page:
        claims = self._claims(link)
        request = self.approvals.request(claims["model"], claims["release_id"])
        found = self.approvals.decided(request.model, request.release_id)
        if found is not None:
            return 200, _decided(request, found)
        return 200, html.page(
            f"Release {request.version} of {request.model}?",
            f"You decide as {claims['name']}, until {_when(request.deadline)}. The first decision counts.",
            [self._facts(request), _form(link)],
            footer=f"release {request.release_id}; nothing happens until you choose",
            form=True,
        )

    def _decide(self, body: str) -> Page:
        if len(body) > _MAX_BODY:
            raise LinkError("The form is too long.")
        fields = dict(parse_qsl(body, max_num_fields=8))
        claims = self._claims(fields.get("link", ""))
        verdict, reason = fields.get("decision"), fields.get("reason", "").strip()
        request = self.approvals.request(claims["model"], claims["release_id"])
        if verdict not in ("approved", "declined") or not reason:
            missing = "a reason" if verdict in ("approved", "declined") else "a decision"
            text = html.page("Not yet", f"It needs {missing}. Nothing was decided.", [_form(fields["link"])], form=True)
            return 400, text
        try:
            answer = self.approvals.decide(
                model=request.model,
                release_id=request.release_id,
                verdict="approved" if verdict == "approved" else "declined",
                actor=f"user:{claims['name']}",
                reason=reason,
                via=f"link of {claims['issuer']}",
            )
        except MlopsError as error:
            if isinstance(error, NotFoundError):
                raise
            return 409, html.page("Not decided", error.message, [])
        found = self.approvals.decision(request.model, request.release_id)
        return (409 if answer["status"] == "refused" else 200), _decided(request, found or {})

    def _claims(self, link: str) -> dict[str, Any]:
        return read(self.key, link, now=self.clock().timestamp())

    def _facts(self, request: Waiting) -> Markup:
        registry = self.approvals.registry
        version = registry.version(request.model, request.version)
        champion = registry.version(request.model, request.champion) if request.champion else None
        what = html.definitions(
            [
                ("why it is asked", request.why),
                ("started by", f"{request.requested_by}: {request.reason}"),
                ("data set", version.dataset_version if version else None),
                ("serves now", request.champion or "nothing yet"),
            ]
        )
        return html.section("What was found", html.join([what, _metrics(version, champion)]))


def _metrics(version: ModelVersion | None, champion: ModelVersion | None) -> Markup:
    if version is None:
        return Markup("")
    before = champion.metrics if champion else {}
    rows = [[name, value, before.get(name)] for name, value in sorted(version.metrics.items())]
    return html.table(["metric", "this version", "champion"], rows, empty="No metrics were kept.")


def _form(link: str) -> Markup:
    return html.section(
        "Your decision",
        Markup(
            f'<form method="post"><input type="hidden" name="link" value="{html.escape(link)}">'
            '<p><label for="reason">Reason; it is kept for good</label></p>'
            '<p><textarea id="reason" name="reason" rows="4" maxlength="1900" required></textarea></p>'
            '<p><button name="decision" value="approved">Release it</button> '
            '<button name="decision" value="declined">Reject it</button></p></form>'
        ),
    )


def _decided(request: Waiting, found: Mapping[str, Any]) -> str:
    said = f"{request.version} of {request.model} was {found.get('decision')} by {found.get('actor')}."
    facts = [("reason", found.get("reason")), ("when", _when(str(found.get("decided_at", "")))), ("by way of",
             found.get("via"))]  # fmt: skip
    return html.page("Decided", said, [html.section("The decision", html.definitions(facts))])


def _when(time: str) -> str:
    return f"{time[:16].replace('T', ' ')} UTC"
