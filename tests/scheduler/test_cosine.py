"""Half a cosine after a linear warm-up."""

import math

import pytest

from vaelab.scheduler.cosine import Cosine

TOTAL = 100


def factors(warmup_steps, final, total=TOTAL):
    schedule = Cosine(warmup_steps, final)
    return [schedule(step, total) for step in range(total)]


def test_the_warm_up_rises_linearly_to_one():
    assert factors(4, 0.0)[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


def test_no_step_is_lost_at_the_start():
    assert min(factors(10, 0.0)[:10]) > 0
    assert factors(0, 0.0)[0] == 1


@pytest.mark.parametrize("final", [0.0, 0.1, 0.5])
def test_after_the_warm_up_it_falls_to_final(final):
    fall = factors(20, final)[20:]
    assert fall == sorted(fall, reverse=True)
    assert fall[40] == pytest.approx((1 + final) / 2, abs=0.02)  # halfway down the cosine
    assert fall[-1] == pytest.approx(final, abs=0.001)
    assert min(fall) >= final


def test_the_final_factor_follows_the_last_step():
    assert Cosine(0, 0.1)(10, 10) == pytest.approx(0.1)
    assert factors(0, 0.0, total=10)[-1] > 0


@pytest.mark.parametrize(("warmup_steps", "total"), [(100, 10), (10, 10), (0, 1), (1, 1)])
def test_every_factor_is_in_range_whatever_the_length(warmup_steps, total):
    assert all(0 < factor <= 1 for factor in factors(warmup_steps, 0.0, total))


def test_a_resumed_run_beyond_its_length_stays_at_final():
    assert Cosine(5, 0.2)(TOTAL + 50, TOTAL) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("warmup_steps", "final", "key"),
    [(-1, 0.0, "warmup_steps"), (1.5, 0.0, "warmup_steps"), (0, -0.1, "final"), (0, math.nan, "final")],
)
def test_settings_out_of_range_are_refused_by_name(warmup_steps, final, key):
    with pytest.raises(ValueError, match=f"{key} must be"):
        Cosine(warmup_steps, final)
