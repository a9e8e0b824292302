import pytest

from secateur import registry
from secateur.errors import InputError, UnknownName
from secateur.registry import Registry


@pytest.fixture
def numbers() -> Registry:  # type: ignore[type-arg]
    made: Registry = Registry("number", "secateur.pruning")  # type: ignore[type-arg]

    @made.register("double", signed=True)
    def double(value: int, *, times: int = 2, name: str | None = None) -> int:
        """Twice the value.

        More words.
        """
        return value * times

    return made


def test_an_entry_tells_summary_options_and_traits(numbers: Registry) -> None:  # type: ignore[type-arg]
    entry = numbers.entry("double")
    assert entry.summary == "Twice the value."
    assert list(entry.options) == ["times", "name"]
    assert entry.options["times"].default == 2
    assert entry.traits == {"signed": True}
    assert numbers["double"](4) == 8
    assert "double" in numbers
    assert numbers.names() == ["double"]


def test_an_unknown_name_gets_the_nearest(numbers: Registry) -> None:  # type: ignore[type-arg]
    with pytest.raises(UnknownName, match=r"unknown number 'duble'. Did you mean 'double'\?") as caught:
        numbers["duble"]
    assert caught.value.nearest == "double"


def test_a_name_is_taken_once(numbers: Registry) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match="registered already"):

        @numbers.register("double")
        def other(value: int) -> int:
            return value


def test_rooms_are_imported_on_first_use() -> None:
    assert {"one-shot", "iterative", "gradual", "dynamic", "early-bird"} <= set(registry.schedules.names())
    assert list(registry.schedules.entry("iterative").options) == ["keep_each", "levels"]


@pytest.mark.parametrize("room", ["scores", "scopes", "units", "schedules", "dynamic_methods"])
def test_every_component_of_pruning_says_what_it_does(room: str) -> None:
    entries = list(getattr(registry, room))
    assert entries
    for entry in entries:
        assert len(entry.summary) > 10, entry.name
        assert all(option.default is not option.empty for option in entry.options.values()), entry.name
