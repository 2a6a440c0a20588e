"""Words for what pydantic refuses: the place, what was found, what was expected, the nearest word.

Recipes and command lines are checked by pydantic models; their users see one sentence of ours.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kinegraph.errors import nearest, unknown

LONGEST = 60  # characters of a wrong value that are shown
EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "text",
    "path": "a path",
    "tuple": "a list",
    "list": "a list",
    "dict": "keys with values",
    "invalid_key": "a key that is text",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "multiple_of": "a multiple of {multiple_of}",
}


def explain(error: ValidationError, values: Any, schema: type[BaseModel]) -> tuple[str, str]:
    """Word the first complaint of a validation.

    Args:
        error: What pydantic says.
        values: What was validated.
        schema: The model that refused it.

    Returns:
        The dotted place, empty for the whole, and a sentence about it.
    """
    details = error.errors(include_url=False)
    places = [_place(detail["loc"], values) for detail in details]
    # Every member of a union complains; the one that came farthest into the value knows best.
    first = places[0]
    deepest = max((p for p in places if p[: len(first)] == first), key=len)
    here = [detail for detail, place in zip(details, places, strict=True) if place == deepest]
    return ".".join(map(str, deepest)), _sentence(here, deepest, values, schema)


def _sentence(
    details: Sequence[ErrorDetails],
    place: Sequence[int | str],
    values: Any,
    schema: type[BaseModel],
) -> str:
    first = details[0]
    found = shown(first["input"])
    context = first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            return (
                f"there is no such key{nearest(str(place[-1]), _siblings(place, values, schema))}"
            )
        case "missing":
            return "is missing"
        case "union_tag_invalid" if context["tag"] != "None":
            known = [word.strip("' ") for word in context["expected_tags"].split(",")]
            return unknown("name", str(context["tag"]), known)
        case "union_tag_invalid" | "union_tag_not_found":
            names = (_name(model) for model in annotations_at(schema, place))
            return f"needs a name, one of {', '.join(filter(None, names))}"
        case "model_type" | "model_attributes_type":
            dotted = ".".join(map(str, place))
            keys = _fields(annotations_at(schema, place))
            example = f", such as {dotted}.{keys[0]}" if keys else ""
            return f"found {found}, expected keys with values{example}"
        case "literal_error":
            expected = context["expected"]
            known = [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
            return f"found {found}, expected {expected}{nearest(str(first['input']), known)}"
        case "value_error":
            return str(context["error"])
        case _:
            return f"found {found}, expected {' or '.join(dict.fromkeys(map(_expected, details)))}"


def _expected(detail: ErrorDetails) -> str:
    kind = detail["type"]
    for known in (kind, kind.rsplit("_", 1)[0], kind.split("_")[0]):
        if known in EXPECTED:
            limits = {key: _round(value) for key, value in detail.get("ctx", {}).items()}
            return EXPECTED[known].format_map(limits)
    return detail["msg"].removeprefix("Input should be ").rstrip(".")


def _round(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def shown(value: Any) -> str:
    """Return a value as a message shows it: short, and in the words of YAML."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        text = repr(value)
    elif isinstance(value, Mapping):
        text = "keys with values"
    elif isinstance(value, Sequence):
        text = "a list"
    else:
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _place(location: Sequence[int | str], values: Any) -> tuple[int | str, ...]:
    """Return a location without the names of union members that pydantic mixes into it."""
    place: list[int | str] = []
    for step in location:
        if isinstance(values, Mapping):
            if step not in values and values.get("name") == step:
                continue  # the chosen member of a union that is told apart by name
            place.append(step)
            values = values.get(step)
        elif isinstance(values, list | tuple) and isinstance(step, int):
            place.append(step)
            values = values[step] if step < len(values) else None
    return tuple(place)


def annotations_at(annotation: Any, path: Sequence[int | str]) -> list[Any]:
    """Return every type that may stand at a path, whichever components are chosen on the way."""
    origin, members = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType, Annotated):
        parts = members[:1] if origin is Annotated else members
        return [found for part in parts for found in annotations_at(part, path)]
    if not path:
        return [annotation]
    if origin is dict:
        return annotations_at(members[1], path[1:])
    if origin is tuple:
        return annotations_at(members[0], path[1:])
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(path[0]))
        return annotations_at(field.annotation, path[1:]) if field else []
    return []


def accepts(annotations: Sequence[Any], *kinds: Any) -> bool:
    """Return whether a value of one of these types, tuples included, is among the annotations."""
    return any(
        annotation in kinds
        or get_origin(annotation) in kinds
        or (
            get_origin(annotation) is Literal
            and any(type(v) in kinds for v in get_args(annotation))
        )
        for annotation in annotations
    )


def _siblings(place: Sequence[int | str], values: Any, schema: type[BaseModel]) -> list[str]:
    """Return the keys that would have been allowed where an unknown one was found."""
    for step in place[:-1]:
        values = values[step]
    models = annotations_at(schema, place[:-1])
    name = values.get("name") if isinstance(values, Mapping) else None
    chosen = [m for m in models if _name(m) == name]
    return _fields(chosen or models)


def _name(model: Any) -> str | None:
    """Return what tells a member of a union apart."""
    fields = getattr(model, "model_fields", {})
    return str(fields["name"].default) if "name" in fields else None


def _fields(models: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(key for m in models for key in getattr(m, "model_fields", {})))
