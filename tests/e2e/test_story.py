"""The demo's story on the deployed stack: every step acts as a user would and asserts what happened."""

from __future__ import annotations

from pathlib import Path

from local.demo.narrator import Narrator
from local.demo.report import write_report
from local.demo.story import Story, play
from tests.e2e.conftest import Deployed


def test_the_story_is_true(deployed: Deployed, tmp_path: Path) -> None:
    story = Story(deployed.bench, Narrator(), tmp_path)
    play(story)
    page = write_report(story.tell.steps, story.reports, story.bench, tmp_path / "report.html").read_text()
    assert "release.rolled_back" in page
    assert story.counts["predictions"] > 1000
