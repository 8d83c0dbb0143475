"""Power tuning: the curve, and that a function is left as it was found, whatever happens in between."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mlops.aws.tuning import trials
from mlops.cost.advice import advise
from mlops.cost.lines import price_lines
from mlops.cost.prices import snapshot
from mlops.cost.tuning import Tuning, tune
from mlops.cost.tuning_page import summary, to_html
from mlops.cost.usage import FunctionUsage, Usage, Window
from mlops.errors import ConflictError, MlopsError

D = Decimal
NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)


class Lambda:
    """One function as Lambda keeps it: revisions, versions, aliases; ``work``: ms of a full processor an invocation."""

    def __init__(self, memory: int = 1024, work: float = 20.0) -> None:
        self.work = work
        self.latest: dict[str, Any] = {"MemorySize": memory, "RevisionId": "r0", "Architectures": ["x86_64"]}
        self.versions: dict[str, int] = {"3": memory}
        self.aliases = {"live": "3"}
        self.changes = self.number = 3
        self.invoked: list[str] = []
        self.broken = ""
        self.at_invocation: Any = None
        self.tail = True

    def _change(self) -> None:
        self.changes += 1
        self.latest["RevisionId"] = f"r{self.changes}"

    def get_function_configuration(self, FunctionName: str, Qualifier: str = "$LATEST") -> dict[str, Any]:
        if Qualifier == "$LATEST":
            return dict(self.latest)
        return {"MemorySize": self.versions[Qualifier], "Version": Qualifier}

    def update_function_configuration(self, FunctionName: str, MemorySize: int, RevisionId: str) -> dict[str, Any]:
        self._expect(RevisionId)
        self.latest["MemorySize"] = MemorySize
        self._change()
        return dict(self.latest)

    def publish_version(self, FunctionName: str, Description: str, RevisionId: str) -> dict[str, Any]:
        self._expect(RevisionId)
        newest = max(self.versions, key=int)
        if self.versions[newest] == self.latest["MemorySize"]:
            return {"Version": newest}  # unchanged since its last version, it is that version
        self.number += 1
        self.versions[str(self.number)] = self.latest["MemorySize"]
        self._change()
        return {"Version": str(self.number)}

    def delete_function(self, FunctionName: str, Qualifier: str) -> None:
        assert Qualifier not in self.aliases.values()
        del self.versions[Qualifier]

    def invoke(self, FunctionName: str, Qualifier: str, LogType: str, Payload: bytes) -> dict[str, Any]:
        if self.at_invocation:
            self.at_invocation(self)
        memory = self.versions[Qualifier]
        took = D(str(self.work)) / min(D(1), D(memory) / 1769)
        cold = Qualifier not in self.invoked
        self.invoked.append(Qualifier)
        billed = took.to_integral_value(rounding="ROUND_CEILING") + (300 if cold else 0)
        init = "Init Duration: 300.00 ms" if cold else ""
        report = (f"REPORT RequestId: x\tDuration: {took:.2f} ms\tBilled Duration: {billed} ms\t"
                  f"Memory Size: {memory} MB\tMax Memory Used: 90 MB\t{init}")  # fmt: skip
        tail = f"START\n{report}\n" if self.tail else ""
        answer = {"Payload": io.BytesIO(b'{"errorType": "KeyError"}' if self.broken else b"{}"),
                  "LogResult": base64.b64encode(tail.encode()).decode()}  # fmt: skip
        return answer | ({"FunctionError": self.broken} if self.broken else {})

    def get_paginator(self, name: str) -> Any:
        aliases = [{"Name": k, "FunctionVersion": v} for k, v in self.aliases.items()]
        versions = [{"Version": v} for v in ("$LATEST", *self.versions)]

        class Pages:
            def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
                yield {"Aliases": aliases, "Versions": versions}

        return Pages()

    def _expect(self, revision: str) -> None:
        if revision != self.latest["RevisionId"]:
            raise ClientError({"Error": {"Code": "PreconditionFailedException", "Message": ""}}, "x")


def run(client: Lambda, sizes: tuple[int, ...] = (512, 1024, 1769, 3008), rounds: int = 3) -> Tuning:
    return tune(
        lambda: trials("demo-predict", client, lambda seconds: None), sizes, {"task": "golden"}, rounds=rounds,
        prices=snapshot(), region="us-east-1", now=lambda: NOW,
    )  # fmt: skip


def left_alone(client: Lambda) -> bool:
    return (client.latest["MemorySize"], client.versions, client.aliases) == (1024, {"3": 1024}, {"live": "3"})


def test_the_curve_is_time_and_price_by_memory() -> None:
    client = Lambda()
    found = run(client)
    assert [p.memory_mb for p in found.points] == [512, 1024, 1769, 3008]
    assert found.fastest.memory_mb == 1769, "a full processor; 3,008 MB is no faster"
    # 20 ms of work: 35 ms at 1,024 MB (1024 / 1769 of a processor), 1 GB x 0.035 s.
    assert found.now is not None
    assert found.now.billed_ms == 35
    assert found.now.usd == D("0.035") * D("0.0000166667") * 1_000_000
    assert found.points[0].cold_ms == 370, "the first invocation started an instance, and is no warm time"
    assert found.cheapest is not None
    by_price = {p.memory_mb: D(p.memory_mb) / 1024 * p.billed_ms for p in found.points}
    assert found.cheapest.memory_mb == min(by_price, key=lambda m: by_price[m])
    assert left_alone(client)


def test_its_own_size_is_the_version_that_exists_which_is_neither_published_nor_deleted() -> None:
    client = Lambda()
    run(client, (1024,))
    assert client.invoked == ["3"] * 4
    assert left_alone(client)


class Log:
    """A log in which the report comes late, and stays."""

    def __init__(self, *messages: str) -> None:
        self.pages = [messages[:1], messages[:1], messages]

    def filter_log_events(self, logGroupName: str, startTime: int) -> dict[str, Any]:
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        return {"events": [{"message": message} for message in page]}


def test_without_a_tail_the_log_is_read_and_no_report_is_taken_twice() -> None:
    client = Lambda()
    client.tail = False
    report = "REPORT RequestId: x\tDuration: 7 ms\tBilled Duration: 7 ms\tMemory Size: 512 MB\tMax Memory Used: 0 MB"
    with trials("demo-predict", client, lambda seconds: None, Log("START", report)) as (_, made):
        version = made.publish(512)
        assert made.invoke(version, {}).billed_ms == 7
        with pytest.raises(MlopsError, match="nor in the log"):
            made.invoke(version, {})
    assert left_alone(client)


def test_everything_is_put_back_when_the_function_fails() -> None:
    client = Lambda()
    client.broken = "Unhandled"
    with pytest.raises(MlopsError, match="KeyError"):
        run(client)
    assert left_alone(client)


def test_a_deployment_in_between_is_not_overwritten() -> None:
    client = Lambda()

    def deploy(self: Lambda) -> None:
        self.latest["MemorySize"] = 2048
        self._change()
        self.at_invocation = None

    client.at_invocation = deploy
    with pytest.raises(ConflictError, match="its memory stays at 2048 MB"):
        run(client)
    assert client.latest["MemorySize"] == 2048
    assert client.versions == {"3": 1024}, "the trial versions are gone all the same"


def test_a_version_that_somebody_put_to_use_is_not_deleted() -> None:
    client = Lambda()

    def move(self: Lambda) -> None:
        self.aliases["live"] = max(self.versions, key=int)

    client.at_invocation = move
    with pytest.raises(ConflictError, match="alias live"):
        run(client, (512,))
    assert client.aliases["live"] in client.versions


@pytest.mark.parametrize(("sizes", "rounds"), [((), 1), ((64,), 1), ((20_000,), 1), ((512,), 0)])
def test_sizes_that_lambda_does_not_have(sizes: tuple[int, ...], rounds: int) -> None:
    client = Lambda()
    with pytest.raises(MlopsError, match=r"memory sizes|rounds"):
        run(client, sizes, rounds)
    assert client.invoked == []


def test_the_page_has_both_curves_and_the_summary_the_saving() -> None:
    found = run(Lambda())
    page = to_html(found, "A note.").decode()
    assert page.count("<svg") == 2
    assert "A note." in page
    assert "is cheapest" in summary(found)
    unpriced = replace(found, points=tuple(replace(p, usd=None) for p in found.points), price=None)
    assert "no price is known" in summary(unpriced)
    assert unpriced.cheapest is None
    json.dumps(unpriced.to_dict())


def test_the_report_advises_by_what_was_measured() -> None:
    """Work that waits and does not compute: the smallest size costs least."""
    client = Lambda(work=0)
    tuning = run(client, (512, 1024)).to_dict()
    tuning["points"] = [
        {**p, "usd_per_million": usd} for p, usd in zip(tuning["points"], ("0.25", "0.50"), strict=True)
    ]
    window = Window(datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 22, tzinfo=UTC))
    predict = FunctionUsage("predict", 1024, "x86_64", 250_000, 0, 0, D(450_000), D(750_000), "hand", 0, 140, 0, 1000)
    usage = Usage("demo", "us-east-1", window, (predict,))
    lines = price_lines(usage.all_quantities(), snapshot(), "us-east-1")
    advice = next(
        a for a in advise(usage, lines, snapshot(), tunings={"predict": tuning}) if a.topic == "memory of predict"
    )
    assert advice.change == "set its memory to 512 MB instead of 1024 MB"
    assert advice.saving is not None
    assert abs(advice.saving - 750 * D("0.0000166667") * 730 / 24 / 2) < D("1e-12")
    elsewhere = {"predict": {**tuning, "points": tuning["points"][:1]}}
    assert not [a for a in advise(usage, lines, snapshot(), tunings=elsewhere) if a.topic == "memory of predict"]
