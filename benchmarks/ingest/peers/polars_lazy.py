"""The checks written by hand as one lazy query."""

import polars as pl
from common import CHECKS, run


def check(path):
    lazy = pl.scan_csv(path) if path.endswith(".csv") else pl.scan_parquet(path)
    low, high = CHECKS["number_range"]
    least, most = CHECKS["integer_range"]
    sums = [pl.col(c).null_count() for c in [*CHECKS["numbers"], *CHECKS["integers"], *CHECKS["categories"]]]
    sums += [(~pl.col(c).is_between(low, high)).sum().alias(f"r{c}") for c in CHECKS["numbers"] + CHECKS["nullable"]]
    sums += [(~pl.col(c).is_between(least, most)).sum().alias(f"r{c}") for c in CHECKS["integers"]]
    sums += [(~pl.col(c).is_in(CHECKS["levels"])).sum().alias(f"r{c}") for c in CHECKS["categories"]]
    sums += [(~pl.col(CHECKS["target"]).is_in(CHECKS["classes"])).sum().alias("target")]
    sums += [pl.col(CHECKS["boolean"]).null_count(), pl.col(CHECKS["target"]).null_count().alias("no target")]
    return sum(lazy.select(sums).collect(engine="streaming").row(0))


run(check)
