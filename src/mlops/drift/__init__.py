"""Is the data still like the data that the model was trained on?

:mod:`~mlops.drift.methods` measures how far two sets of counts are apart, :mod:`~mlops.drift.decision` decides what
that means, :mod:`~mlops.drift.check` does it for captured traffic or a new data set, :mod:`~mlops.drift.report`
writes it down. Needs numpy.
"""
