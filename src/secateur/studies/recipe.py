"""A recipe: the TOML file that describes a study, merged from its base, preset and settings, and checked.

Tables merge deeply, arrays replace; order: base, recipe, preset, `--set`. A table with a `name` (a component) is
replaced as a whole when the name changes: the options of one optimiser are no options of another. An empty table replaces
too: `rates = {}` clears what a base says.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.errors import RecipeError, UnknownName

SCHEMA = 1
_COMPONENTS = ("data", "model", "task")
_TABLES = (*_COMPONENTS, "train", "prune")
_KEYS = (
    "schema", "title", "study", "about", "base", "replicates", "margin", "plugins", *_TABLES, "rewind",
    "arms", "sweep", "tune", "presets", "expect", "analyses",
)  # fmt: skip
_ARM_KEYS = (*_TABLES, "rewind", "mask_from", "dense", "about")


@dataclass(frozen=True)
class Recipe:
    """A merged recipe: plain tables, whose components are checked when the run graph is made.

    `name` is the file's stem; `content` holds every key of the schema but `base` and `presets`.
    """

    name: str
    path: str
    preset: str | None
    content: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The study's title."""
        return str(self.content.get("title", self.name))


def recipe_folders() -> list[Path]:
    """Where recipes that come with Secateur lie."""
    package = Path(__file__).resolve().parents[1]
    return [folder for folder in (package / "recipes", package.parents[1] / "recipes") if folder.is_dir()]


def shipped_recipes() -> dict[str, Path]:
    """Name -> file of the recipes that come with Secateur (those in subfolders are bases for others)."""
    return {path.stem: path for folder in reversed(recipe_folders()) for path in sorted(folder.glob("*.toml"))}


def find_recipe(name: str) -> Path:
    """The file that `name` means: a path, or a recipe that comes with Secateur."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"there is no recipe file {name}")
        return path
    shipped = shipped_recipes()
    if name not in shipped:
        raise UnknownName("recipe", name, shipped)
    return shipped[name]


def load_recipe(
    name: str,
    preset: str | None = None,
    settings: Iterable[str] = (),
    replicates: int | None = None,
    arms: Iterable[str] | None = None,
) -> Recipe:
    """Read, merge and check a recipe. `settings` are `a.b=VALUE` texts, their values written as in TOML; `arms` are all that is
    wanted of the recipe's (`dense` stands for no other), with those that their masks come from."""
    path = find_recipe(name)
    content = _with_base(path)
    where = path.name
    presets = content.pop("presets", {})
    if preset is not None:
        if preset not in presets:
            raise UnknownName("preset", preset, presets, where)
        content = merge(content, presets[preset])
    for setting in settings:
        content = merge(content, _parsed_setting(setting))
    if replicates is not None:
        content["replicates"] = replicates
    _check(content, where)
    if arms is not None:
        content = _only(content, arms, where)
    return Recipe(path.stem, str(path), preset, content)


def presets_of(name: str) -> list[str]:
    """The presets that a recipe offers."""
    return list(_with_base(find_recipe(name)).get("presets", {}))


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `under`: tables merge deeply, all else replaces; a table of another `name`, or an empty one, replaces whole."""
    merged = dict(under)
    for key, value in over.items():
        known = merged.get(key)
        if (
            isinstance(known, Mapping)
            and isinstance(value, Mapping)
            and value
            and ("name" not in value or value["name"] == known.get("name", value["name"]))
        ):
            merged[key] = merge(known, value)
        else:
            merged[key] = value
    return merged


def set_path(table: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`table` with the entry at a dotted path replaced."""
    first, _, rest = path.partition(".")
    changed = dict(table)
    if rest:
        inner = changed.get(first, {})
        if not isinstance(inner, Mapping):
            raise RecipeError(f"{path}: {first!r} is no table")
        changed[first] = set_path(inner, rest, value)
    else:
        changed[first] = value
    return changed


def _with_base(path: Path) -> dict[str, Any]:
    """The recipe's tables laid on those of its base, and its base's."""
    content = _read(path)
    base = content.pop("base", None)
    if base is None:
        return content
    candidates = [folder / f"{base}.toml" for folder in (path.parent, *recipe_folders())]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise RecipeError(f"{path.name}: base: there is no recipe {base!r} beside it or among those that come with Secateur")
    if found.resolve() == path.resolve():
        raise RecipeError(f"{path.name}: base: a recipe cannot be its own base")
    return merge(_with_base(found), content)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path.name} is no TOML: {error}") from None


def _parsed_setting(setting: str) -> dict[str, Any]:
    path, equals, value = setting.partition("=")
    if not equals:
        raise RecipeError(f"--set {setting}: write it as a.b=VALUE")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    return set_path({}, path.strip(), parsed)


def _check(content: Mapping[str, Any], where: str) -> None:
    for key in content:
        if key not in _KEYS:
            raise UnknownName("key", key, _KEYS, where)
    if content.get("schema") != SCHEMA:
        raise RecipeError(f"{where}: schema: found {content.get('schema')!r}; this version reads schema {SCHEMA}")
    for key in (*_COMPONENTS, "train"):
        if not isinstance(content.get(key), Mapping):
            raise RecipeError(f"{where}: the table {key!r} is missing")
    for key in _COMPONENTS:
        if not isinstance(content[key].get("name"), str):
            raise RecipeError(f"{where}: {key}: the key 'name' is missing")
    replicates = content.get("replicates", 1)
    if not isinstance(replicates, int) or isinstance(replicates, bool) or replicates < 1:
        raise RecipeError(f"{where}: replicates: found {replicates!r}, which is not a whole number from 1 on")
    margin = content.get("margin")
    if margin is not None and (isinstance(margin, bool) or not isinstance(margin, int | float) or margin <= 0):
        raise RecipeError(f"{where}: margin: found {margin!r}, which is not a number above 0")
    arms = content.get("arms", {})
    for arm, table in arms.items():
        if arm == "dense":
            raise RecipeError(f"{where}: arms.dense: 'dense' is the arm of level 0 and cannot be defined")
        for key in table:
            if key not in _ARM_KEYS:
                raise UnknownName("key", key, _ARM_KEYS, f"{where}: arms.{arm}")
        source = table.get("mask_from")
        if source is not None and (source not in arms or source == arm):
            raise UnknownName("arm", str(source), [name for name in arms if name != arm], f"{where}: arms.{arm}.mask_from")
        if not isinstance(table.get("dense", True), bool):
            raise RecipeError(f"{where}: arms.{arm}.dense: found {table['dense']!r}, which is not true or false")
        if "prune" in table and source is not None:
            raise RecipeError(f"{where}: arms.{arm}: it has both 'mask_from' and 'prune'; its masks come from one of them")
    if arms and not isinstance(content.get("prune"), Mapping) and any("prune" not in t and "mask_from" not in t for t in arms.values()):
        raise RecipeError(f"{where}: the table 'prune' is missing")
    for path, values in content.get("sweep", {}).items():
        if not isinstance(values, list) or not values:
            raise RecipeError(f"{where}: sweep.{path!r}: found {values!r}, which is not a list of values")
    tune = content.get("tune", [])
    if not isinstance(tune, list):
        raise RecipeError(f"{where}: tune: found {tune!r}, which is not a list of keys of 'sweep'")
    for path in tune:
        if path not in content.get("sweep", {}):
            raise UnknownName("swept key", str(path), list(content.get("sweep", {})), f"{where}: tune")


def _only(content: Mapping[str, Any], arms: Iterable[str], where: str) -> dict[str, Any]:
    """The recipe with these arms and those that their masks come from; what is expected or analysed of others is left out."""
    tables = content.get("arms", {})
    wanted: set[str] = set()
    for arm in arms:
        if arm != "dense" and arm not in tables:
            raise UnknownName("arm", arm, ["dense", *tables], where)
        while arm in tables and arm not in wanted:
            wanted.add(arm)
            arm = tables[arm].get("mask_from", "dense")
    reduced = {**content, "arms": {arm: table for arm, table in tables.items() if arm in wanted}}
    if "expect" in content:
        reduced["expect"] = [entry for entry in content["expect"] if entry["arm"] in ("dense", *wanted)]
    if "analyses" in content:
        reduced["analyses"] = {
            name: {**table, "arms": [arm for arm in table["arms"] if arm in ("dense", *wanted)]} if "arms" in table else table
            for name, table in content["analyses"].items()
        }
    return reduced


def import_plugins(plugins: Iterable[str], recipe: Path) -> None:
    """Import a recipe's `plugins` (modules, or Python files beside it), which register components of their own."""
    for plugin in plugins:
        if not plugin.endswith(".py"):
            importlib.import_module(plugin)
            continue
        file = (recipe.parent / plugin).resolve()
        if not file.is_file():
            raise RecipeError(f"{recipe.name}: plugins: there is no file {file}")
        name = f"secateur_plugin_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
