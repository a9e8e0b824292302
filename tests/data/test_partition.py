import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from secateur.data.partition import TEST, TRAIN, VALID, first_of_each, held_out, partition, repeats_across, shuffled_ranks, text_hashes


@given(st.lists(st.integers(0, 4), max_size=200), st.floats(0, 1, allow_subnormal=False), st.integers(0, 10))
def test_the_held_out_count_is_exact_and_every_class_gives_its_share(classes, fraction, seed):
    classes = np.array(classes, np.int64)
    ranks = shuffled_ranks(np.arange(len(classes), dtype=np.uint64), seed, "split")
    chosen = held_out(ranks, classes, fraction)
    assert chosen.sum() == int(np.floor(fraction * len(classes) + 0.5))
    for name in set(classes.tolist()):
        assert abs(chosen[classes == name].sum() - fraction * (classes == name).sum()) < 1 + 1e-9


def test_equal_texts_go_together_and_order_does_not_matter():
    texts = [f"text {row // 2}" for row in range(400)]
    parts = partition(np.zeros(400, np.uint8), shuffled_ranks(text_hashes(texts), 0, "split"), np.zeros(400, np.int64), 0.1, 0.2)
    assert np.array_equal(parts[::2], parts[1::2])
    assert [int((parts == part).sum()) for part in (TRAIN, VALID, TEST)] == [288, 32, 80]
    back = partition(np.zeros(400, np.uint8), shuffled_ranks(text_hashes(texts[::-1]), 0, "split"), np.zeros(400, np.int64), 0.1, 0.2)
    assert np.array_equal(back[::-1], parts)


def test_published_splits_are_left_alone():
    published = np.array([TRAIN] * 90 + [TEST] * 10, np.uint8)
    ranks = shuffled_ranks(np.arange(100, dtype=np.uint64), 0, "split")
    parts = partition(published, ranks, np.zeros(100, np.int64), 0.1, 0.5)
    assert (parts[90:] == TEST).all()
    assert (parts == TEST).sum() == 10
    assert (parts == VALID).sum() == 9


def test_a_larger_limit_holds_the_smaller_one():
    parts = np.repeat(np.array([TRAIN, VALID, TEST], np.uint8), [80, 15, 5])
    ranks = shuffled_ranks(np.arange(100, dtype=np.uint64), 0, "limit")
    small, large = first_of_each(parts, ranks, 10), first_of_each(parts, ranks, 12)
    assert [int(small[parts == part].sum()) for part in (TRAIN, VALID, TEST)] == [10, 10, 5]
    assert (large | ~small).all()
    assert first_of_each(parts, ranks, None).all()


def test_repeats_are_counted():
    hashes = text_hashes(["a", "b", " a ", "c", "b"])
    parts = np.array([TRAIN, TRAIN, TEST, TEST, VALID], np.uint8)
    assert (repeats_across(parts, hashes, TEST), repeats_across(parts, hashes, VALID)) == (1, 1)
