"""The same pipeline as an mlflow model, loaded and called through pyfunc."""

import json
import os

import mlflow.pyfunc
import pandas as pd

model = mlflow.pyfunc.load_model(os.path.join(os.environ["BENCH_MODEL"], "mlflow"))


def handler(event, context):
    frame = pd.DataFrame(json.loads(event["body"])["records"])
    scores = model.predict(frame)
    body = json.dumps({"predictions": scores.tolist()})
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}
