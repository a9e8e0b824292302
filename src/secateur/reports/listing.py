"""What there is, as rows: components, recipes, data sets, studies of a store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from secateur import registry
from secateur.analysis import phrasing as say
from secateur.errors import InputError, UnknownName
from secateur.studies.options import describe_type

if TYPE_CHECKING:  # what they import takes seconds, and a list should not
    from secateur.studies.results import Study
    from secateur.studies.store import Store

COMPONENTS: dict[str, registry.Registry[Any]] = {
    "models": registry.models,
    "data": registry.datasets,
    "tasks": registry.tasks,
    "scores": registry.scores,
    "scopes": registry.scopes,
    "units": registry.units,
    "schedules": registry.schedules,
    "dynamic-methods": registry.dynamic_methods,
    "initialisers": registry.initialisers,
    "optimizers": registry.optimizers,
    "learning-rates": registry.learning_rates,
    "node-kinds": registry.node_kinds,
    "executors": registry.executors,
}


def listing(what: str) -> list[dict[str, Any]]:
    """The components of one kind, with what they are and their options; or the recipes that come with Secateur."""
    if what == "recipes":
        return _recipes()
    if what not in COMPONENTS:
        raise UnknownName("list", what, ["recipes", *COMPONENTS])
    return [{"name": entry.name, "what": entry.summary, "options": _options(entry)} for entry in COMPONENTS[what]]


def status_rows(store: Store, name: str | None) -> list[dict[str, Any]]:
    """The state of the latest study of each name (or of one), with the disk it takes."""
    from secateur.studies.results import Study

    names = [name] if name else sorted({path.parent.name for path in store.studies()})
    return [_status(Study.latest(store, each)) for each in names]


def data_rows(action: str, name: str | None, data_dir: str | None) -> list[dict[str, Any]]:
    """The data sets and where their raw files are; fetch, verify or locate one."""
    from secateur.data import catalogue
    from secateur.data.files import Files

    files = Files.default(data_dir)
    if action == "list":
        return [{"name": one.name, "state": one.state, "what": one.summary} for one in catalogue.listed(files)]
    if name is None:
        raise InputError(f"secateur data {action}: say which data set; 'secateur data list' names them")
    if action == "path":
        return [{"path": str(path)} for path in catalogue.paths(files, name)]
    if action == "fetch":
        return [{"path": str(path)} for path in catalogue.fetched(files, name)]
    return [
        {"file": one.file, "path": str(one.path), "sha256": one.sha256, "label": one.label, "problem": one.problem}
        for one in catalogue.verified(files, name)
    ]


def _status(study: Study) -> dict[str, Any]:
    seconds = sum(sum(study.store.timings(key).values()) for key in study.record["nodes"])
    disk = sum(
        artefact.bytes for key in study.record["nodes"] if (stored := study.store.get(key)) for artefact in stored.artefacts.values()
    )
    facts = {"study": study.name, "preset": study.preset, **study.progress(), "seconds": round(seconds, 1), "bytes": disk}
    return {**facts, "failures": study.failures()}


def _options(entry: registry.Entry[Any]) -> list[str]:
    import typing

    hints = typing.get_type_hints(entry.make)
    return [f"{name} ({describe_type(hints.get(name, Any))})" for name in entry.options]


def _recipes() -> list[dict[str, Any]]:
    from secateur.reports.recipe_times import recipe_times
    from secateur.studies.recipe import load_recipe, presets_of, shipped_recipes

    times = recipe_times()
    rows = []
    for name in shipped_recipes():
        content = load_recipe(name).content
        seconds = {preset: times.seconds.get(name, {}).get(preset) for preset in presets_of(name)}
        rows.append(
            {"name": name, "study": content.get("study", ""), "title": content.get("title", ""),
             "arms": ["dense", *content.get("arms", {})], "seconds": seconds}
        )  # fmt: skip
    return rows


def shown(row: Mapping[str, Any]) -> dict[str, str]:
    """A row for readers: lists in one line, seconds in the largest unit that says enough."""
    return {"time on two cores" if key == "seconds" else key: _shown(value) for key, value in row.items()}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {'?' if seconds is None else say.about(seconds)}" for name, seconds in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
