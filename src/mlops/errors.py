"""Errors that a person can act on.

A *result* (a rejected file, a failed gate, a rolled-back release) is a value, never an exception.
These exceptions are for what a caller got wrong or what the world refused.
"""

from __future__ import annotations


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
