"""Many files are one upload: the same rows give the same, however they lie in files, and nothing counts twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops.bulk import comparing, entities
from mlops.bulk.entities import Bulk, FileOutcome, dump
from mlops.bulk.planning import MAX_FILES
from mlops.contract import Checks, Contract, Rule, Target
from mlops.data.intake import Upload
from mlops.features.spec import Feature
from tests.unit.bulk.world import Broken, World

CONTRACT = Contract(
    "shop",
    "classification",
    Target("bought", ("no", "yes")),
    (
        Feature("age", "integer", minimum=0, maximum=120),
        Feature("weight", "number", nullable=True),
        Feature("town", "category", nullable=True, categories=("Rome", "Oslo", "Lima"), on_unknown="other"),
    ),
    key=("who",),
    timestamp="seen",
    checks=Checks(
        max_bad_share=1.0, completeness={"weight": 0.9}, min_class_share=0.45, max_age_days=10.0, leakage=0.5
    ),
    rules=(Rule("age < 100 or weight > 0", "quarantine"),),
)
HEADER = "who,seen,age,weight,town,bought\n"


def line(row: tuple[Any, ...]) -> str:
    who, day, age, weight, town, bought = row
    return f"W{who},2026-02-{day:02d},{age},{'' if weight is None else weight},{town or ''},{bought}\n"


def csv(rows: list[tuple[Any, ...]]) -> bytes:
    return (HEADER + "".join(map(line, rows))).encode()


ROWS = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.integers(1, 3),
        st.integers(-2, 9).map(lambda n: n if n < 9 else 119),
        st.one_of(st.none(), st.integers(-9, 9).map(lambda n: n / 4)),
        st.sampled_from([None, "Rome", "Oslo", "Lima", "Atlantis"]),
        st.sampled_from(["no", "yes", "perhaps"]),
    ),
    min_size=1,
    max_size=60,
)


def told(world: World, result: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on how rows lie in files."""
    report = world.report(result)
    findings = Counter[Any]()
    for f in report["findings"]:
        findings[(f["code"], f["column"], f["severity"], f["message"] if f["code"] != "duplicate_row" else "")] += f[
            "count"
        ]
    current = world.registry.current_dataset("shop")
    statistics = [
        world.objects.get(f"datasets/shop/parts/{p}/{name}")
        for p in (current.parts if current else ())
        for name in ("statistics.json", "constraints.json")
    ]
    return {
        "status": result["status"],
        "version": result["dataset_version"],
        "rows": result["rows"],
        "findings": findings,
        "profile": report["columns"] if result["status"] != "rejected" else [],
        "statistics": statistics,
        "dataset": (current.version, current.rows, current.new_rows) if current else None,
    }


@given(
    before=st.lists(st.integers(0, 59), max_size=8),
    rows=ROWS,
    files=st.lists(st.integers(0, 4), min_size=60, max_size=60),
    shuffled=st.randoms(),
)
@settings(deadline=None, max_examples=20)
def test_many_files_are_as_one_with_all_their_rows(
    before: list[int], rows: list[tuple[Any, ...]], files: list[int], shuffled: Any
) -> None:
    """Version, statistics, counts and findings of any split, in any order, are those of one file with all rows."""
    one, many = World(CONTRACT), World(CONTRACT)
    known = [rows[i] for i in before if i < len(rows)]
    for world in (one, many):
        if known:
            world.alone(csv(known), "earlier.csv")
    single = one.alone(csv(rows)).to_dict()
    split: dict[str, list[tuple[Any, ...]]] = {}
    for row, file in zip(rows, files, strict=False):
        split.setdefault(f"{file}.csv", []).append(row)
    for part in split.values():
        shuffled.shuffle(part)
    together = many.take({name: csv(part) for name, part in split.items()})
    assert told(many, together) == told(one, single)
    assert together["parts"] == ([single["part_id"]] if single["part_id"] else [])


def months(count: int = 12, rows: int = 40) -> dict[str, list[tuple[Any, ...]]]:
    """Files of usual rows, all different."""
    return {
        f"2025-{m:02d}.csv": [
            (
                100 * m + i,
                1 + i % 9,
                20 + (7 * i + m) % 60,
                (i * m % 17) / 4,
                ("Rome", "Oslo", "Lima")[i % 3],
                ("no", "yes")[i % 2],
            )
            for i in range(rows)
        ]
        for m in range(1, count + 1)
    }


@pytest.mark.parametrize("duplicates", ["quarantine", "allow"])
def test_a_large_upload_has_several_parts_and_the_same_version(
    monkeypatch: pytest.MonkeyPatch, duplicates: Any
) -> None:
    """Parts share the bins of the whole: their counts add up to the statistics that one part would have."""
    monkeypatch.setattr(comparing, "PART_ROWS", 100)
    monkeypatch.setattr(comparing, "SAMPLE_ROWS", 90)
    monkeypatch.setattr("mlops.data.ingest.SAMPLE_ROWS", 90)
    monkeypatch.setattr(entities, "FIRST_CHUNK", 8)
    contract = replace(CONTRACT, checks=replace(CONTRACT.checks, duplicates=duplicates))
    one, many = World(contract), World(contract)
    files = months()
    everything = [row for rows in files.values() for row in rows]
    single = one.alone(csv(everything)).to_dict()
    together = many.take({name: csv(rows) for name, rows in files.items()})
    assert len(together["parts"]) == 6
    assert (together["dataset_version"], together["rows"]) == (single["dataset_version"], single["rows"])
    stem = together["report_key"].removesuffix("html")
    for name in ("statistics.json", "constraints.json"):
        assert many.objects.get(stem + name) == one.objects.get(f"datasets/shop/parts/{single['part_id']}/{name}")
    whole = many.objects.json(stem + "statistics.json")
    parts = [many.objects.json(f"datasets/shop/parts/{p}/statistics.json") for p in together["parts"]]
    assert sum(p["dataset"]["item_count"] for p in parts) == whole["dataset"]["item_count"] == 480
    for i, feature in enumerate(whole["features"]):
        if "numerical_statistics" in feature:
            bins = [p["features"][i]["numerical_statistics"]["distribution"]["kll"]["buckets"] for p in parts]
            assert [sum(b["count"] for b in same) for same in zip(*bins, strict=True)] == [
                b["count"] for b in feature["numerical_statistics"]["distribution"]["kll"]["buckets"]
            ]
    assert {f["code"] for f in many.report(together)["findings"]} == {f["code"] for f in one.report(single)["findings"]}


def test_one_bad_file_does_not_lose_the_others() -> None:
    world, files = World(CONTRACT), {name: csv(rows) for name, rows in months(6).items()}
    files["2025-02.csv"] = b"\x89PNG\r\n\x1a\n\0\0"
    files["2025-05.csv"] = files["2025-04.csv"] + b"W9,2026-02-01,-5,1,Rome,no\n"
    result = world.take(files)
    assert (result["status"], result["files"]) == (
        "partial", {"total": 6, "accepted": 4, "partial": 1, "rejected": 1, "failed": 0},
    )  # fmt: skip
    assert result["rows"] == {"read": 201, "accepted": 160, "quarantined": 41, "new": 160}
    ((failed),) = result["failures"]
    assert (failed["key"].rsplit("/", 1)[-1], failed["code"]) == ("2025-02.csv", "not_a_table")
    lines = {f["key"].rsplit("/", 1)[-1]: f for f in world.report(result)["files"]}
    assert {n: (f["read"], f["new"], f["repeated"], f["quarantined"]) for n, f in lines.items()} == {
        "2025-01.csv": (40, 40, 0, 0), "2025-02.csv": (0, 0, 0, 0), "2025-03.csv": (40, 40, 0, 0),
        "2025-04.csv": (40, 40, 0, 0), "2025-05.csv": (41, 0, 40, 1), "2025-06.csv": (40, 40, 0, 0),
    }  # fmt: skip
    apart = f"quarantine/shop/{result['upload_id']}/"
    assert world.objects.get(f"{apart}{lines['2025-02.csv']['upload_id']}/file") == files["2025-02.csv"]
    kept = json.loads(world.objects.get(f"{apart}{lines['2025-05.csv']['upload_id']}/rows.jsonl"))
    assert kept["values"]["age"] == "-5"
    repeats = [json.loads(x) for x in world.objects.get(f"{apart}rows.jsonl").splitlines()]
    assert len(repeats) == 40
    assert all(r["file"].endswith("05.csv") and r["same_as"]["file"].endswith("04.csv") for r in repeats)
    assert all(r["row"] == r["same_as"]["row"] for r in repeats)
    page = world.objects.get(result["report_key"]).decode()
    assert "2025-02.csv" in page
    assert "The file looks like an image" in page
    assert world.objects.get(lines["2025-02.csv"]["report_key"])
    assert world.ledger.actions() == ["upload.partial"]
    assert [kind for kind, _ in world.events.put_events] == ["UploadQuarantined"]
    (record,) = world.registry.records("shop", "upload")
    assert record.body == result


def test_too_many_bad_files_and_nothing_is_taken() -> None:
    world, files = World(CONTRACT), {name: csv(rows) for name, rows in months(4).items()}
    files |= {"2025-02.csv": b"", "2025-03.csv": b"who,seen\nW1,2026-02-01\n"}
    result = world.take(files)
    assert (result["status"], result["reasons"][0]["code"]) == ("rejected", "too_many_failed_files")
    assert "2 of 4 files were rejected (50%)" in result["explanation"]
    assert world.registry.current_dataset("shop") is None
    assert not any(k.startswith("datasets/") for k in world.objects.versions)
    assert len(world.report(result)["files"]) == 4
    assert world.ledger.actions() == ["upload.rejected"]
    reason = world.objects.json(f"quarantine/shop/{result['upload_id']}/reason.json")
    assert len(reason["files"]) == 4
    # The same files with another tolerance are another upload.
    assert world.again("bulk/shop/history/", max_failed=0.5)["rows"]["new"] == 80


def test_what_the_whole_shows_can_reject_the_whole() -> None:
    checks = replace(CONTRACT.checks, severity={"balance": "reject"}, min_class_share=0.2, min_rows=100)
    world = World(replace(CONTRACT, checks=checks))
    one_sided = {n: [(*row[:5], "no") for row in rows] for n, rows in months(4).items()}
    result = world.take({n: csv(rows) for n, rows in one_sided.items()})
    assert (result["status"], result["reasons"][0]["code"]) == ("rejected", "balance")
    assert not any(k.startswith("datasets/") for k in world.objects.versions)
    few = world.take({n: csv(rows) for n, rows in months(2, 40).items()}, folder="few")
    assert (few["status"], few["reasons"][0]["code"]) == ("rejected", "too_few_rows"), "80 of 100"
    enough = world.take({n: csv(rows) for n, rows in months(3, 40).items()}, folder="enough")
    assert enough["status"] == "accepted", "no file has a hundred rows; together they do"


def test_conflicting_labels_across_files_name_both() -> None:
    world = World(CONTRACT)
    files = months(3)
    who, day, *rest = files["2025-01.csv"][4]
    files["2025-03.csv"][7] = (who, day, *rest[:3], "yes" if rest[3] == "no" else "no")
    result = world.take({n: csv(rows) for n, rows in files.items()})
    (found,) = (f for f in world.report(result)["findings"] if f["code"] == "conflicting_labels")
    assert (found["count"], found["examples"]) == (2, ["2025-01.csv row 5", "2025-03.csv row 8"])


@pytest.mark.parametrize("writes", range(0, 60, 3))
def test_killed_anywhere_and_started_again_it_has_one_effect(writes: int) -> None:
    """The process dies at its n-th write; a second run ends as if nothing had happened."""
    whole, broken = World(CONTRACT), World(CONTRACT)
    files = {n: csv(rows) for n, rows in months(3).items()}
    files["2025-03.csv"] += b"W9,2026-02-01,-5,1,Rome,no\n"
    expected = whole.take(files)
    prefix, left = broken.put(files), [writes]

    def dying(method: Any) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            if left[0] == 0:
                raise Broken
            left[0] -= 1
            return method(*args, **options)

        return call

    originals = [
        (broken.objects, "put"), (broken.registry, "advance_dataset"), (broken.registry, "put_record"),
        (broken.ledger, "append"), (broken.events, "put"),
    ]  # fmt: skip
    kept = [getattr(thing, name) for thing, name in originals]
    for (thing, name), method in zip(originals, kept, strict=True):
        setattr(thing, name, dying(method))
    died = False
    try:
        broken.again(prefix)
    except Broken:
        died = True
    for (thing, name), method in zip(originals, kept, strict=True):
        setattr(thing, name, method)
    result = broken.again(prefix)
    assert died == (left[0] == 0)
    assert result == expected
    assert broken.ledger.actions() == ["upload.partial"]
    assert len(broken.registry.records("shop", "upload")) == 1
    assert broken.registry.current_dataset("shop") == whole.registry.current_dataset("shop")
    events = len(broken.events.put_events)
    assert events == 1 or (died and events == 2), "an event can come twice, but is not lost"


def test_the_same_upload_again_gives_its_result_and_changes_nothing() -> None:
    world, files = World(CONTRACT), {n: csv(rows) for n, rows in months(3).items()}
    first = world.take(files)
    before = dict(world.objects.versions)
    assert world.again("bulk/shop/history/") == first
    assert world.objects.versions == before
    assert world.ledger.actions() == ["upload.accepted"]
    again = world.take(files, folder="copy")
    assert (again["status"], again["rows"]["new"], again["dataset_version"]) == (
        "duplicate", 0, first["dataset_version"],
    )  # fmt: skip
    # Under another contract the same files are looked at anew.
    world.registry.put_contract(replace(CONTRACT, checks=replace(CONTRACT.checks, min_rows=7)))
    assert world.again("bulk/shop/history/")["upload_id"] != first["upload_id"]


def test_two_uploads_at_once_share_rows_and_count_them_once() -> None:
    """The second one finds that the data set has moved, and compares again."""
    world, files = World(CONTRACT), months(4)
    other = {n: csv(rows) for n, rows in list(files.items())[2:]}
    mine = {n: csv(rows) for n, rows in list(files.items())[:3]}
    done: list[dict[str, Any]] = []

    def meanwhile(task: str) -> None:
        if task == "finish" and not done:
            done.append({})
            done[0] = world.take(other, folder="other")

    world.before = meanwhile
    result = world.take(mine)
    assert (done[0]["rows"]["new"], result["rows"]["new"]) == (80, 80)
    current = world.registry.current_dataset("shop")
    assert current is not None
    assert (current.rows, len(current.parts)) == (160, 2)
    whole = World(CONTRACT).alone(csv([row for rows in files.values() for row in rows]))
    assert current.version == whole.dataset_version


def test_overwritten_deleted_and_added_while_it_runs() -> None:
    """Every file is read in the version that was listed; what happened since is told."""
    world, files = World(CONTRACT), {n: csv(rows) for n, rows in months(4).items()}
    prefix = world.put(files)

    def meanwhile(task: str) -> None:
        if task == "file" and len(world.objects.versions[prefix + "2025-01.csv"]) == 1:
            world.objects.put(prefix + "2025-01.csv", b"something else")
            world.objects.put(prefix + "2025-09.csv", files["2025-01.csv"])
            world.objects.delete(prefix + "2025-04.csv")

    world.before = meanwhile
    result = world.again(prefix)
    assert (result["status"], result["rows"]["new"]) == ("partial", 120)
    assert [f["code"] for f in result["failures"]] == ["object_missing"]
    notes = world.report(result)["notes"]
    assert [n.split(":")[0] for n in notes] == [
        f"since the upload began, 1 objects were {what}" for what in ("overwritten", "deleted", "added")
    ]


def test_a_function_that_breaks_on_a_file_loses_that_file_alone() -> None:
    world, files = World(CONTRACT), {n: csv(rows) for n, rows in months(5).items()}
    check = world.check

    def breaking(bulk: Any, file: Any) -> None:
        if file["key"].endswith("03.csv"):
            world.do("file_failed", bulk=bulk, file=file, error={"Error": "Runtime.ExitError", "Cause": "secret"})
        else:
            check(bulk, file)

    world.check = breaking  # type: ignore[method-assign]
    result = world.take(files)
    assert (result["status"], result["rows"]["new"], result["files"]["failed"]) == ("partial", 160, 1)
    assert "secret" not in json.dumps(world.report(result))
    # When functions break on many files, that is no property of the files: the run fails and may be started again.
    world.check = lambda bulk, file: None  # type: ignore[method-assign]
    with pytest.raises(Exception, match="functions broke on 5 of 5 files"):
        world.take({n: body + b"\n" for n, body in files.items()}, folder="other")
    world.check = check  # type: ignore[method-assign]
    assert world.again("bulk/shop/other/")["rows"]["new"] == 40


def test_where_equal_rows_count_a_file_sent_twice_does_not() -> None:
    """``duplicates: allow``: rows may repeat over files, but a file that equals another is the same delivery."""
    contract = replace(CONTRACT, checks=replace(CONTRACT.checks, duplicates="allow"))
    world, files = World(contract), {n: csv(rows) for n, rows in months(3).items()}
    first = months(1)["2025-01.csv"]
    assert world.alone(files["2025-01.csv"]).rows.new == 40
    result = world.take({**files, "2025-02 (1).csv": files["2025-02.csv"], "2025-04.csv": csv([*first, *first[:5]])})
    assert result["rows"]["new"] == 40 + 40 + 45
    why = {f["key"].rsplit("/", 1)[-1]: f["why"] for f in world.report(result)["files"]}
    assert [n for n, text in why.items() if "sent twice" in text] == ["2025-01.csv", "2025-02.csv"]
    assert world.alone(files["2025-03.csv"], "3.csv").status == "duplicate", "it was part of an upload of many files"
    again = world.take(files, folder="again")
    assert (again["status"], again["rows"]["new"]) == ("duplicate", 0)


REFUSED = {
    "another model's folder": ("shop", "bulk/other/x/", "is not where files of 'shop' are read from"),
    "quarantine": ("shop", "quarantine/shop/x/", "is quarantine"),
    "no prefix": ("shop", "", "is not where files"),
    "no such model": ("bakery", "bulk/bakery/x/", "Models with a contract: shop"),
}


@pytest.mark.parametrize(("model", "prefix", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_at_once(model: str, prefix: str, text: str) -> None:
    world = World(CONTRACT)
    world.put({"a.csv": csv(months(1)["2025-01.csv"])})
    result = world.again(prefix, model=model)
    assert result["status"] == "refused"
    assert text in result["explanation"]


def test_nothing_there_and_too_much() -> None:
    world = World(CONTRACT)
    world.put({".hidden": b"x", "_SUCCESS": b""})
    assert world.again("bulk/shop/history/") == {
        "status": "nothing", "explanation": "there is no file at s3://data/bulk/shop/history/",
    }  # fmt: skip
    world.put({f"{i}.csv": b"x" for i in range(MAX_FILES + 1)}, "much")
    assert "10,001 files" in world.again("bulk/shop/much/")["explanation"]
    assert "from 0 to 1" in world.again("bulk/shop/history/", max_failed=3)["explanation"]
    assert world.do("sweep")["status"] == "invalid"


def test_a_thousand_files() -> None:
    """One data-set version, one entry, one event; the result stays within a state machine's payload."""
    world = World(CONTRACT)
    bodies = [csv([(2 * i + k, 1, i + 9 * k, 1.5, "Rome", ("no", "yes")[k]) for k in (0, 1)]) for i in range(10)]
    files = {f"{i:04d}.csv": bodies[i % 10] for i in range(1000)} | {"0500.csv": b""}
    check = world.check

    def quick(bulk: Any, file: Any) -> None:
        """Of files that are equal only the first is read: what is found of the others is the same."""
        number = int(file["number"])
        if number < 10 or number == 500:
            check(bulk, file)
            return
        pinned = Bulk.from_dict(bulk)
        first, upload = (
            Upload(**{name: lines[i][name] for name in Upload.__dataclass_fields__}) for i in (number % 10, number)
        )
        found = FileOutcome.from_dict(world.objects.json(f"{pinned.file_prefix(first)}file.json"))
        outcome = replace(found, upload=upload, number=number)
        world.objects.put(f"{pinned.file_prefix(upload)}file.json", dump(outcome.to_dict()))

    plan = world.do("plan", request={"model": "shop", "prefix": world.put(files)})
    lines = [json.loads(line) for line in world.objects.get(plan["files_key"]).splitlines()]
    world.check = quick  # type: ignore[method-assign]
    result = world.again("bulk/shop/history/")
    assert (result["status"], result["files"]["total"], result["files"]["rejected"]) == ("partial", 1000, 1)
    assert result["rows"] == {"read": 1998, "accepted": 20, "quarantined": 1978, "new": 20}
    assert len(result["parts"]) == 1
    assert len(json.dumps(result)) < 20_000
    assert len(world.report(result)["files"]) == 1000
    assert len(world.ledger.actions()) == len(world.events.put_events) == 1
