"""A model of images alone."""

from vaelab.conditional.none import Unconditional


def test_the_parts_stay_as_they_are():
    unconditional, parts = Unconditional(), (object(), object(), object())
    assert unconditional(*parts) == parts
    assert unconditional.decoder_inputs == 0
