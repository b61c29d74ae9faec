"""Errors for people."""

import math

import numpy as np
import pytest

from vaelab.errors import UserError, check_choice, check_integer, check_number, nearest, one_line, say, visible


def test_a_user_error_carries_its_sentence_and_exit_code():
    assert str(UserError("a sentence")) == "a sentence"
    assert UserError("a sentence").exit_code == 1
    assert UserError("a sentence", exit_code=2).exit_code == 2


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mpl", "; did you mean 'mlp'?"), ("cnov", "; did you mean 'conv'?"), ("zzz", ""), ("", "")],
)
def test_nearest_names_what_is_near_and_nothing_else(name, hint):
    assert nearest(name, ["mlp", "conv"]) == hint


def test_nearest_offers_at_most_two():
    assert nearest("d2", ["d20", "d21", "d22"]).count("'") == 4


@pytest.mark.parametrize("value", [3, 4, np.int64(3)])
def test_check_integer_accepts_integers_from_the_minimum_on(value):
    check_integer("size", value, 3)


@pytest.mark.parametrize("value", [2, -3, 3.0, "3", None, True, math.nan])
def test_check_integer_refuses_the_rest_and_says_what_came(value):
    with pytest.raises(ValueError, match="size must be an integer of at least 3, got") as caught:
        check_integer("size", value, 3)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [0, 0.0, 1, 0.5, np.float32(2)])
def test_check_number_accepts_finite_numbers_from_the_minimum_on(value):
    check_number("weight", value, 0)


@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, -math.inf, "1", None, True, 1j])
def test_check_number_refuses_the_rest(value):
    with pytest.raises(ValueError, match="weight must be a finite number of at least 0, got"):
        check_number("weight", value, 0)


def test_an_integer_that_neither_torch_nor_yaml_could_hold_is_refused():
    check_integer("seed", 10**18 - 1, 0)
    with pytest.raises(ValueError, match=r"seed must be an integer below 1e\+18, got 10{18}"):
        check_integer("seed", 10**18, 0)


def test_check_number_refuses_an_integer_that_no_float_holds():
    with pytest.raises(ValueError, match=r"weight must be a finite number of at least 0, got 10{79} \.\.\."):
        check_number("weight", 10**400, 0)


def test_check_number_can_exclude_the_minimum():
    check_number("sigma", 1e-9, 0, above=True)
    with pytest.raises(ValueError, match="sigma must be a finite number above 0, got 0"):
        check_number("sigma", 0, 0, above=True)


def test_check_choice_lists_the_choices_and_the_nearest():
    check_choice("mode", "auto", ("auto", "online"))
    with pytest.raises(ValueError, match=r"mode must be one of auto, online, got 'onlin'; did you mean 'online'\?"):
        check_choice("mode", "onlin", ("auto", "online"))


@pytest.mark.parametrize("value", [True, False])
def test_a_truth_value_is_no_number(value):
    with pytest.raises(ValueError, match="size must be an integer"):
        check_integer("size", value, 0)
    with pytest.raises(ValueError, match="weight must be a finite number"):
        check_number("weight", value, 0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m\x7f\x00", "\\x9b31m\\x7f\\x00"),
        ("\u202egnp.exe\u2069\u202c\u2066", "\\u202egnp.exe\\u2069\\u202c\\u2066"),
        ("caf\udce9", "caf\\udce9"),
        ("a\u2028b", "a\\u2028b"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("caf\u00e9 \u4e2d \u05d0 [bold] \\", "caf\u00e9 \u4e2d \u05d0 [bold] \\"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out_and_the_rest_is_as_it_was(text, shown):
    assert visible(text) == shown


def test_lines_are_kept_where_there_may_be_some():
    assert visible("a\n\tb\x1b\r", lines=True) == "a\n\tb\\x1b\\r"


def test_a_sentence_is_one_line_of_standard_error(capsys):
    say(UserError("no folder\nvaelab: all is well\x1b[2J"))
    assert capsys.readouterr().err == "vaelab: no folder\\nvaelab: all is well\\x1b[2J\n"


def test_one_line_is_cut_before_it_is_made_visible():
    assert one_line("\x1b" * 5, 3) == "\\x1b" * 3 + " ..."
