"""The options that every labelled-text data set has, declared once; each data set says only where its defaults differ."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, Literal

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.tokens import Tokens
from secateur.errors import InputError

Vectors = Literal["none", "glove"]
Padding = Literal["batch", "fixed"]


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """The options that every labelled-text data set has; `docs/data.md` says what each means."""

    vocabulary: int | None = 25_000
    min_count: int = 1
    max_tokens: int | None = None
    lower: bool = True
    tokens: Tokens = "words-and-punctuation"
    padding: Padding = "batch"
    vectors: Vectors = "none"
    dimension: int = 50
    vocabulary_from: tuple[str, ...] = ()
    validation: float = 0.1
    test: float = 0.0
    split_seed: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        check_fractions(self, "validation", "test")
        check_counts(self, "vocabulary", "min_count", "max_tokens", "limit", "dimension")
        if self.padding == "fixed" and self.max_tokens is None:
            raise InputError("padding = 'fixed' needs max_tokens")


def check_counts(options: object, *names: str) -> None:
    """`InputError` for an option that is a number below 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"{name} = {value}: at least 1")


def check_fractions(options: object, *names: str) -> None:
    """`InputError` for an option outside of [0, 1)."""
    for name in names:
        if not 0 <= getattr(options, name) < 1:
            raise InputError(f"{name} = {getattr(options, name)}: a fraction from 0 to below 1")


def with_text_options(**defaults: Any) -> Callable[[Callable[..., Dataset]], Callable[..., Dataset]]:
    """Make of a data set's function (files, options, *, …) one whose keyword-only parameters are its own and those of `TextOptions`.

    `defaults` are those that differ from `TextOptions`'. `test` is an option only where a default is given: other data sets have a
    published test split.
    """
    types = typing.get_type_hints(TextOptions)
    shared = [field for field in fields(TextOptions) if field.name != "test" or "test" in defaults]
    if unknown := defaults.keys() - types.keys():
        raise TypeError(f"TextOptions has no {', '.join(sorted(unknown))}")

    def decorate(make: Callable[..., Dataset]) -> Callable[..., Dataset]:
        files, _, *own = inspect.signature(make).parameters.values()
        parameters = [
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(field.name, field.default), annotation=types[field.name]
            )
            for field in shared
        ]

        @wraps(make)
        def made(files: Files, **options: Any) -> Dataset:
            chosen = {field.name: options.pop(field.name) for field in shared if field.name in options}
            return make(files, TextOptions(**(defaults | chosen)), **options)

        made.__signature__ = inspect.Signature([files, *own, *parameters])  # type: ignore[attr-defined]
        made.__annotations__ = {**make.__annotations__, **{field.name: types[field.name] for field in shared}}
        return made

    return decorate
