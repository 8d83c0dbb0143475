"""From a data-set version and a contract to a fitted model, its ONNX form and everything that proves them equal.

``fit`` is the one entry: the train function (:mod:`mlops.training.service`) and ``mlops train`` on a laptop
(:mod:`mlops.training.local`) both call it and differ only in where bytes come from and go to.
"""
