"""Work that is done in a thread: in order, so much ahead and no more, and nothing of it fails unheard."""

import threading

import pytest

from vaelab.files.later import Later


def test_all_is_done_in_order_when_it_was_waited_for():
    done, later = [], Later(2)
    for number in range(20):
        later.do(lambda number=number: done.append(number))
    later.wait()
    assert done == list(range(20))


def test_whoever_gives_more_than_may_wait_waits_himself():
    go_on, begun, later = threading.Event(), [], Later(1)
    later.do(lambda: (go_on.wait(60), begun.append(1)))
    giver = threading.Thread(target=later.do, args=(lambda: begun.append(2),))
    giver.start()
    giver.join(0.2)
    assert giver.is_alive() and not begun
    go_on.set()
    giver.join(60)
    later.wait()
    assert begun == [1, 2]


def test_what_failed_is_raised_once_and_what_came_after_it_is_done():
    done, later = [], Later(2)

    def fails():
        raise OSError("no space left")

    later.do(fails)
    later.do(lambda: done.append(1))
    with pytest.raises(OSError, match="no space left"):
        later.do(lambda: done.append(2))
    later.wait()
    assert done == [1]
    later.do(lambda: done.append(3))  # after the wait too
    later.wait()
    assert done == [1, 3]
