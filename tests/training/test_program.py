"""A program gives what its function gives, and is compiled once."""

import os
import sys

import pytest
import torch
from torch import nn

from vaelab.training import program
from vaelab.training.program import Program
from vaelab.training.recording import Recording

BIAS = torch.tensor([0.5, -1.0])


def descends(held, given, rate):
    """Moves a weight against the gradient of a sum of squares; returns the sum and what is left."""
    weight = held["weight"].detach().requires_grad_()
    loss = nn.functional.linear(given[0], weight, BIAS).square().sum()
    held["weight"].sub_(rate * torch.autograd.grad(loss, weight)[0])
    return {"loss": loss.detach(), "left": [held["weight"] * 1]}


def given():
    torch.manual_seed(0)
    return {"weight": torch.randn(2, 3)}, (torch.randn(4, 3),), torch.tensor(0.1)


def assert_same(held, found):
    expected_held, *arguments = given()
    expected = descends(expected_held, *arguments)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(held, expected_held)


@pytest.fixture
def no_compiler(monkeypatch):
    """From here on only what is in the cache can be run."""

    def forbid():
        def fails(*_):
            raise AssertionError("it is compiled again")

        monkeypatch.setattr(program, "_compile", fails)

    return forbid


@pytest.mark.slow
def test_a_program_is_its_function_and_is_kept_for_other_processes(monkeypatch, tmp_path, no_compiler):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    held, *arguments = given()
    assert_same(held, Program(descends, (held,), 100)(*arguments))
    (kept,) = (tmp_path / "vaelab" / "programs").iterdir()

    library = next(kept.rglob("*.so"))
    half = library.read_bytes()[:1000]
    library.unlink()  # which is mapped into this process
    library.write_bytes(half)
    held, *arguments = given()
    assert_same(held, Program(descends, (held,), 100)(*arguments))  # compiled again, as it is damaged

    no_compiler()
    held, *arguments = given()
    found = Program(descends, (held,), 100)
    assert_same(held, found(*arguments))
    before = held["weight"].clone()
    assert torch.equal(found(*arguments)["left"][0], held["weight"])
    assert not torch.equal(held["weight"], before)
    with pytest.raises(AssertionError, match="compiled again"):
        Program(lambda *tensors: descends(*tensors)["loss"] * 2, (held,), 100)(*arguments)


@pytest.mark.slow
def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(monkeypatch, tmp_path):
    (tmp_path / "vaelab").touch()  # a file, where the folder would be
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    held, *arguments = given()
    assert_same(held, Program(descends, (held,), 100)(*arguments))


def test_those_used_least_recently_go(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(program, "KEPT", 3)
    monkeypatch.setattr(program, "_load", lambda package: package)

    def compiles(function, tensors, folder):
        (folder / "package").mkdir()
        return folder / "package"

    monkeypatch.setattr(program, "_compile", compiles)
    folders = [tmp_path / name for name in "abcd"]
    for age, folder in enumerate(folders):
        folder.mkdir()
        program._kept(folder, descends, [])
        os.utime(folder, (10**9 + age, 10**9 + age))
    program._kept(folders[1], descends, [])
    assert {path.name for path in tmp_path.iterdir()} == {"b", "c", "d"}
    (tmp_path / "e").mkdir()
    program._kept(tmp_path / "e", descends, [])
    assert {path.name for path in tmp_path.iterdir()} == {"b", "d", "e"}


# By what it is found again


def text_of(function=descends, change=lambda held, arguments: None):
    held, *arguments = given()
    change(held, arguments)
    weight, image, rate = held["weight"], arguments[0][0], arguments[1]
    flat = lambda weight, image, rate: torch.utils._pytree.tree_leaves(function({"weight": weight}, (image,), rate))  # noqa: E731
    return Recording(flat, [weight, image, rate]).text


def test_values_that_go_in_are_no_part_of_it():
    def other_values(held, arguments):
        held["weight"].add_(1)
        arguments[1].mul_(2)

    assert text_of(change=other_values) == text_of()


def test_values_from_elsewhere_are_part_of_it(monkeypatch):
    def times(factor):
        return text_of(lambda held, given, rate: descends(held, given, rate * factor))

    assert times(3) == times(3) != times(4)
    before = text_of()
    monkeypatch.setattr(sys.modules[__name__], "BIAS", BIAS + 1)
    assert text_of() != before


@pytest.mark.parametrize("form", ["shape", "dtype", "strides"])
def test_a_form_is_part_of_it(form):
    def change(held, arguments):
        images = {
            "shape": torch.zeros(5, 3),
            "dtype": torch.zeros(4, 3, dtype=torch.double),
            "strides": torch.zeros(3, 4).T,
        }
        arguments[0] = (images[form],)
        if form == "dtype":
            held["weight"] = held["weight"].double()

    function = lambda held, given, rate: (given[0] @ held["weight"].T).sum() * rate  # noqa: E731
    assert text_of(function, change) != text_of(function)
