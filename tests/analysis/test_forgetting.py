"""Confusion and forgetting on examples small enough to count by eye."""

import numpy as np
import pytest
import sklearn.metrics
from statsmodels.stats.contingency_tables import mcnemar

from secateur.analysis.forgetting import class_changes, confusion, forgotten_examples, mcnemar_p
from secateur.errors import InputError

TARGETS = np.array([0, 0, 0, 1, 1, 2])
DENSE = np.array([0, 0, 1, 1, 1, 0])
PRUNED = np.array([0, 1, 0, 1, 0, 0])


def test_rows_are_true_and_columns_predicted() -> None:
    assert confusion(TARGETS, DENSE, 3).tolist() == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]


def test_confusion_is_sklearns() -> None:
    draw = np.random.default_rng(0)
    targets, predicted = draw.integers(0, 5, 400), draw.integers(0, 5, 400)
    assert (confusion(targets, predicted, 5) == sklearn.metrics.confusion_matrix(targets, predicted)).all()


def test_changes_by_class() -> None:
    first, second, third, everything = class_changes(TARGETS, DENSE, PRUNED, ["a", "b", "c"])
    assert (first.examples, first.both_right, first.forgotten, first.learned, first.both_wrong) == (3, 1, 1, 1, 0)
    assert (second.examples, second.both_right, second.forgotten, second.learned, second.both_wrong) == (2, 1, 1, 0, 0)
    assert (third.examples, third.both_wrong) == (1, 1)
    assert (everything.name, everything.examples, everything.forgotten, everything.learned) == ("all", 6, 2, 1)
    assert second.recall_dense == 1.0
    assert second.recall_pruned == 0.5


def test_changes_add_up_to_the_whole() -> None:
    draw = np.random.default_rng(1)
    targets, dense, pruned = (draw.integers(0, 4, 300) for _ in range(3))
    *classes, everything = class_changes(targets, dense, pruned, list("abcd"))
    for field in ("examples", "both_right", "forgotten", "learned", "both_wrong"):
        assert sum(getattr(one, field) for one in classes) == getattr(everything, field)
    assert everything.recall_pruned == pytest.approx(np.mean(pruned == targets))


@pytest.mark.parametrize(("forgotten", "learned"), [(0, 0), (3, 1), (10, 2), (5, 5), (0, 8)])
def test_mcnemar_is_statsmodels(forgotten: int, learned: int) -> None:
    expected = mcnemar([[50, forgotten], [learned, 7]], exact=True).pvalue if forgotten + learned else 1.0
    assert mcnemar_p(forgotten, learned) == pytest.approx(expected, abs=1e-9)


def test_forgotten_is_right_in_every_dense_and_wrong_in_every_ticket() -> None:
    assert forgotten_examples(TARGETS, [DENSE], [PRUNED]).tolist() == [1, 4]
    assert forgotten_examples(TARGETS, [DENSE, TARGETS], [PRUNED, np.array([1, 1, 1, 1, 1, 1])]).tolist() == [1]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="do not fit"):
        confusion(TARGETS, DENSE[:3], 3)
    with pytest.raises(InputError, match="0 to 1"):
        confusion(TARGETS, DENSE, 2)
    with pytest.raises(InputError, match="need predictions"):
        forgotten_examples(TARGETS, [], [PRUNED])
