import pytest

from secateur.errors import InputError, PruningError, UnknownName
from secateur.pruning.rewind import Rewind
from secateur.steps import Step


@pytest.mark.parametrize(
    ("written", "kind", "from_end", "position"),
    [("init", "init", False, 0), ("500it", "step", False, 500), ("1ep", "step", False, 40), ("0it", "init", False, 0),
     ("lr", "lr", True, 0), ("end", "end", True, 0), ("finetune", "finetune", True, None), ("reinit", "reinit", False, 0)],
)  # fmt: skip
def test_what_a_rewind_means(written: str, kind: str, from_end: bool, position: int | None) -> None:
    rewind = Rewind.parse(written)
    assert (rewind.kind, rewind.from_end, rewind.position(40), rewind.optimizer) == (kind, from_end, position, "fresh")
    assert Rewind.parse(str(rewind)) == rewind


def test_the_optimiser_keeps_its_state_on_request() -> None:
    assert Rewind.parse({"to": "1ep", "optimizer": "kept"}) == Rewind("step", Step.parse("1ep"), "kept")


@pytest.mark.parametrize(
    "written", ["initial", "1.5it", "late", {"to": "init", "optimiser": "kept"}, {"optimizer": "kept"}, {"to": "lr", "optimizer": "old"}]
)
def test_what_means_nothing_is_refused(written: object) -> None:
    with pytest.raises(InputError):
        Rewind.parse(written)  # type: ignore[arg-type]


def test_the_nearest_word_is_offered() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'reinit'"):
        Rewind.parse("re-init")


@pytest.mark.parametrize("kind", ["init", "reinit"])
def test_there_is_no_optimiser_state_before_the_first_step(kind: str) -> None:
    with pytest.raises(PruningError, match="no optimiser state"):
        Rewind.parse({"to": kind, "optimizer": "kept"})
