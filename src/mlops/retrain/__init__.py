"""Whether, why and where to train again: :mod:`~mlops.retrain.policy` decides from facts, without any I/O,
:mod:`~mlops.retrain.launch` gathers the facts, writes the decision down and starts the run. Standard library only.
"""
