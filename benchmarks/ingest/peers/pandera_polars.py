import pandera.polars as pa
import polars as pl
from common import CHECKS, run

LOW, HIGH = CHECKS["number_range"]
LEAST, MOST = CHECKS["integer_range"]
SCHEMA = pa.DataFrameSchema(
    {
        **{c: pa.Column(pl.Float64, pa.Check.in_range(LOW, HIGH)) for c in CHECKS["numbers"]},
        **{c: pa.Column(pl.Float64, pa.Check.in_range(LOW, HIGH), nullable=True) for c in CHECKS["nullable"]},
        **{c: pa.Column(pl.Int64, pa.Check.in_range(LEAST, MOST)) for c in CHECKS["integers"]},
        **{c: pa.Column(pl.String, pa.Check.isin(CHECKS["levels"])) for c in CHECKS["categories"]},
        CHECKS["boolean"]: pa.Column(pl.Boolean),
        CHECKS["target"]: pa.Column(pl.String, pa.Check.isin(CHECKS["classes"])),
    }
)


def check(path):
    frame = pl.read_csv(path) if path.endswith(".csv") else pl.read_parquet(path)
    try:
        SCHEMA.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        return len(error.failure_cases)
    return 0


run(check)
