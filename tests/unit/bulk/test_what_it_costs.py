"""What documents say a thousand files cost, by requests that are counted and prices that are in the estimate."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from mlops.cost.prices import snapshot
from tests.unit.bulk.test_bulk_uploads import CONTRACT, csv, months
from tests.unit.bulk.world import World

#: Requests of S3 by what is asked of the store in memory, where a file goes up by ``put`` and comes down by ``get``. A
#: download looks first how large the object is.
REQUESTS = {"put": "put", "get": "get", "exists": "get", "download": "get"}
#: States that a child execution enters, and its start.
TRANSITIONS = 3
SECONDS, GIGABYTES = 2, 2


def counted(files: int) -> Counter[str]:
    world, found = World(CONTRACT), Counter[str]()
    bodies = {name: csv(rows) for name, rows in months(files).items()}
    prefix = world.put(bodies)

    def counting(name: str, method: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            found[REQUESTS[name]] += 1
            return method(*args, **options)

        return call

    for name in REQUESTS:
        setattr(world.objects, name, counting(name, getattr(world.objects, name)))
    world.again(prefix)
    return found


def test_a_thousand_files_cost_what_the_documents_say() -> None:
    few, many = counted(10), counted(20)
    each = {kind: (many[kind] - few[kind]) / 10 for kind in ("put", "get")}
    prices = snapshot()

    def usd(key: str, amount: float) -> Decimal:
        return 1000 * Decimal(str(amount)) * prices.price(key, "us-east-1").tiers[0].usd

    lines = {
        "state transitions": usd("stepfunctions.transitions", TRANSITIONS),
        "S3 writes": usd("s3.put_requests", each["put"] + 1),  # and the upload itself
        "S3 reads": usd("s3.get_requests", each["get"]),
        "Lambda": usd("lambda.gb_seconds", SECONDS * GIGABYTES) + usd("lambda.requests", 1),
    }
    text = (Path(__file__).parents[3] / "docs" / "bring-your-own-data.md").read_text()
    for name, amount in lines.items():
        assert f"| {name} |" in text
        row = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
        assert row.endswith(f"| {amount:.3f} |"), (row, amount)
    assert f"| **Together** | | **{sum(lines.values()):.2f}** |" in text
    assert f"{each['put'] + 1:g} each" in text
    assert f"{each['get']:g} each" in text
