"""Every page for people in a real browser: no errors, no request to anywhere, no sideways scrolling on a phone."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest

from local.demo.narrator import Narrator
from local.demo.report import write_report
from mlops.cost.estimate import estimate
from mlops.cost.estimate_page import to_html
from mlops.inference import page as docs
from mlops.registry.entities import LedgerDraft
from tests.fakes import MemoryLedger, MemoryObjects
from tests.integration.browser.headless import Browser, browser, program

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(program() is None, reason="no Chromium or Chrome is installed"),
]
ROOT = Path(__file__).parents[3]
PHONE, DESK = 360, 1280
LONG = "a_column_with_a_very_long_name_that_has_no_place_to_break_whatever_the_browser_does_" * 2


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def ingest() -> str:
    from tests.unit.data.test_ingest_uploads import BAD, GOOD, World

    world = World()
    world.take(GOOD + BAD.partition(b"\n")[2] + f"9,{LONG},no\n".encode())
    return newest(world.objects, "reports/ingest/")


def drift() -> str:
    from tests.unit.drift.test_drift_check import MODEL, World

    world = World()
    for day in range(4):
        world.capture(300, shift=0.3 * day, seed=day + 2)
        world.check.window(MODEL)
        world.clock.forward(hours=24)
    return newest(world.data, "reports/drift/")


def quality() -> str:
    from tests.unit.quality.test_quality_check import World

    with TemporaryDirectory() as folder:
        rules = [{"attribute": "region", "metric": "accuracy_difference", "bound": 0.1}]
        world = World(Path(folder), gates={"fairness": rules})
        rows = world.traffic(300)
        truth = world.truth(rows)
        wrong = [r["region"] == "south" and r["z"] > 0 for r in rows]
        world.run()
        world.label([{"yes": "no", "no": "yes"}[y] if w else y for y, w in zip(truth, wrong, strict=True)])
        world.run()
    return newest(world.data, "reports/quality/")


def drift_history() -> str:
    from datetime import timedelta

    from tests.unit.drift.test_drift_check import MODEL, World

    world = World()
    until = world.clock()
    for days_ago in range(6):
        world.capture(150, shift=0.3 * (6 - days_ago), hours_ago=24 * days_ago + 12, seed=days_ago + 3)
        end = until - timedelta(days=days_ago)
        world.check.past(MODEL, end - timedelta(days=1), end)
    return world.data.get(world.check.timeline(MODEL, until - timedelta(days=6), until, 24.0)["report_key"]).decode()


def evaluation() -> str:
    from tests.unit.evaluation.test_evaluate_service import World

    world = World()
    version = world.train()
    world.evaluate(version)
    page: str = world.file(version, "evaluation.html").decode()
    return page


def model_card() -> str:
    from tests.unit.evaluation.test_model_card import judged

    return judged("binary")[1]


def release() -> str:
    from dataclasses import replace

    from tests.unit.release.test_release_quality import Labelled

    labelled = Labelled()
    state = replace(labelled.world.start("b"), reason=LONG)
    list(labelled.world.walk(state, labelled.traffic([0.7, 0.3], late=True)))
    return newest(labelled.world.data, "reports/release/")


def cost() -> str:
    from mlops.cost.billing import NoBilling
    from mlops.cost.money import decimal
    from mlops.cost.prices import snapshot
    from mlops.cost.reporter import Reporter
    from tests.fakes import Clock, MemoryRegistry
    from tests.unit.cost.test_cost_function import Meter

    clock, objects = Clock(), MemoryObjects()
    made = Reporter(
        stack="demo", region="us-east-1", meter=Meter(), prices=snapshot(), free=snapshot().free, bills=NoBilling(),
        registry=MemoryRegistry(clock), ledger=MemoryLedger(clock), objects=objects, clock=clock,
        budget=decimal("5", "budget"), notes=(LONG,),
    )  # fmt: skip
    made.daily()
    return newest(objects, "reports/cost/")


def tuning() -> str:
    from mlops.cost import tuning_page
    from tests.unit.cost.test_cost_tuning import Lambda, run

    return tuning_page.to_html(run(Lambda()), LONG).decode()


def cost_estimate() -> str:
    return to_html(estimate(str(ROOT / "template.yaml"), requests_per_month=1_000_000, rows=1)).decode()


def demo(folder: Path) -> str:
    narrator, ledger = Narrator(), MemoryLedger()
    with narrator.step("A file comes in"):
        narrator.fact("rows", 569)
        narrator.fact(LONG, LONG)
    for number in range(5):
        ledger.append(LedgerDraft("user:demo", "version.registered", f"model/{LONG}", "why " * 30, f"done {number}"))
    bench: Any = SimpleNamespace(ledger=ledger, data=MemoryObjects())
    return write_report(narrator.steps, {}, bench, folder / "demo-report.html").read_text(encoding="utf-8")


def newest(objects: MemoryObjects, prefix: str) -> str:
    return objects.get([i.key for i in objects.list(prefix) if i.key.endswith(".html")][-1]).decode()


PAGES: dict[str, Callable[[], str]] = {
    "ingest": ingest, "drift": drift, "quality": quality, "evaluation": evaluation,
    "model card": model_card, "release": release, "cost": cost,
    "cost estimate": cost_estimate, "tuning": tuning, "drift history": drift_history,
}  # fmt: skip


@pytest.mark.parametrize("kind", [*PAGES, "demo"])
def test_a_report_opens_anywhere(kind, tab, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(demo(tmp_path) if kind == "demo" else PAGES[kind](), encoding="utf-8")
    for width, dark in ((PHONE, False), (DESK, True)):
        seen = tab.show(path.as_uri(), width, dark)
        assert len(seen.title) > 5
        assert seen.title in " ".join(seen.text.split()), "the title is the heading, too"
        assert len(seen.text) > 200
        assert seen.problems == []
        assert seen.requests == [path.as_uri()], "a report is one file"
        assert seen.overflowing == []
        assert seen.width <= width


def test_what_the_gates_found_is_read_without_scrolling_sideways(tab, tmp_path):
    path = tmp_path / "card.html"
    path.write_text(model_card(), encoding="utf-8")
    places = "[...document.querySelectorAll('table.stack td')].map(cell => cell.getBoundingClientRect())"
    for width, columns in ((PHONE, False), (DESK, True)):
        tab.show(path.as_uri(), width)
        assert tab.run(f"Math.max(...{places}.map(place => place.right))") <= width
        first, last = tab.run(f"{places}.slice(0, 3).map(place => [place.left, place.top, place.width])")[::2]
        assert (first[1] == last[1]) is columns, "on a phone the sentence stands below"
        assert last[2] > width / 2


def test_figures_are_drawn(tab, tmp_path):
    path = tmp_path / "drift.html"
    path.write_text(drift(), encoding="utf-8")
    tab.show(path.as_uri(), PHONE)
    sizes = tab.run("[...document.querySelectorAll('svg')].map(s => Math.min(s.clientWidth, s.clientHeight))")
    assert len(sizes) > 1
    assert min(sizes) > 50
    dark = [
        tab.show(path.as_uri(), DESK, d) and tab.run("getComputedStyle(document.body).color") for d in (False, True)
    ]
    assert dark[0] != dark[1], "the page follows the reader's theme"


def test_the_browser_sees_what_must_not_be(tab, tmp_path):
    """These checks can fail: a page that does everything wrong."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<!doctype html><meta name='viewport' content='width=device-width'><title>Bad page</title>"
        "<img src='absent.png'><div style='width:900px'>wide</div>"
        "<script>console.error('oh')</script>"
    )
    seen = tab.show(path.as_uri(), PHONE)
    assert any("oh" in problem for problem in seen.problems)
    assert len(seen.requests) == 2
    assert seen.overflowing
    assert seen.width > PHONE


class Door(http.server.BaseHTTPRequestHandler):
    """The page at ``/docs`` as predict answers it; everything else wants a token."""

    def do_GET(self) -> None:
        wanted = self.path == "/v1/docs"
        body = (
            docs.PAGE.encode()
            if wanted
            else b'{"error": {"code": "unauthorized", "message": "A valid token is needed"}}'
        )
        self.send_response(200 if wanted else 401 if self.path != "/favicon.ico" else 204)
        for name, value in (docs.HEADERS if wanted else {"Content-Type": "application/json"}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing to the terminal."""


def test_the_page_of_the_api(tab):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/v1/docs"
        seen = tab.show(url, PHONE)
        assert seen.title == "Predictions"
        assert seen.problems == []
        assert [r for r in seen.requests if not r.endswith("/favicon.ico")] == [url]
        assert seen.overflowing == []
        assert seen.width <= PHONE
        tab.run("document.getElementById('token').value = 'wrong'; document.getElementById('load').click()")
        tab.wait("document.getElementById('state').textContent.length > 0")
        tab.wait("!document.getElementById('state').textContent.includes('…')")
        assert tab.run("document.getElementById('models').children.length") == 0
        assert {r.split("/")[2] for r in tab.requests()} == {f"127.0.0.1:{server.server_port}"}
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_page_shows_models_and_predicts(tab, tmp_path):
    from tests.integration.inference.http_door import served
    from tests.unit.inference.small_models import application, two_models

    two_models(tmp_path)
    with served(application(tmp_path), guarded=True) as address:
        seen = tab.show(f"http://{address}/docs", PHONE)
        assert seen.problems == []
        tab.run("document.getElementById('token').value = 'any'; document.getElementById('load').click()")
        tab.wait("document.querySelectorAll('section').length === 2")
        tab.run("document.querySelector('section button').click()")
        tab.wait("document.querySelector('section pre').textContent.startsWith('200')")
        assert "malignant" in tab.run("document.querySelector('section pre').textContent")
        assert tab.run("document.documentElement.scrollWidth") <= PHONE
        assert {r.split("/")[2] for r in tab.requests()} == {address}
