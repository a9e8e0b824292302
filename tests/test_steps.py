from fractions import Fraction

import pytest

from secateur.errors import InputError
from secateur.steps import Step


@pytest.mark.parametrize(("written", "steps"), [("500it", 500), ("10ep", 70), ("0.5ep", 4), (" 2 ep ", 14), ("0it", 0), ("0.1ep", 1)])
def test_iterations_at_seven_steps_an_epoch(written: str, steps: int) -> None:
    assert Step.parse(written).iterations(7) == steps


@pytest.mark.parametrize("written", ["500", "ep", "-1ep", "1.5it", "10 epochs", "", "1e3it", 5, None])
def test_what_is_no_length_is_refused(written: object) -> None:
    with pytest.raises(InputError):
        Step.parse(written)  # type: ignore[arg-type]


@pytest.mark.parametrize("written", ["500it", "10ep", "0.5ep", "12.25ep"])
def test_a_step_is_written_as_it_was_read(written: str) -> None:
    assert str(Step.parse(written)) == written
    assert Step.parse(str(Step.parse(written))) == Step.parse(written)


def test_equal_steps_are_equal_and_units_differ() -> None:
    assert Step.parse("1.0ep") == Step(Fraction(1), "ep")
    assert Step.parse("1ep") != Step.parse("1it")
    assert len({Step.parse("2ep"), Step.parse("2.0ep")}) == 1


def test_halves_of_a_step_round_up_and_not_to_even() -> None:
    assert Step.parse("0.5ep").iterations(5) == 3
    assert Step.parse("0.5ep").iterations(3) == 2
