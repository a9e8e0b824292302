"""Estimate what every recipe takes in every preset, on two cores, and write the table that `secateur list recipes` shows.

    python benchmarks/recipe_times.py [RECIPE ...]

Every recipe's data are loaded and its networks built, but nothing is trained: see `studies.pace`. Where CIFAR-10 cannot be had,
random images stand in, since only their number and size matter. With names, only their rows are written anew.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from secateur.data import cifar10
from secateur.data.files import Files
from secateur.data.images import image_arrays
from secateur.data.parsed import Parsed
from secateur.data.partition import TEST, TRAIN
from secateur.data.raw import Found
from secateur.errors import DataError
from secateur.reports import recipe_times
from secateur.reports.estimates import estimate
from secateur.reports.recipe_times import FILE, RecipeTimes, form_of
from secateur.studies.recipe import load_recipe, presets_of, shipped_recipes
from secateur.studies.run import prepare

CORES = 2
TABLE = Path(recipe_times.__file__).with_name(FILE)


def main() -> None:
    """Estimate and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: all")
    names = parser.parse_args().recipes or list(shipped_recipes())
    torch.set_num_threads(1)
    known = recipe_times.recipe_times() if TABLE.exists() else RecipeTimes({}, {}, "")
    seconds = {name: dict(row) for name, row in known.seconds.items() if name in shipped_recipes()}
    forms = {name: dict(row) for name, row in known.forms.items() if name in shipped_recipes()}
    for name in names:
        for preset in presets_of(name):
            content = load_recipe(name, preset).content
            with tempfile.TemporaryDirectory() as store, stand_in(content["data"]["name"]):
                took = estimate(prepare(name, preset, store), CORES)["seconds"]
            seconds.setdefault(name, {})[preset] = took
            forms.setdefault(name, {})[preset] = form_of(content)
            print(f"{name} {preset}: {took:,.0f} s", flush=True)
        machine = f"{CORES} cores with {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__.partition('+')[0]}, estimated"
        TABLE.write_text(RecipeTimes(seconds, forms, machine).to_json())


def stand_in(data: str) -> AbstractContextManager[object]:
    """Random images in the place of CIFAR-10, where it is wanted and neither here nor to be fetched."""
    if data != "cifar10":
        return nullcontext()
    try:
        Files.default(None).find_all((cifar10.CIFAR10_BINARY,), (cifar10.CIFAR10_PYTHON,))
    except DataError:
        images = np.random.default_rng(0).integers(0, 256, (60_000, 3, 32, 32), np.uint8)
        labels = (np.arange(60_000) % 10).astype(np.uint8)
        parts = np.repeat(np.array([TRAIN, TEST], np.uint8), [50_000, 10_000])
        parsed = Parsed(image_arrays(images, labels, parts), {})
        found = [Found(cifar10.CIFAR10_BINARY, Path("random"), "random", "random")]
        stack = ExitStack()
        stack.enter_context(patch.object(Files, "find_all", lambda *_: found))
        stack.enter_context(patch.object(cifar10, "parsed_once", lambda *_: parsed))
        return stack
    return nullcontext()


if __name__ == "__main__":
    main()
