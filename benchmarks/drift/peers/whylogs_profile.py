"""whylogs: a profile of the window (a KLL sketch a column). Its drift scores need a further package; not counted."""

import whylogs


def compare(reference, window):
    whylogs.log(window).view()
    return set()
