"""From JSON records to a float32 matrix, and from scores to JSON: every way that was weighed, against each other.

    python -m benchmarks.predict.json_arrays [--rounds 30]

Prints microseconds (the least of interleaved rounds) for 1, 100 and 1000 records of ten features. Every way must give
the same matrix, or JSON with the same values, before it is timed. Writes `.cache/bench/json_arrays.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import timeit
from array import array
from collections.abc import Callable
from itertools import chain
from operator import itemgetter
from struct import Struct
from typing import Any

import numpy as np

from benchmarks.predict.environments import CACHE, HERE, ROOT, install

COUNTS = (1, 100, 1000)
NAMES = tuple(f"feature {i}" for i in range(10))


def ways(rows: int) -> dict[str, dict[str, Callable[[], Any]]]:
    """Per step: name of a way -> what to time. Checks that all ways of a step agree."""
    import msgspec  # noqa: PLC0415 - this runs in an environment of its own
    import orjson  # noqa: PLC0415

    values = np.random.default_rng(1).normal(50, 20, (rows, len(NAMES))).round(3)
    text = json.dumps([dict(zip(NAMES, row, strict=True)) for row in values.tolist()])
    records = orjson.loads(text)
    pick = itemgetter(*NAMES)
    struct_type = msgspec.defstruct("Record", [(f"f{i}", float, msgspec.field(name=n)) for i, n in enumerate(NAMES)])
    typed = msgspec.json.Decoder(list[struct_type])  # type: ignore[valid-type]
    plain = msgspec.json.Decoder()
    packed = Struct(f"{rows * len(NAMES)}f")
    shape = (rows, len(NAMES))

    def by_array() -> Any:
        flat = array("d", tuple(chain.from_iterable(map(pick, records))))
        return np.frombuffer(flat).astype(np.float32).reshape(shape)

    def by_columns() -> Any:
        matrix = np.empty(shape, np.float32)
        for i, name in enumerate(NAMES):
            matrix[:, i] = [record[name] for record in records]
        return matrix

    parse = {
        "orjson": lambda: orjson.loads(text),
        "msgspec": lambda: plain.decode(text),
        "msgspec, typed": lambda: typed.decode(text),
        "json": lambda: json.loads(text),
    }
    matrix = {
        "array('d')": by_array,
        "struct.pack": lambda: np.frombuffer(packed.pack(*chain.from_iterable(map(pick, records))), np.float32).reshape(
            shape
        ),
        "np.fromiter": lambda: np.fromiter(chain.from_iterable(map(pick, records)), np.float32).reshape(shape),
        "np.array of rows": lambda: np.array([pick(r) for r in records], np.float32),
        "np.array of values()": lambda: np.array([[*r.values()] for r in records], np.float32),
        "column by column": by_columns,
    }
    scores = np.random.default_rng(2).random((rows, 2)).astype(np.float32)
    encoder = msgspec.json.Encoder()

    def joined() -> bytes:
        cells = orjson.dumps(scores.tolist()).decode()[2:-2].split("],[")
        pieces = [""] * (3 * rows)
        pieces[0::3], pieces[1::3], pieces[2::3] = (
            ['{"no":'] * rows,
            [c.replace(",", ',"yes":') for c in cells],
            ["},"] * rows,
        )
        return f"[{''.join(pieces)[:-1]}]".encode()

    def dictionaries() -> list[dict[str, float]]:
        return [{"no": a, "yes": b} for a, b in scores.tolist()]

    write = {
        "orjson of the array, joined": joined,
        "orjson of dictionaries": lambda: orjson.dumps(dictionaries()),
        "msgspec of dictionaries": lambda: encoder.encode(dictionaries()),
        "json of dictionaries": lambda: json.dumps(dictionaries()).encode(),
        "orjson, OPT_SERIALIZE_NUMPY (no names)": lambda: orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY),
    }
    assert all((way() == values.astype(np.float32)).all() for way in matrix.values())
    assert all(json.loads(way()) == dictionaries() for name, way in write.items() if "no names" not in name)
    assert all(way() == records for name, way in parse.items() if "typed" not in name)
    return {"parse": parse, "matrix": matrix, "write": write}


def measure(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Step -> way -> records -> microseconds."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for count in COUNTS:
        for step, known in ways(count).items():
            calls = max(1, 2000 // count)
            names = list(known)
            for number in range(rounds):
                for name in random.Random(number).sample(names, len(names)):
                    took = timeit.timeit(known[name], number=calls) / calls * 1e6
                    place = found.setdefault(step, {}).setdefault(name, {})
                    place[str(count)] = min(took, place.get(str(count), took))
    return found


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.predict.json_arrays", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not options.inside:  # msgspec is no dependency of the project: the same file again, with it in its path
        CACHE.mkdir(parents=True, exist_ok=True)
        install(HERE / "requirements" / "arrays.txt", CACHE / "arrays")
        path = os.pathsep.join((str(CACHE / "arrays"), str(ROOT)))
        command = [
            sys.executable,
            "-m",
            "benchmarks.predict.json_arrays",
            "--inside",
            "--rounds",
            str(options.rounds),
        ]
        return subprocess.run(command, env={"PATH": os.environ["PATH"], "PYTHONPATH": path}, check=False).returncode
    found = measure(options.rounds)
    for step, known in found.items():
        print(f"{step:40}" + "".join(f"{n:>10}" for n in COUNTS))
        for name, times in known.items():
            print(f"  {name:38}" + "".join(f"{times[str(n)]:10.2f}" for n in COUNTS))
    (CACHE / "json_arrays.json").write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
