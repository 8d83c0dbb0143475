"""Reads a template file: YAML with CloudFormation's short tags. Needs PyYAML, so only the command line imports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from mlops.cost.template import Template, evaluate
from mlops.errors import MlopsError


class _Loader(yaml.SafeLoader):
    """YAML's safe types, and ``!Name value`` as CloudFormation's ``{"Fn::Name": value}``."""


def _tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        value: Any = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type]
    if tag == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {tag if tag in ("Ref", "Condition") else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _tagged)


def read(path: str, parameters: Mapping[str, Any] | None = None) -> Template:
    """Read the template at ``path`` with these parameters.

    Raises
    ------
    MlopsError
        when the file cannot be read or is no template; the message says where.
    """
    try:
        with open(path, encoding="utf-8") as file:
            document = yaml.load(file, _Loader)  # noqa: S506 - a SafeLoader with CloudFormation's own tags
    except (FileNotFoundError, IsADirectoryError):
        raise MlopsError(f"there is no template file '{path}'", code="not_found") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MlopsError(f"template '{path}' is not YAML: {error}", code="invalid_template") from None
    return evaluate(document, parameters or {})
