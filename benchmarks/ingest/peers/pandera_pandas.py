import pandas as pd
import pandera.pandas as pa
from common import CHECKS, run

LOW, HIGH = CHECKS["number_range"]
LEAST, MOST = CHECKS["integer_range"]
SCHEMA = pa.DataFrameSchema(
    {
        **{c: pa.Column(float, pa.Check.in_range(LOW, HIGH)) for c in CHECKS["numbers"]},
        **{c: pa.Column(float, pa.Check.in_range(LOW, HIGH), nullable=True) for c in CHECKS["nullable"]},
        **{c: pa.Column(int, pa.Check.in_range(LEAST, MOST)) for c in CHECKS["integers"]},
        **{c: pa.Column(str, pa.Check.isin(CHECKS["levels"])) for c in CHECKS["categories"]},
        CHECKS["boolean"]: pa.Column(bool),
        CHECKS["target"]: pa.Column(str, pa.Check.isin(CHECKS["classes"])),
    }
)


def check(path):
    frame = pd.read_csv(path) if path.endswith(".csv") else pd.read_parquet(path)
    try:
        SCHEMA.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        return len(error.failure_cases)
    return 0


run(check)
