"""Errors that a person can act on.

A *result* (a rejected file, a failed gate, a rolled-back release) is a value, never an exception.
These exceptions are for what a caller got wrong or what the world refused.
"""

from __future__ import annotations

import os
import sys


class MlopsError(Exception):
    """An error with a stable code and a message that says what was wrong, where, and what to do."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class ContractError(MlopsError):
    """A contract that cannot be used; the message names the field (and the line, when read from a file)."""

    code = "invalid_contract"


class NotFoundError(MlopsError):
    """Something that was asked for by name does not exist."""

    code = "not_found"


class ConflictError(MlopsError):
    """A conditional write lost: somebody else changed the same thing first."""

    code = "conflict"


class ConfigurationError(MlopsError):
    """The environment of a function or of the command line lacks something."""

    code = "configuration"


class Fault(Exception):
    """What leaves a function in place of an unexpected exception: its type's name, its code and its place.

    Lambda's runtime prints whatever a handler raises and hands it to the caller, so the message of an exception that
    is not ours, which may hold a person's values or a path, must not get that far.
    """


def fault(error: Exception, code: str = "") -> Exception:
    """What to raise in place of ``error``: a Fault whose type has the same name, which a state machine matches.

    An MlopsError is left as it is: its message is written by us, for people, and holds no foreign data.

    >>> fault(KeyError("ana@example.com"), code="x")
    KeyError('x')
    """
    if isinstance(error, MlopsError):
        return error
    kind: type[Fault] = type(type(error).__name__, (Fault,), {})
    return kind("; ".join(filter(None, (code, where(error)))))


def where(error: BaseException) -> str:
    """The innermost place of an exception as ``file:line``, without the folder."""
    trace = error.__traceback__
    place = ""
    while trace is not None:
        place = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def hide_traces() -> None:
    """Keep Python's formatters, and with them Lambda's runtime, from printing stack traces in this process."""
    sys.tracebacklimit = 0
