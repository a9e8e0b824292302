"""Checking the tables of a recipe against the options of the components they name.

A component's keyword-only parameters are its options. `bind` refuses unknown keys and wrong types, naming file, key, what
was found and what is allowed, and writes every default out.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from secateur.errors import InputError, RecipeError, UnknownName
from secateur.registry import Entry
from secateur.steps import Step


def bind(entry: Entry[Any], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The options of one component: those of `table`, checked and converted, and the defaults of all others."""
    parameters = entry.options
    hints = typing.get_type_hints(entry.make)
    return _bound({name: (hints.get(name, Any), p.default is not p.empty, p.default) for name, p in parameters.items()}, table, where)


def bind_fields(fields_of: type, table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """As `bind`, for the fields of a frozen dataclass."""
    hints = typing.get_type_hints(fields_of)
    known = {}
    for field in dataclasses.fields(fields_of):
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        known[field.name] = (hints[field.name], default is not dataclasses.MISSING, default)
    return _bound(known, table, where)


def written(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON-able values: what goes into a node's specification."""
    return {name: _written(value) for name, value in options.items()}


def read(entry: Entry[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that `written` wrote, as the component takes them. All are there, so nothing is filled in."""
    return bind(entry, options, entry.name)


def describe_type(hint: Any) -> str:
    """A type in a reader's words."""
    origin = get_origin(hint)
    if origin is Literal:
        return " | ".join(f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return " or ".join(describe_type(choice) for choice in get_args(hint) if choice is not type(None))
    if origin in (tuple, list):
        inner = [part for part in get_args(hint) if part is not Ellipsis]
        return f"a list of {describe_type(inner[0])}" if inner else "a list"
    if hint is Step:
        return "a length such as '500it' or '10ep'"
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "a table"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}.get(hint, str(hint))


def convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`; `RecipeError` when it is none."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _converted_union(value, get_args(hint), hint, where)
    if origin is Literal:
        if value in get_args(hint) and type(value) in {type(choice) for choice in get_args(hint)}:
            return value
        if isinstance(value, str):
            raise UnknownName("value", value, [str(choice) for choice in get_args(hint)], where)
    elif hint is Step:
        if isinstance(value, str | Step):
            try:
                return Step.parse(value)
            except InputError as error:
                raise RecipeError(f"{where}: {error}") from None
    elif hint is bool:
        if isinstance(value, bool):
            return value
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif hint is float:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    elif hint is str:
        if isinstance(value, str):
            return value
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return _converted_tuple(value, get_args(hint), hint, where)
    elif (origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping))) and isinstance(value, Mapping):
        inner = get_args(hint)[1] if get_args(hint) else Any
        return {key: convert(entry, inner, f"{where}.{key}") for key, entry in value.items()}
    raise RecipeError(f"{where}: found {value!r}, which is not {describe_type(hint)}")


def _bound(known: Mapping[str, tuple[Any, bool, Any]], table: Mapping[str, Any], where: str) -> dict[str, Any]:
    for key in table:
        if key not in known:
            raise UnknownName("key", key, known, where)
    bound = {}
    for name, (hint, has_default, default) in known.items():
        if name in table:
            bound[name] = convert(table[name], hint, f"{where}.{name}")
        elif has_default:
            bound[name] = default
        else:
            raise RecipeError(f"{where}: the key {name!r} is missing: {describe_type(hint)}")
    return bound


def _converted_union(value: Any, choices: tuple[Any, ...], hint: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    if value in ("none", "") and type(None) in choices and str not in choices:
        return None
    for choice in choices:
        if choice is type(None):
            continue
        try:
            return convert(value, choice, where)
        except InputError:
            if len([c for c in choices if c is not type(None)]) == 1:
                raise
    raise RecipeError(f"{where}: found {value!r}, which is not {describe_type(hint)}")


def _converted_tuple(value: list[Any] | tuple[Any, ...], inner: tuple[Any, ...], hint: Any, where: str) -> tuple[Any, ...]:
    if len(inner) == 2 and inner[1] is Ellipsis:
        return tuple(convert(part, inner[0], f"{where}[{i}]") for i, part in enumerate(value))
    if len(value) != len(inner):
        raise RecipeError(f"{where}: found {list(value)!r}; {len(inner)} values are wanted")
    return tuple(convert(part, kind, f"{where}[{i}]") for i, (part, kind) in enumerate(zip(value, inner, strict=True)))


def _written(value: Any) -> Any:
    if isinstance(value, Step):
        return str(value)
    if isinstance(value, tuple | list):
        return [_written(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _written(part) for key, part in value.items()}
    if value is inspect.Parameter.empty:
        raise TypeError("a default is missing")
    return value
