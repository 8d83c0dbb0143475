"""An ONNX file read with numpy alone: its nodes, constants and properties.

The request path has no ``onnx`` package, and an explanation needs the graph that the session hides. An ONNX file is a
protocol buffer; this reads the few messages that matter and leaves the rest. The long lists of a tree ensemble are
read by numpy at once, not number by number.

Messages: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, encoding: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES = {1: "<f4", 6: "<i4", 7: "<i8", 9: "|b1", 11: "<f8"}
_FLOATS, _INTS, _STRINGS = 7, 8, 9
#: An attribute ends with its type (field 20), which closes the list before it.
_LIST_ENDS = {_FLOATS: b"\xa0\x01\x06", _INTS: b"\xa0\x01\x07", _STRINGS: b"\xa0\x01\x08"}


class UnreadableError(ValueError):
    """The file is no ONNX file, or holds something that this does not read."""


class Node:
    """One operation: ``operator`` (of ``domain``), names of what goes in and out, attributes by name."""

    __slots__ = ("attributes", "domain", "inputs", "operator", "outputs")

    def __init__(self) -> None:
        self.operator = self.domain = ""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.attributes: dict[str, Any] = {}


class Graph:
    """``nodes`` in an order in which they can be computed, ``constants`` by name, the file's ``properties``."""

    __slots__ = ("constants", "nodes", "properties")

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, Array] = {}
        self.properties: dict[str, str] = {}


def read(body: bytes) -> Graph:
    """Read a whole file.

    Raises
    ------
    UnreadableError
        when it cannot be read to its end.
    """
    graph = Graph()
    try:
        for number, value in _fields(body):
            if number == 7:
                _read_graph(value, graph)
            elif number == 14:
                pair = dict(_fields(value))
                graph.properties[pair[1].decode()] = pair.get(2, b"").decode()
    except (IndexError, KeyError, TypeError, AttributeError, ValueError, struct.error) as error:
        raise UnreadableError(f"the ONNX file cannot be read ({type(error).__name__})") from error
    return graph


def _read_graph(body: bytes, graph: Graph) -> None:
    for number, value in _fields(body):
        if number == 1:
            graph.nodes.append(_node(value))
        elif number == 5:
            name, tensor = _tensor(value)
            graph.constants[name] = tensor


def _node(body: bytes) -> Node:
    node = Node()
    for number, value in _fields(body):
        if number == 1:
            node.inputs.append(value.decode())
        elif number == 2:
            node.outputs.append(value.decode())
        elif number == 4:
            node.operator = value.decode()
        elif number == 7:
            node.domain = value.decode()
        elif number == 5:
            name, attribute = _attribute(value)
            node.attributes[name] = attribute
    return node


def _attribute(body: bytes) -> tuple[str, Any]:
    name, single, at = "", None, 0
    while at < len(body):
        number, value, after = _field(body, at)
        if number in _LIST_ENDS and body.endswith(_LIST_ENDS[number]):
            return name, _list(number, body[at : -len(_LIST_ENDS[number])])
        at = after
        if number == 1:
            name = value.decode()
        elif number == 2:
            (single,) = struct.unpack("<f", value)
        elif number in (3, 4):
            single = value
        elif number == 5:
            _, single = _tensor(value)
        elif number in _LIST_ENDS:
            raise UnreadableError("a list is not closed by its type")
    return name, single


def _list(number: int, body: bytes) -> Sequence[Any] | Array:
    """A list of which every item has its own tag (proto2 packs none)."""
    data = np.frombuffer(body, np.uint8)
    if number == _FLOATS:
        items = data.reshape(-1, 5)
        if (items[:, 0] != (_FLOATS << 3 | _FIXED32)).any():
            raise UnreadableError("a list of floats has something else in it")
        return np.ascontiguousarray(items[:, 1:]).view("<f4").ravel()
    if number == _INTS:
        return _integers(data)
    texts = body.split(b"J")[1:]  # "J" is the tag; a text that holds one does not have the length it says
    if any(not text or text[0] != len(text) - 1 for text in set(texts)):
        raise UnreadableError("a list of texts cannot be read")
    return [text[1:] for text in texts]


def _integers(data: Array) -> Array:
    """``tag, varint, tag, varint, …`` as int64. A byte below 128 ends a varint, and the tag is one such byte."""
    ends = np.flatnonzero(data < 128)
    tags, ends = ends[0::2], ends[1::2]
    if len(tags) != len(ends) or (data[tags] != (_INTS << 3 | _VARINT)).any():
        raise UnreadableError("a list of integers has something else in it")
    lengths = ends - tags
    values = np.zeros(len(ends), np.uint64)
    for place in range(int(lengths.max(initial=0))):
        has = lengths > place
        digit = data[tags[has] + 1 + place].astype(np.uint64) & np.uint64(127)
        values[has] |= digit << np.uint64(7 * place)
    return values.view(np.int64)


def _tensor(body: bytes) -> tuple[str, Array]:
    name, dims, kind, raw = "", [], 0, b""
    for number, value in _fields(body):
        if number == 1:
            dims += [value] if isinstance(value, int) else _packed(value)
        elif number == 2:
            kind = value
        elif number == 8:
            name = value.decode()
        elif number == 9:
            raw = value
    if kind not in _DTYPES or (not raw and 0 not in dims):
        return name, np.empty(0)  # of a form that no known operation here needs; whoever asks for it refuses it
    return name, np.frombuffer(raw, _DTYPES[kind]).reshape(dims)


def _packed(body: bytes) -> list[int]:
    values, at = [], 0
    while at < len(body):
        value, at = _varint(body, at)
        values.append(value)
    return values


def _fields(body: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(body):
        number, value, at = _field(body, at)
        yield number, value


def _field(body: bytes, at: int) -> tuple[int, Any, int]:
    """Number and value of the field at a position, and where the next one starts."""
    tag, at = _varint(body, at)
    number, wire = tag >> 3, tag & 7
    if wire == _VARINT:
        value, at = _varint(body, at)
        return number, value - (1 << 64) if value >> 63 else value, at
    if wire == _BYTES:
        size, at = _varint(body, at)
    elif wire in (_FIXED32, _FIXED64):
        size = 4 if wire == _FIXED32 else 8
    else:
        raise UnreadableError("a field has an unknown type")
    if at + size > len(body):
        raise UnreadableError("the file is cut off")
    return number, body[at : at + size], at + size


def _varint(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
