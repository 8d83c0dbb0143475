import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
from common import CHECKS, run

LOW, HIGH = CHECKS["number_range"]
LEAST, MOST = CHECKS["integer_range"]


def expectations():
    for c in CHECKS["numbers"] + CHECKS["integers"] + CHECKS["categories"] + [CHECKS["boolean"], CHECKS["target"]]:
        yield gxe.ExpectColumnValuesToNotBeNull(column=c)
    for c in CHECKS["numbers"] + CHECKS["nullable"]:
        yield gxe.ExpectColumnValuesToBeBetween(column=c, min_value=LOW, max_value=HIGH)
    for c in CHECKS["integers"]:
        yield gxe.ExpectColumnValuesToBeBetween(column=c, min_value=LEAST, max_value=MOST)
    for c in CHECKS["categories"]:
        yield gxe.ExpectColumnValuesToBeInSet(column=c, value_set=CHECKS["levels"])
    yield gxe.ExpectColumnValuesToBeInSet(column=CHECKS["target"], value_set=CHECKS["classes"])


def check(path):
    frame = pd.read_csv(path) if path.endswith(".csv") else pd.read_parquet(path)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="suite", expectations=[*expectations()])
    result = batch.validate(suite, result_format="SUMMARY")
    return sum(r.result.get("unexpected_count", 0) for r in result.results)


run(check)
