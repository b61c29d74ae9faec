"""Changes to what a checkpoint holds, and a comparison of it."""

import torch


def assert_equal_states(one, other):
    """The states of two optimizers are the same to the last bit."""
    assert one.keys() == other.keys()
    for number in one:
        assert one[number].keys() == other[number].keys()
        assert all(torch.equal(*map(torch.as_tensor, (one[number][k], other[number][k]))) for k in one[number])


def set_in(*path):
    """Sets the entry of a nested state at that path to what `odd` makes of it."""

    def change(state, odd):
        *inner, last = path
        for key in inner:
            state = state[key]
        state[last] = odd(state[last])

    return change


def constant(value):
    """A change to that value, whatever was there."""
    return lambda _: value


def without(key):
    """A change of a dictionary that leaves out a key."""
    return lambda found: {k: v for k, v in found.items() if k != key}
