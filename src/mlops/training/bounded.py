"""Work that can be ended while it runs.

A fit of scikit-learn cannot be interrupted from within: it may spend minutes in one call. So where a run has a limit,
each fit runs in a child process, which is killed when the time has come or a person has stopped the run. The child has
the parent's memory (pages are copied only where one of the two writes), computes what the parent would have, and hands
the result back through a pipe; models are the same to the byte. That holds for recipes too, whatever they do.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import warnings
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

#: Seconds between two looks at the clock and at whether somebody has stopped the run.
POLL = 0.2


class EndedError(Exception):
    """The work was ended before it was done."""


class Runner(Protocol):
    """Runs work; ``over`` is asked now and then, and ends it by returning True or by raising."""

    def __call__(self, work: Callable[[], T], over: Callable[[], bool]) -> T: ...


def in_place(work: Callable[[], T], over: Callable[[], bool]) -> T:
    """To its end, whatever it takes."""
    return work()


def in_child(work: Callable[[], T], over: Callable[[], bool]) -> T:
    """In a child process, which is killed when ``over`` says so.

    Raises
    ------
    EndedError
        when it was.
    MemoryError
        when the system ended it, which it does to a process that takes too much memory.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        # Python warns of locks that other threads may hold; the child computes with numpy alone and never returns
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:  # pragma: no cover - measured in the parent
        os.close(reading)
        _work_and_leave(work, writing)
    os.close(writing)
    try:
        body = _collect(reading, over)
    except BaseException:  # whatever ends the wait, Ctrl-C too, ends the child
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(reading)
        _, status = os.waitpid(child, 0)
    if status:
        raise MemoryError(f"the process of a fit was ended by the system (status {status})")
    done, result = pickle.loads(body)  # noqa: S301 - written by our own child
    if done:
        value: T = result
        return value
    raise result


def runner(limit: float | None) -> Runner:
    """A child for a run with a ``limit``, on Linux (elsewhere BLAS may not survive a fork); else in place."""
    return in_child if limit is not None and sys.platform == "linux" else in_place


def _work_and_leave(work: Callable[[], Any], writing: int) -> None:  # pragma: no cover - in the child
    status = 1
    try:
        try:
            result = (True, work())
        except Exception as error:  # raised again in the parent
            result = (False, error)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(result, pipe, protocol=pickle.HIGHEST_PROTOCOL)
        status = 0
    finally:
        os._exit(status)


def _collect(reading: int, over: Callable[[], bool]) -> bytes:
    parts: list[bytes] = []
    while True:
        ready, _, _ = select.select([reading], [], [], POLL)
        if ready:
            part = os.read(reading, 1 << 20)
            if not part:
                return b"".join(parts)
            parts.append(part)
        elif over():
            raise EndedError
