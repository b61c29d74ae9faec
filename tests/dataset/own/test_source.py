"""Splits by a hash of the names; reading on all cores keeps the order."""

import time

import pytest

from vaelab.dataset.own.source import by_threads, check_fractions, parted

NAMES = [f"picture {number}.jpg" for number in range(10_000)]


def test_every_item_is_in_one_split_and_the_fractions_are_those_asked_for():
    parts = parted({"train": NAMES}, str, 0.2, 0.1)
    assert sorted([*parts["train"], *parts["val"], *parts["test"]]) == sorted(NAMES)
    assert [len(parts[part]) / len(NAMES) for part in ("train", "val", "test")] == pytest.approx(
        [0.7, 0.2, 0.1], abs=0.02
    )


def test_an_item_stays_in_its_split_when_others_come_or_go():
    whole, half = parted({"train": NAMES}, str, 0.1, 0.1), parted({"train": NAMES[::2]}, str, 0.1, 0.1)
    for part in whole:
        assert set(half[part]) == set(whole[part]) & set(NAMES[::2])


def test_a_split_that_is_there_stays_and_the_others_come_from_train():
    own = {"train": NAMES[:900], "test": NAMES[900:1000]}
    parts = parted(own, str, 0.1, 0.5)
    assert parts["test"] == NAMES[900:1000]
    assert sorted([*parts["train"], *parts["val"]]) == sorted(NAMES[:900])
    assert 50 < len(parts["val"]) < 150


def test_no_fraction_leaves_all_for_training():
    assert parted({"train": NAMES}, str, 0, 0) == {"train": NAMES, "val": [], "test": []}


@pytest.mark.parametrize(
    ("val", "test", "named"), [(-0.1, 0.1, "val"), (0.1, "many", "test"), (0.5, 0.5, "val and test")]
)
def test_fractions_leave_something_to_train_on(val, test, named):
    with pytest.raises(ValueError, match=f"{named} must"):
        check_fractions(val, test)


@pytest.mark.slow
def test_items_are_read_beside_each_other_in_their_order():
    def read(item):
        time.sleep(0.01 if item % 3 == 0 else 0)
        return item

    assert list(by_threads(read)(range(600))) == list(range(600))
