"""What the ONNX peers share: the session, and the shortest way from records to the matrix and back.

The encoding is written out by hand and checks nothing, so that the peers differ in their frameworks alone.
"""

import os
from itertools import chain
from operator import itemgetter

import numpy as np

NUMBERS = ("age", "income", "debt_ratio", "open_accounts", "late_payments", "utilisation", "months_employed", "amount")
PURPOSE = {"car": 0, "education": 1, "furniture": 2, "holiday": 3, "house": 4, "other": 5}
REGION = {"centre": 0, "east": 1, "north": 2, "south": 3, "west": 4}
CLASSES = ("no", "yes")
PATH = os.path.join(os.environ["BENCH_MODEL"], "model.onnx")

_numbers = itemgetter(*NUMBERS)


def values(record):
    """One record as a list of ten numbers."""
    return [*_numbers(record), PURPOSE[record["purpose"]], REGION[record["region"]]]


def matrix(records):
    """Records as float32, shape (rows, 10)."""
    if len(records) == 1:
        return np.array([values(records[0])], np.float32)
    flat = chain.from_iterable(map(values, records))
    return np.fromiter(flat, np.float64, len(records) * 10).astype(np.float32).reshape(-1, 10)


def session():
    """A session on one thread: faster than two for a model of this size."""
    import onnxruntime  # noqa: PLC0415 - one peer shares the rest and does without

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(PATH, options, providers=["CPUExecutionProvider"])


def predictions(scores):
    """Scores (rows, 2) as the answers that people expect."""
    return [
        {"label": CLASSES[row[1] >= 0.5], "probabilities": dict(zip(CLASSES, row, strict=True))}
        for row in scores.tolist()
    ]
