"""The fitted scikit-learn pipeline from joblib, on a data frame."""

import json
import os

import joblib
import pandas as pd

pipeline = joblib.load(os.path.join(os.environ["BENCH_MODEL"], "model.joblib"))
classes = pipeline.classes_.tolist()


def handler(event, context):
    frame = pd.DataFrame(json.loads(event["body"])["records"])
    scores = pipeline.predict_proba(frame).tolist()
    answer = [
        {"label": classes[row[1] >= 0.5], "probabilities": dict(zip(classes, row, strict=True))} for row in scores
    ]
    body = json.dumps({"predictions": answer})
    return {"statusCode": 200, "headers": {"Content-Type": "application/json"}, "body": body}
