"""serverless-mlops: the validation of ingestion. BENCH_MODE: cells, rows (and duplicates), file (every
check of ``mlops check``), or data-set (also all that is stored)."""

import os
import tempfile
from pathlib import Path

from common import CHECKS, run

from mlops.contract import Checks, Contract, Target
from mlops.data.part_files import WRITERS
from mlops.data.validation import Validated, validate_file
from mlops.features.spec import Feature

WHOLE_FILE = ["balance", "completeness", "leakage", "outliers", "rare_categories", "volume"]

MODE = os.environ["BENCH_MODE"]
LOW, HIGH = CHECKS["number_range"]
LEAST, MOST = CHECKS["integer_range"]
CONTRACT = Contract(
    "bench",
    "classification",
    Target(CHECKS["target"], tuple(CHECKS["classes"])),
    (
        *(Feature(n, "number", minimum=LOW, maximum=HIGH) for n in CHECKS["numbers"]),
        *(Feature(n, "number", nullable=True, minimum=LOW, maximum=HIGH) for n in CHECKS["nullable"]),
        *(Feature(n, "integer", minimum=LEAST, maximum=MOST) for n in CHECKS["integers"]),
        *(Feature(n, "category", categories=tuple(CHECKS["levels"])) for n in CHECKS["categories"]),
        Feature(CHECKS["boolean"], "boolean"),
    ),
    checks=Checks(max_bytes=10**12, severity=dict.fromkeys(WHOLE_FILE, "ignore") if MODE == "rows" else {}),
)


def check(path):
    with tempfile.TemporaryDirectory(dir=os.environ["BENCH_SCRATCH"]) as work:
        checked = validate_file(Path(path), CONTRACT, Path(work), keep=MODE != "cells")
        assert isinstance(checked, Validated), checked
        if MODE == "data-set":
            rows = checked.accepted.addressed()
            for name, write in WRITERS.items():
                write(rows, Path(work) / name)
        return sum(f.count for f in checked.findings)


run(check)
