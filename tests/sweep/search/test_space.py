"""Hydra's words for a sweep become a space to search in, and values of it become overrides again."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from vaelab.errors import UserError
from vaelab.sweep.search.space import as_overrides, probes, search_space

PARSER = OverridesParser.create()


def space_of(*words):
    return search_space(PARSER.parse_overrides(list(words)))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("interval(1e-4,1)", FloatDistribution(1e-4, 1.0)),
        ("interval(1,10)", FloatDistribution(1.0, 10.0)),
        ("tag(log,interval(1e-4,1))", FloatDistribution(1e-4, 1.0, log=True)),
        ("int(interval(2,64))", IntDistribution(2, 64)),
        ("tag(int,interval(2,64))", IntDistribution(2, 64)),
        ("tag(log,int(interval(2,64)))", IntDistribution(2, 64, log=True)),
        ("int(tag(log,interval(2,64)))", IntDistribution(2, 64, log=True)),
        ("tag(int,log,interval(2,64))", IntDistribution(2, 64, log=True)),
        ("range(1,10)", IntDistribution(1, 9)),
        ("range(1,10,3)", IntDistribution(1, 7, step=3)),
        ("range(10,0,-3)", IntDistribution(1, 10, step=3)),
        ("shuffle(range(1,4))", IntDistribution(1, 3)),
        ("tag(log,range(1,10))", IntDistribution(1, 9, log=True)),
        ("range(0,1,0.1)", FloatDistribution(0.0, 0.9, step=0.1)),
        ("float(range(1,4))", FloatDistribution(1.0, 3.0, step=1.0)),
        ("choice(elbo,iwae)", CategoricalDistribution(["elbo", "iwae"])),
        ("shuffle(c,a,b)", CategoricalDistribution(["c", "a", "b"])),
        ("a,1,2.5,true,null,[1,2]", CategoricalDistribution(["a", 1, 2.5, True, "null", "[1,2]"])),
    ],
)
def test_words_mean_what_hydra_means_by_them(words, expected):
    space, _ = space_of(f"x={words}")
    assert space == {"x": expected}


@pytest.mark.parametrize(
    "words",
    [
        "interval(2,1)",
        "interval(1,1)",
        "interval(0,inf)",
        "tag(log,interval(0,1))",
        "tag(int,interval(0.5,3))",
        "tag(ordered,interval(0,1))",
        "tag(log,choice(1,2))",
        "tag(log,range(0,1,0.1))",
        "tag(log,range(1,9,2))",
        "range(3,3)",
        "range(0,1,0.0)",
        "range(0,9,0)",
        "a,b,a",
    ],
)
def test_what_is_no_space_is_refused_in_one_sentence_that_names_it(words):
    with pytest.raises(UserError, match=r"^x=\S+ cannot be searched: [^\n]+$") as raised:
        space_of(f"x={words}")
    assert raised.value.exit_code == 2


def test_single_values_go_to_every_trial_as_they_were_written():
    space, fixed = space_of("a=1", "b=x,y", "~c", "+d='two words'", "e=[1,2]")
    assert list(space) == ["b"]
    assert fixed == ["a=1", "~c", "+d='two words'", "e=[1,2]"]


def test_of_two_overrides_for_a_key_the_later_wins():
    space, fixed = space_of("a=interval(0,1)", "b=3", "a=5", "b=1,2")
    assert list(space) == ["b"]
    assert fixed == ["a=5"]


def test_a_search_without_a_variable_is_refused():
    with pytest.raises(UserError, match="must have something to vary"):
        space_of("a=1")


def test_values_are_read_back_by_hydra_as_they_were():
    values = ["a b", "it's", [64, 64], None, True, 1e-5, 0.1 + 0.2, 3]
    words = "x='a b','it\\'s',[64,64],null,true,1e-5,0.30000000000000004,3"
    space, _ = space_of(words)
    lines = [as_overrides({"x": choice})[0] for choice in space["x"].choices]
    assert [override.value() for override in PARSER.parse_overrides(lines)] == values


def test_the_probes_name_every_word_of_every_choice():
    space = {
        "x": FloatDistribution(-3.0, 3.0),
        "word": CategoricalDistribution(["a", "b"]),
        "model": CategoricalDistribution(["mlp", "conv", "[8]"]),
        "b": CategoricalDistribution(list(range(9))),
    }
    found = probes(space)
    assert len(found) == 3
    assert {probe["model"] for probe in found} == {"mlp", "conv", "[8]"}
    assert {probe["word"] for probe in found} == {"a", "b"}
    assert all(probe.keys() == space.keys() for probe in found)
