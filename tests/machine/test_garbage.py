"""What is imported is left alone by the collector; what comes later is collected."""

import gc
import weakref

import pytest

from vaelab.machine.garbage import collect_nothing, collect_what_comes


class Loop:
    """Garbage that only the collector finds."""

    def __init__(self):
        self.itself = self


def forgotten():
    return weakref.ref(Loop())


def test_nothing_is_collected_of_a_launch_and_all_of_what_comes_later():
    try:
        collect_nothing()
        imported = forgotten()
        collect_what_comes()
        later = forgotten()
        gc.collect()
        assert imported() is not None
        assert later() is None
    finally:
        gc.unfreeze()
        gc.enable()


@pytest.mark.slow
def test_where_all_was_collected_before_it_still_is():
    before = forgotten()
    collect_what_comes()
    gc.collect()
    assert before() is None
