import duckdb
from common import CHECKS, run

LOW, HIGH = CHECKS["number_range"]
LEAST, MOST = CHECKS["integer_range"]


def check(path):
    full = CHECKS["numbers"] + CHECKS["integers"] + CHECKS["categories"] + [CHECKS["boolean"], CHECKS["target"]]
    levels = ", ".join(f"'{v}'" for v in CHECKS["levels"])
    classes = ", ".join(f"'{v}'" for v in CHECKS["classes"])
    conditions = [f'"{c}" IS NULL' for c in full]
    conditions += [f'"{c}" NOT BETWEEN {LOW} AND {HIGH}' for c in CHECKS["numbers"] + CHECKS["nullable"]]
    conditions += [f'"{c}" NOT BETWEEN {LEAST} AND {MOST}' for c in CHECKS["integers"]]
    conditions += [f'"{c}" NOT IN ({levels})' for c in CHECKS["categories"]]
    conditions += [f'"{CHECKS["target"]}" NOT IN ({classes})']
    sums = ", ".join(f"count(*) FILTER (WHERE {c})" for c in conditions)
    reader = "read_csv" if path.endswith(".csv") else "read_parquet"
    (row,) = duckdb.sql(f"SELECT {sums} FROM {reader}('{path}')").fetchall()
    return sum(row)


run(check)
