"""
Read a scenario file: how the sandbox behaves, and the faults that are planned from the start.

Every mistake is told as `file:line:column: what`, with the known words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import yaml

from bulkgpt_watchd.sandbox.fault import Fault, WrongFault, fault_from
from bulkgpt_watchd.sandbox.options import SandboxOptions
from bulkgpt_watchd.sandbox.vocabulary import did_you_mean, names, seconds, whole


class ScenarioError(ValueError):
    """Say what is wrong in a scenario file, and where."""


class _Loader(yaml.SafeLoader):
    """YAML with the booleans of version 1.2, and without dates, which JSON has not."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's way
        first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in {"bool", "timestamp"}]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|false"), list("tf"))


def read_scenario(path: str, options: SandboxOptions) -> SandboxOptions:
    """
    Give the options with what the file says in place of theirs.

    Errors: ScenarioError: the file cannot be read, is no YAML, or a word in it is wrong.
    """
    try:
        with open(path, "rb") as file:
            loader = _Loader(file)
            try:
                return _Reader(path, loader).options(options)
            finally:
                loader.dispose()
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeError, ValueError, RecursionError) as error:
        if isinstance(error, ScenarioError):
            raise
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
        raise ScenarioError(f"{where}: not YAML: {getattr(error, 'problem', None) or error}") from error


class _Reader:
    def __init__(self, path: str, loader: _Loader) -> None:
        self._path = path
        self._loader = loader

    def options(self, options: SandboxOptions) -> SandboxOptions:
        root = self._loader.get_single_node()
        if root is None:
            return options
        changes: dict[str, Any] = {}
        for key, (key_node, node) in self._mapping(root).items():
            if key == "faults":
                if not isinstance(node, yaml.SequenceNode):
                    raise self._error(node, "faults: it takes a list")
                changes["faults"] = tuple(self._fault(each) for each in node.value)
                continue
            if key not in _CHECKS:
                known = ["faults", *_CHECKS]
                raise self._error(key_node, f"{key}: unknown{did_you_mean(key, known)}; known: {', '.join(known)}")
            try:
                changes[key] = _CHECKS[key](self._loader.construct_object(node, deep=True))
            except ValueError as error:
                raise self._error(node, f"{key}: it takes {error}") from None
        return replace(options, **changes)

    def _fault(self, node: yaml.Node) -> Fault:
        nodes = self._mapping(node)
        values = {key: self._loader.construct_object(each, deep=True) for key, (_, each) in nodes.items()}
        try:
            return fault_from(values)
        except WrongFault as error:
            raise self._error(nodes[error.key][0] if error.key in nodes else node, str(error)) from None

    def _mapping(self, node: yaml.Node) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, "here it takes keys with values, such as `call: submit`")
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in pairs:
                raise self._error(key_node, f"{key}: stands here twice; leave one out")
            pairs[key] = (key_node, value_node)
        return pairs

    def _error(self, node: yaml.Node, message: str) -> ScenarioError:
        return ScenarioError(f"{self._path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: {message}")


def _or_null(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _refusal(value: Any) -> int:
    if not isinstance(value, int) or not (value == 200 or 400 <= value <= 499):
        raise ValueError("200, or 400 to 499")
    return value


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "preparing_s": seconds,
    "running_s": seconds,
    "finalizing_s": seconds,
    "rows_per_s": _or_null(seconds),
    "link_ttl_s": seconds,
    "max_upload_bytes": _or_null(whole(0)),
    "workflows": _or_null(names),
    "refusal_http_status": _refusal,
}
