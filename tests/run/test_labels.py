"""Numbers in the names of runs."""

import pytest

from vaelab.run.labels import rounded


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("optimizer.lr=0.0013385298778232698,latent.dim=8", "optimizer.lr=0.00134,latent.dim=8"),
        ("lr=1.3385298778232698e-05", "lr=1.34e-05"),
        (0.0013385298778232698, "0.00134"),
        (-0.30000000000000004, "-0.3"),
        (1.0, "1"),
        (1234.5678, "1235"),
        ("[0.9,0.123456789]", "[0.9,0.123]"),
        # as short as a person would write them, or no decimal numbers
        ("ema=0.9995", "ema=0.9995"),
        ("lr=1e-3", "lr=1e-3"),
        ("seed=123456789", "seed=123456789"),
        (123456789, "123456789"),
        ("20260101_120000-0a1b2c3d", "20260101_120000-0a1b2c3d"),
        ("model-1.234567.8", "model-1.234567.8"),
    ],
)
def test_only_long_decimal_numbers_are_rounded(value, text):
    assert rounded(value) == text
