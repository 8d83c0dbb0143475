"""Batch scoring: every object below a prefix, by the code that answers requests. See docs/scoring.md.

``run`` plans and ends a run, ``preparing`` turns a file into chunks of records (polars), ``chunks`` scores one chunk
(onnxruntime). The two libraries do not fit into one function, so ``preparing`` and ``chunks`` are never imported
together by one.
"""
