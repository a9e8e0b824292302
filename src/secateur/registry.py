"""Registries: name -> component. To add a score, model, data set … is to write one function and register it.

A component's **keyword-only parameters are its options**: the keys that a recipe may set, with their types and
defaults. What stands before them is handed in by the engine.

    @scores.register("magnitude")
    def magnitude(model, mask, batches, loss, generator, *, power: float = 1.0): ...
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from secateur.errors import InputError, UnknownName

T = TypeVar("T", bound=Callable[..., Any])


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One registered component: the callable, and traits that say where it can be used."""

    name: str
    make: T
    traits: Mapping[str, Any]

    @property
    def summary(self) -> str:
        """The first line of the component's docstring."""
        return (inspect.getdoc(self.make) or "").partition("\n")[0]

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The component's options: its keyword-only parameters, in order of definition."""
        parameters = inspect.signature(self.make).parameters.values()
        return {p.name: p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


class Registry(Generic[T]):
    """The components of one kind, found in one room (a package, imported on first use) and in plug-ins."""

    def __init__(self, what: str, room: str) -> None:
        self.what = what
        self._room = room
        self._entries: dict[str, Entry[T]] = {}
        self._loaded = False

    def register(self, name: str, **traits: Any) -> Callable[[T], T]:
        """Register the decorated callable under `name`. A name can be taken once."""

        def decorate(make: T) -> T:
            known = self._entries.get(name)
            if known is not None and known.make.__qualname__ != make.__qualname__:
                raise InputError(f"{self.what} {name!r} is registered already, by {known.make.__module__}.{known.make.__qualname__}")
            self._entries[name] = Entry(name, make, traits)
            return make

        return decorate

    def entry(self, name: str) -> Entry[T]:
        """The entry called `name`; `UnknownName` with the nearest valid name otherwise."""
        self._load()
        if name not in self._entries:
            raise UnknownName(self.what, name, self._entries)
        return self._entries[name]

    def __getitem__(self, name: str) -> T:
        return self.entry(name).make

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries

    def __iter__(self) -> Iterator[Entry[T]]:
        self._load()
        return iter([self._entries[name] for name in sorted(self._entries)])

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._entries)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        room = importlib.import_module(self._room)
        for module in pkgutil.iter_modules(getattr(room, "__path__", [])):
            importlib.import_module(f"{self._room}.{module.name}")


Component = Callable[..., Any]

datasets: Registry[Component] = Registry("data set", "secateur.data")
models: Registry[Component] = Registry("model", "secateur.models")
initialisers: Registry[Component] = Registry("initialiser", "secateur.models")
scores: Registry[Component] = Registry("score", "secateur.pruning")
scopes: Registry[Component] = Registry("scope", "secateur.pruning")
units: Registry[Component] = Registry("unit", "secateur.pruning")
schedules: Registry[Component] = Registry("schedule", "secateur.pruning")
dynamic_methods: Registry[Component] = Registry("dynamic method", "secateur.pruning")
tasks: Registry[Component] = Registry("task", "secateur.tasks")
optimizers: Registry[Component] = Registry("optimizer", "secateur.training")
learning_rates: Registry[Component] = Registry("learning-rate schedule", "secateur.training")
node_kinds: Registry[Component] = Registry("node kind", "secateur.studies")
executors: Registry[Component] = Registry("executor", "secateur.studies")
