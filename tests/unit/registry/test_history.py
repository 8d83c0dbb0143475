"""The history of a model from its ledger alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.registry import chain, history
from mlops.registry.entities import LedgerDraft, LedgerEntry
from mlops.release.manual import manual_rollback
from tests.unit.release.fake_serving import World

START = datetime(2026, 3, 2, tzinfo=UTC)


def entries(drafts: list[LedgerDraft]) -> list[LedgerEntry]:
    found: list[LedgerEntry] = []
    for i, draft in enumerate(drafts):
        time, previous = (START + timedelta(hours=i)).isoformat(), found[-1].hash if found else chain.GENESIS
        found.append(chain.link(draft, sequence=i + 1, time=time, previous=previous))
    return found


def test_a_release_a_breach_and_a_rollback_are_told_with_who_and_why() -> None:
    world = World()
    world.first_champion("a")
    world.first_champion_again("b")
    world.add_version("c")
    world.run(world.start("c"), lambda step: world.capture(30, fail=int(step == "canary-1")))
    world.clock.forward(seconds=5)
    manual_rollback(world.releases, model="iris", actor="user:ann", reason="complaints", request_id="q1")
    told = [f"{line.who}: {line.what} {line.why}" for line in history.tell(list(world.ledger.entries()))]
    assert "user:ann: Version a answers all callers, as the first one, trained on data set d-a. better" in told
    promoted = next(t for t in told if "Version b answers all callers" in t)
    assert "in place of a, trained on data set d-b. Seen: shadow: 30 answers compared, 0 errors; canary-1" in promoted
    back = next(t for t in told if "went back by itself" in t)
    assert "The release of c went back by itself; b answers all callers as before." in back
    assert "1 of 30 requests failed" in back
    assert told[-1] == "user:ann: a answers all callers again, in place of b. complaints"
    served = [(r.version, r.dataset_version) for r in history.reigns(list(world.ledger.entries()))]
    assert served == [("a", "d-a"), ("b", "d-b"), ("a", "d-a")]


def promotion(version: str) -> LedgerDraft:
    inputs = {"dataset_version": f"d-{version}"}
    return LedgerDraft("function:release", "version.promoted", f"model/m/{version}", "why", "promoted", inputs)


@given(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12), st.integers(-1, 13))
def test_who_served_at_any_time_is_the_last_champion_before_it(plan: list[str | None], hours: int) -> None:
    other = LedgerDraft("function:x", "something.new", "model/m", "why", "done")
    found = entries([promotion(v) if v else other for v in plan])
    moment = START + timedelta(hours=hours, minutes=30)
    wanted = next((v for v in reversed(plan[: max(hours + 1, 0)]) if v), None)
    served = history.served_at(found, moment)
    assert (served.version if served else None) == wanted
    if served:
        assert served.dataset_version == f"d-{wanted}"


def test_another_model_with_a_longer_name_is_another_model() -> None:
    drafts = [
        LedgerDraft("user:ann", "contract.accepted", "model/iris", "new", "in force", {"contract_digest": "c" * 64}),
        LedgerDraft("user:ann", "contract.accepted", "model/iris-2", "new", "in force"),
        LedgerDraft(
            "function:ingest", "upload.accepted", "upload/u1", "fine", "accepted", {"model": "iris", "rows": {"new": 7}}
        ),
        LedgerDraft("function:ingest", "upload.accepted", "upload/u2", "fine", "accepted", {"model": "iris-2"}),
        LedgerDraft("function:x", "moon.landed", "model/iris/v1", "because", "done"),
    ]
    found = history.about(entries(drafts), "iris")
    assert [line.what for line in history.tell(found)] == [
        "A contract was put in force (cccccccccccc).",
        "The upload u1 was accepted (7 rows new).",
        "moon.landed of model/iris/v1: done.",
    ]


def test_every_act_that_the_code_writes_about_a_model_has_a_sentence() -> None:
    """A stranger must not meet `release.canary-1 of model/x/v: live.`"""
    nouns = (
        "alias|approval|contract|drift|quality|release|retrain|run|score|training|upload|version|model|registry|doctor"
    )
    written = set()
    for path in (Path(__file__).parents[3] / "src" / "mlops").rglob("*.py"):
        if path.name != "history.py":
            written |= set(re.findall(rf'"((?:{nouns})\.[a-z_]+)"', path.read_text(encoding="utf-8")))
    written = {a for a in written if not a.endswith((".json", ".onnx"))} | {"release.canary-1", "version.retired"}
    assert len(written) > 30
    found = entries([LedgerDraft("user:ann", action, "model/m/v1", "why", "done") for action in sorted(written)])
    plain = [line.what for line in history.tell(found) if line.what.startswith(found[line.sequence - 1].action)]
    assert plain == []


def test_the_life_of_each_version_is_told_in_a_line() -> None:
    world = World()
    world.first_champion("a")
    world.clock.forward(days=2)
    world.first_champion_again("b")
    world.add_version("c")
    world.run(world.start("c"), lambda step: world.capture(30, fail=int(step == "canary-1")))
    world.clock.forward(days=1)
    manual_rollback(world.releases, model="iris", actor="user:ann", reason="complaints", request_id="q1")
    world.registry.move("iris", "c", ("rejected",), "retired", "old")
    world.ledger.append(LedgerDraft("function:housekeeping", "version.retired", "model/iris/c", "old", "retired"))
    found = list(world.ledger.entries())
    until = world.clock() + timedelta(days=3)
    told = {x.version: x for x in history.lives(found, until)}
    assert {v: x.now for v, x in told.items()} == {
        "a": "answers all callers", "b": "put aside: it may serve again", "c": "retired for good",
    }  # fmt: skip
    assert told["a"].served > timedelta(days=5).total_seconds()
    assert timedelta(days=1).total_seconds() < told["b"].served < timedelta(days=1.1).total_seconds()
    assert (told["c"].served, told["a"].dataset_version) == (0.0, "d-a")
    assert sum(x.served for x in told.values()) == pytest.approx(
        (until - datetime.fromisoformat(history.reigns(found)[0].since)).total_seconds()
    )
    page = history.page("iris", found, written="now")
    for words in ("answers 10% of the callers, the champion the others", "retired for good", "How to read this"):
        assert words in page, words


def test_pages_hold_every_act_and_no_markup_of_others() -> None:
    draft = LedgerDraft("user:<b>", "contract.accepted", "model/m", "two\nlines <script>", "in force")
    found = entries([draft, promotion("a")])
    page = history.page("m", found, written="now")
    assert "<script" not in page
    assert "a serves since 2026-03-02 01:00." in page
    text = history.markdown("m", found, written="now")
    assert "Why: two lines <script> (entry 1)" in text
    assert history.page("m", [], written="now").count("No version has served yet.") == 1
