"""Parameters: one section of params.yaml at a time, read into a strict, frozen model."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from stages.graft.core.errors import ParamsError, one_line, printable

PARAMS = Path("params.yaml")

MAX_SHOWN = 300
"""Characters of a wrong value, or of what is wrong with the file, in a message."""


class Params(BaseModel):
    """One section of params.yaml: unknown keys and wrong types are refused, values cannot change."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


MAX_DEPTH = 100
"""Levels of a YAML file; params.yaml has three."""

SectionT = TypeVar("SectionT", bound=Params)


_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one written in C, ten times as fast, where PyYAML has it."""


class _Loader(_Safe):  # type: ignore[misc]
    """PyYAML's safe loader with the numbers of YAML 1.2, as DVC writes them; dates stay text."""


_FLOAT = "tag:yaml.org,2002:float"

_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in ("tag:yaml.org,2002:timestamp", _FLOAT)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# Looked at after whole numbers: those are no floats. Source: YAML 1.2.2, section 10.3.2, the core schema.
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$"),
    list("-+.0123456789"),
)


def load_params(section: str, model: type[SectionT], path: Path = PARAMS) -> SectionT:
    """Read one section of a params file.

    Args:
        section: the section's name, also the stage's.
        model: the section's fields, types and ranges.
        path: the YAML file.
    Raises:
        ParamsError: the file or section is missing, or a value is not allowed; names the key and what was found.
    """
    return _validated(_section_of(read_yaml(path), section, path), model, section, path)


def check_params(models: Mapping[str, type[Params]], path: Path = PARAMS) -> None:
    """Check several sections of a params file, each by its name, as `load_params` does.

    Raises:
        ParamsError: names every value that is not allowed.
    """
    content, problems = read_yaml(path), list[str]()
    for section, model in models.items():
        try:
            _validated(_section_of(content, section, path), model, section, path)
        except ParamsError as error:
            problems.append(str(error).removeprefix(f"{path}: "))
    if problems:
        raise ParamsError(f"{path}: " + "; ".join(problems))


def load_spec(path: Path, model: type[SectionT]) -> SectionT:
    """Read a YAML file that is a single section, such as data/plates.yaml, as `load_params` does."""
    return _validated(read_yaml(path), model, "", path)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        ParamsError: there is no such file, it is not YAML, or its top level is not a mapping.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(f"{path} does not exist; run from the repository's root") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"{path} is not valid YAML: {one_line(error, MAX_SHOWN)}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected sections of `key: value`, found {type(content).__name__}")
    return content


def parse_yaml(text: str | bytes) -> Any:
    """Read YAML as `read_yaml` does, of any kind.

    Raises:
        yaml.YAMLError: it is not YAML, or a key is given twice, which is an error in DVC too.
        ValueError: it holds what Python cannot hold, such as a date that is none.
    """
    _refuse_deep(text)
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        _refuse_twice(node)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _refuse_deep(text: str | bytes) -> None:
    """Refuse what the parser, which calls itself for each level, would not survive."""
    depth = 0
    event: Any
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} deep", problem_mark=event.start_mark)


def _refuse_twice(top: yaml.Node | None) -> None:
    """Refuse a mapping that gives a key twice; looked for before keys are merged, which may repeat each other."""
    waiting, seen = [top], set[int]()
    while waiting:
        node = waiting.pop()
        if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
            continue
        keys = set[tuple[str, str]]()
        for key, value in node.value:
            waiting += [key, value]
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    raise yaml.MarkedYAMLError(problem=f"key `{key.value}` is given twice", problem_mark=key.start_mark)
                keys.add((key.tag, key.value))


def flatten(record: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Name every value of nested mappings by its path, joined with dots; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        inner = isinstance(value, Mapping) and value
        flat |= flatten(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def _section_of(content: Mapping[str, Any], section: str, path: Path) -> Any:
    if section not in content:
        raise ParamsError(
            f"{path}: section `{section}` is missing; it has {', '.join(map(str, content)) or 'no section'}"
        )
    return content[section]


def _validated(content: Any, model: type[SectionT], section: str, path: Path) -> SectionT:
    try:
        # Read as JSON: strict mode then still takes a list for a tuple and a string for a literal.
        text = json.dumps(content, default=str)
    except (TypeError, ValueError, RecursionError) as error:  # keys that are no text, or a reference to itself
        raise ParamsError(f"{path}: `{section}` cannot be read ({one_line(error)})") from None
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        lines = [_explain(section, dict(problem)) for problem in error.errors()]
        raise ParamsError(f"{path}: " + "; ".join(lines)) from None


def _explain(section: str, problem: dict[str, Any]) -> str:
    key = printable(".".join(part for part in (section, *map(str, problem["loc"])) if part))[:MAX_SHOWN]
    if problem["type"] == "missing":
        return f"`{key}` is missing"
    if problem["type"] == "extra_forbidden":
        return f"`{key}` is not a parameter; check its spelling and section"
    message = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"`{key}` {message}, got {printable(repr(problem['input']))[:MAX_SHOWN]}"
