"""Statistics that can be taken in pieces and added up to exactly the same numbers.

:mod:`mlops.statistics.axis` says how a column is counted (bin edges, category levels), :mod:`~mlops.statistics.tally`
counts it, :mod:`~mlops.statistics.baseline` does both for a table, and :mod:`~mlops.statistics.model_monitor` reads
and writes the files of SageMaker Model Monitor. Needs numpy.
"""
