"""The page behind a signed link: opening it changes nothing, its form decides once, a forged link does neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.release.approval_page import ApprovalPage
from mlops.security.links import LinkError, read, sign
from tests.unit.release.fake_serving import World

KEY = b"k" * 64
EVENTS = Path(__file__).parents[3] / "events" / "approval"


class Door:
    """A stack on which release ``r1`` of iris waits for Dr. Ames."""

    def __init__(self) -> None:
        self.world = World()
        self.world.first_champion("a")
        self.world.add_version("b")
        approvals = self.world.releases.approvals
        approvals.ask(
            model="iris", version="b", release_id="r1", token="t1", hours=2, actor="function:pipeline",
            reason="upload <b>x</b>", turn=0,
        )  # fmt: skip
        self.world.callbacks.waiting.add("t1")
        self.page = ApprovalPage(approvals, KEY, self.world.clock)
        self.link = self.signed()

    def signed(self, **change: Any) -> str:
        claims = {"model": "iris", "release_id": "r1", "name": "Dr. Ames", "issuer": "user:ann", **change}
        return sign(KEY, claims, expires=int(self.world.clock().timestamp()) + 7200)

    def get(self, link: str | None = None) -> dict[str, Any]:
        return self.page.respond("GET", {"link": self.link if link is None else link}, "")

    def post(self, decision: str = "approved", reason: str = "the slices look right", link: str = "") -> dict[str, Any]:
        fields = {"link": link or self.link, "decision": decision, "reason": reason}
        return self.page.respond("POST", {}, urlencode(fields))

    def decided(self) -> Any:
        return self.world.releases.approvals.decision("iris", "r1")


@pytest.fixture
def door() -> Door:
    return Door()


def test_opening_the_link_shows_what_is_asked_and_changes_nothing(door: Door) -> None:
    kept, head = len(door.world.registry.kept), door.world.ledger.head()
    shown = door.get()
    assert shown["statusCode"] == 200
    assert "You decide as Dr. Ames" in shown["body"]
    assert "upload &lt;b&gt;x&lt;/b&gt;" in shown["body"]
    assert "form-action 'self'" in shown["body"]
    assert shown["headers"]["Cache-Control"] == "no-store"
    assert shown["headers"]["X-Frame-Options"] == "DENY"
    assert (len(door.world.registry.kept), door.world.ledger.head()) == (kept, head)
    assert door.world.callbacks.woken == []


def test_the_form_decides_in_the_persons_name_and_once(door: Door) -> None:
    assert "was approved by user:Dr. Ames" in door.post()["body"]
    assert door.world.callbacks.woken == ["t1"]
    entry = list(door.world.ledger.entries())[-1]
    assert (entry.actor, entry.action, entry.reason) == (
        "user:Dr. Ames", "approval.approved", "the slices look right",
    )  # fmt: skip
    assert entry.inputs["via"] == "link of user:ann"
    again = door.post("declined", "no, wait")
    assert again["statusCode"] == 409
    assert "was approved by" in again["body"]
    assert "<form" not in door.get()["body"], "a link that was used shows what was decided"
    assert list(door.world.ledger.entries())[-1] == entry


@pytest.mark.parametrize(("decision", "reason"), [("maybe", "x"), ("approved", "  "), ("", "")])
def test_half_a_decision_is_none(door: Door, decision: str, reason: str) -> None:
    answer = door.post(decision, reason)
    assert answer["statusCode"] == 400
    assert "Nothing was decided" in answer["body"]
    assert door.decided() is None


def test_a_link_is_good_until_the_deadline(door: Door) -> None:
    door.world.clock.forward(hours=2)
    assert door.get()["statusCode"] == 403
    assert "has expired" in door.post()["body"]
    assert door.decided()["decision"] == "expired"


def test_a_link_for_what_is_not_known_says_so(door: Door) -> None:
    assert door.get(door.signed(release_id="r9"))["statusCode"] == 404
    assert door.post(link=door.signed(model="another"))["statusCode"] == 404


def test_a_link_of_another_key_decides_nothing(door: Door) -> None:
    claims = {"model": "iris", "release_id": "r1", "name": "Mallory", "issuer": "user:ann"}
    forged = sign(b"m" * 64, claims, expires=10**10)
    assert door.get(forged)["statusCode"] == door.post(link=forged)["statusCode"] == 403
    assert door.decided() is None


@given(st.data())
def test_any_change_of_a_link_is_found(data: st.DataObject) -> None:
    text = sign(KEY, {"model": "iris", "name": "ann"}, expires=100)
    at = data.draw(st.integers(0, len(text) - 1))
    change = data.draw(st.sampled_from(["drop", "flip", "add"]))
    letter = data.draw(st.sampled_from("AZaz09-_.=+/ \u00e9"))
    changed = {
        "drop": text[:at] + text[at + 1 :], "flip": text[:at] + letter + text[at + 1 :],
        "add": text[:at] + letter + text[at:],
    }[change]  # fmt: skip
    if changed == text:
        return
    with pytest.raises(LinkError):
        read(KEY, changed, now=1)


@given(st.text())
def test_any_text_is_no_link(text: str) -> None:
    with pytest.raises(LinkError):
        read(KEY, text, now=1)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 are needed"):
        sign(b"short", {}, expires=1)


@pytest.mark.parametrize("path", sorted(EVENTS.glob("*.json")), ids=lambda p: p.stem)
def test_event_files(door: Door, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from functions.approval import app

    monkeypatch.setattr(app, "service", lambda: door.page)
    answer = app.handler(json.loads(path.read_text()), None)
    assert answer["statusCode"] == 403
    assert "This link" in answer["body"]
    assert door.decided() is None
