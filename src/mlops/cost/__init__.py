"""What the stack costs: prices with their source, metered usage, the bill, estimates before a deployment, reports.

Money is :class:`decimal.Decimal` in US dollars, never a float. A price or a quantity that is not known stays
unknown; it is never counted as zero. Standard library only: the function ``cost_report`` has no numpy.
"""
