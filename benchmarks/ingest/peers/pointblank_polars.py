import pointblank as pb
import polars as pl
from common import CHECKS, run

LOW, HIGH = CHECKS["number_range"]
LEAST, MOST = CHECKS["integer_range"]


def check(path):
    frame = pl.read_csv(path) if path.endswith(".csv") else pl.read_parquet(path)
    full = CHECKS["numbers"] + CHECKS["integers"] + CHECKS["categories"] + [CHECKS["boolean"], CHECKS["target"]]
    made = (
        pb.Validate(frame)
        .col_vals_not_null(columns=full)
        .col_vals_between(columns=CHECKS["numbers"] + CHECKS["nullable"], left=LOW, right=HIGH, na_pass=True)
        .col_vals_between(columns=CHECKS["integers"], left=LEAST, right=MOST)
        .col_vals_in_set(columns=CHECKS["categories"], set=CHECKS["levels"])
        .col_vals_in_set(columns=CHECKS["target"], set=CHECKS["classes"])
        .interrogate(collect_extracts=False)
    )
    return sum(made.n_failed().values())


run(check)
