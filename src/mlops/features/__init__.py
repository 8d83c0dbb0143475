"""Features: their specification, typed columns, and the one encoding that training and serving share.

This package is on the request path: it imports nothing but the standard library (``spec``) and numpy.
"""
