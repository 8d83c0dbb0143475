"""Self-contained reports: one HTML file that needs no network, no script and no library.

:mod:`mlops.report.html` makes pages, :mod:`mlops.report.svg` makes figures for them. Standard library only, so
every function of the bundle can write a report.
"""
