"""Judging a model version: metrics, parity of ONNX and estimator, comparison with the champion, and gates.

Runs where onnxruntime is and scikit-learn is not, so everything here needs numpy only.
"""
