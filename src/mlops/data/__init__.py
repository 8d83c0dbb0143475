"""From an uploaded file to rows that can be trusted: reading, checking, content addresses, data sets.

``intake`` needs the standard library alone; everything else needs numpy and polars.
"""
