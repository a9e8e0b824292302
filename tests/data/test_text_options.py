"""One declaration of the options of labelled texts, from which each data set's own signature is made."""

from __future__ import annotations

import inspect
import typing

import pytest

from secateur.data.dataset import Dataset
from secateur.data.files import Files
from secateur.data.text_options import TextOptions, with_text_options
from secateur.errors import InputError, UnknownName
from secateur.registry import Entry, datasets
from secateur.studies.options import bind


def given(files: Files, options: TextOptions, *, repair: bool = True) -> Dataset:
    """What it was given."""
    return options, repair  # type: ignore[return-value]


made: typing.Any = with_text_options(max_tokens=40, padding="fixed")(given)
held_out: typing.Any = with_text_options(test=0.2)(given)


def test_own_options_and_shared_ones_are_keyword_only_with_their_defaults() -> None:
    options = {name: p.default for name, p in inspect.signature(made).parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert options["repair"] is True
    assert (options["max_tokens"], options["padding"], options["vocabulary"]) == (40, "fixed", 25_000)
    assert "test" not in options
    assert inspect.signature(held_out).parameters["test"].default == 0.2


def test_what_is_given_reaches_the_data_set() -> None:
    options, repair = made(None, limit=7, repair=False)
    assert (options, repair) == (TextOptions(max_tokens=40, padding="fixed", limit=7), False)
    assert held_out(None, test=0.3)[0].test == 0.3
    with pytest.raises(TypeError, match="colour"):
        made(None, colour=1)


def test_a_recipe_is_checked_against_them() -> None:
    entry = Entry("given", made, {})
    assert bind(entry, {"max_tokens": 12, "vocabulary_from": ["imdb"]}, "data")["vocabulary_from"] == ("imdb",)
    with pytest.raises(InputError, match="data.max_tokens"):
        bind(entry, {"max_tokens": "many"}, "data")
    with pytest.raises(UnknownName, match="test"):
        bind(entry, {"test": 0.1}, "data")


def test_a_default_of_no_option_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="maximum"):
        with_text_options(maximum=3)


@pytest.mark.parametrize(
    "name", ["agnews", "bible", "imdb", "mpaa", "mpaa-paper", "newsgroups", "polarity", "reuters", "subjectivity", "text-files"]
)
def test_every_labelled_text_has_them_all(name: str) -> None:
    shared = set(TextOptions.__dataclass_fields__) - {"test"}
    assert shared <= set(datasets.entry(name).options)
    assert datasets.entry(name).summary
