"""Read a recipe from YAML; what is wrong is said with its line and field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import yaml
from pydantic import ValidationError

from schemas.errors import NotFoundError, WrongUseError
from schemas.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

GREATEST_BYTES: Final = 1 << 20
_NEXT: Final = "correct the recipe; schemas/recipe.py documents every field"


def load_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file.

    Raises:
        NotFoundError: no such file.
        WrongUseError: not YAML, or not a recipe; every fault with its line and field.
    """
    try:
        with path.open("rb") as file:
            content = file.read(GREATEST_BYTES + 1)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotFoundError("no such recipe file", subject=str(path)) from error
    if len(content) > GREATEST_BYTES:
        raise WrongUseError(
            "too long for a recipe", subject=str(path), expected=f"at most {GREATEST_BYTES} bytes"
        )
    return parse_recipe(content, name=path.name)


def parse_recipe(content: bytes, *, name: str = "recipe") -> Recipe:
    """The recipe in YAML text; see `load_recipe`."""
    try:
        tree = yaml.compose(content, yaml.SafeLoader)
        document = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}, line {mark.line + 1}" if mark else name
        problem = getattr(error, "problem", None) or "not readable as text"
        raise WrongUseError(f"not valid YAML: {problem}", subject=where, next_step=_NEXT) from error
    if not isinstance(document, dict) or tree is None:
        raise WrongUseError("a mapping of fields is needed", subject=name, next_step=_NEXT)
    for key, line in _doubled(tree):
        raise WrongUseError(
            f"{key} is given twice", subject=f"{name}, line {line}", next_step=_NEXT
        )
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        faults = [
            f"line {_line(tree, fault['loc'])}, {_field(fault['loc'])}: {_clause(fault['msg'])}"
            for fault in error.errors(include_url=False, include_context=False)
        ]
        raise WrongUseError("; ".join(faults), subject=name, next_step=_NEXT) from error


def _clause(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Extra inputs are", "an unknown field is")


def _field(location: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in location) or "recipe"


def _line(tree: yaml.Node, location: Sequence[str | int]) -> int:
    """Line of the deepest part of `location` that the text holds, from 1."""
    node, line = tree, tree.start_mark.line
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if found is None:
                continue  # a missing field, or a name that only the model knows
            line, node = found[0].start_mark.line, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1


def _doubled(node: yaml.Node) -> Iterator[tuple[str, int]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.value in seen:
                yield str(key.value), key.start_mark.line + 1
            seen.add(str(key.value))
            yield from _doubled(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _doubled(value)
