"""`config.yaml` of a run: what was written is read, and a change, a damage or an untrusted trick is one sentence."""

import itertools
import math
import os
import random
import re
import shlex
import subprocess
from contextlib import suppress

import pytest
import yaml

from helpers.fakes import Killed, put_config
from vaelab.cli.keys import Root
from vaelab.errors import UserError
from vaelab.files import folder
from vaelab.run import saved
from vaelab.run.saved import read_config, write_config

CONFIG = {
    "model": {"_target_": "vaelab.model.mlp.networks", "hidden": [400, 200], "activation": "relu"},
    "dataset": {"root": "data of é", "val_size": 5000, "binarize": "dynamic"},
    "latent": {"dim": 20},
    "optimizer": {"lr": 1e-05, "betas": [0.9, 0.999], "fused": None},
    "trainer": {"ema": None, "compile": "auto", "precision": "float32", "threads": "1e-05"},
    "seed": 0,
    "resume": None,
    "trust": [],
    "choices": {"model": "mlp", "debug": ["a", "b"]},
}


def test_the_keys_are_those_of_a_config():
    assert set(saved.KEYS) == Root.__dataclass_fields__.keys()


@pytest.mark.parametrize("config", [CONFIG, {"seed": 1}, {"optimizer": {"lr": math.inf}}], ids=["whole", "part", "inf"])
def test_what_was_written_is_read_in_its_order(config, tmp_path):
    for _ in range(2):
        write_config(tmp_path, config)
        assert read_config(tmp_path) == config
        assert list(read_config(tmp_path)) == list(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "config.yaml.sha256"]


def test_the_checksum_is_the_one_that_sha256sum_prints(tmp_path):
    write_config(tmp_path, CONFIG)
    printed = subprocess.run(["sha256sum", tmp_path / "config.yaml"], capture_output=True, text=True, check=True).stdout
    assert printed.split()[0] == (tmp_path / "config.yaml.sha256").read_text().strip()


def test_a_changed_file_is_one_sentence_that_says_how_to_accept_it(tmp_path):
    run_dir = tmp_path / "it's a run"
    run_dir.mkdir()
    write_config(run_dir, CONFIG)
    changed = (run_dir / "config.yaml").read_text().replace("seed: 0", "seed: 1")
    (run_dir / "config.yaml").write_text(changed)
    with pytest.raises(UserError, match="was changed or damaged since it was written") as raised:
        read_config(run_dir)
    command = str(raised.value).rpartition("to accept it as it is: ")[2]
    assert shlex.split(command)[0] == "rm"
    subprocess.run(command, shell=True, check=True)
    assert read_config(run_dir) == {**CONFIG, "seed": 1}


def test_a_config_made_by_hand_needs_no_checksum(tmp_path):
    put_config(tmp_path, "seed: 1  # mine\nmodel: {hidden: [8]}\n")
    assert read_config(tmp_path) == {"seed": 1, "model": {"hidden": [8]}}


def test_every_damage_to_a_byte_is_noticed(tmp_path):
    write_config(tmp_path, CONFIG)
    content = (tmp_path / "config.yaml").read_bytes()
    chance = random.Random(0)
    for _ in range(100):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        (tmp_path / "config.yaml").write_bytes(damaged)
        with pytest.raises(UserError, match="was changed or damaged"):
            read_config(tmp_path)


@pytest.mark.parametrize("seed", range(100))
def test_damage_without_a_checksum_is_a_config_or_one_sentence(seed, tmp_path):
    chance = random.Random(seed)
    write_config(tmp_path, CONFIG)
    (tmp_path / "config.yaml.sha256").unlink()
    content = bytearray((tmp_path / "config.yaml").read_bytes())
    for _ in range(chance.choice([1, 3, 30])):
        content[chance.randrange(len(content))] = chance.choice([*b"\0\t\n{}[]&*!:-'\"\xff1a", chance.randrange(256)])
    (tmp_path / "config.yaml").write_bytes(content[: chance.choice([None, chance.randrange(len(content))])])
    try:
        found = read_config(tmp_path)
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 800
    else:
        assert all(isinstance(found.get(part, {}), dict) for part in saved.PARTS)


REFUSED = {
    "empty": ("", "must hold the keys of a config, got None"),
    "a list": ("- 1", r"must hold the keys of a config, got \[1\]"),
    "text": ("hello", "must hold the keys of a config, got 'hello'"),
    "another key": ("hydra: {}\nseed: 1", "may hold model, .*, got 'hydra'; mend the file"),
    "many keys": ("\n".join(f"key{n}: 1" for n in range(10_000)), "may hold model, .*, got 'key0'"),
    "an escape": (r'"\e[2J": 1', r"got '\\x1b\[2J'"),
    "a part as text": ("model: mlp", "must hold a mapping as model, got 'mlp'"),
    "a part as null": ("latent: null", "must hold a mapping as latent, got None"),
    "a part as a list": ("trainer: [1]", r"must hold a mapping as trainer, got \[1\]"),
    "choices as a list": ("choices: [mlp]", "must hold the names of options as choices"),
    "choices as null": ("choices: null", "must hold the names of options as choices"),
    "a choice as a number": ("choices: {model: 1}", "must hold the names of options as choices"),
    "an interpolation": ("logger: {project: '${oc.env:HOME}'}", r"must hold plain values, got an interpolation, \$"),
    "a hidden one": ('logger: {project: "\\x24{oc.env:HOME}"}', "must hold plain values, got an interpolation"),
    "one as a key": ("logger: {'${x}': 1}", "must hold plain values, got an interpolation"),
    "a bomb": ("a: &a [1]\nb: [*a, *a]", r"must hold no aliases, got \*a; mend the file, or restore it from a copy"),
    "deep": ("model: " + "[" * 1000, "must not be nested deeper than 50 levels"),
    "not UTF-8": (b"seed: \xff", "must be UTF-8 text"),
    "cut off": ("model: {", "must be YAML that can be read"),
    "too large": ("#" * 2_000_000, "may hold 1,000,000 bytes at most, got 2,000,000"),
}


@pytest.mark.parametrize(("content", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_config_is_one_sentence(content, why, tmp_path):
    (tmp_path / "config.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=why) as raised:
        read_config(tmp_path)
    assert str(raised.value).startswith(f"{tmp_path}/config.yaml ")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 800


@pytest.mark.parametrize("name", ["config.yaml", "config.yaml.sha256"])
@pytest.mark.parametrize("kind", ["link", "FIFO", "folder"])
def test_what_is_no_regular_file_is_one_sentence(name, kind, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    write_config(run_dir, CONFIG)
    (run_dir / name).rename(tmp_path / name)
    make = {
        "link": lambda path: path.symlink_to(tmp_path / name),
        "FIFO": os.mkfifo,
        "folder": lambda path: path.mkdir(),
    }
    make[kind](run_dir / name)
    with pytest.raises(UserError, match=re.escape(f"{run_dir / name} must be a regular file, got a {kind}; move it")):
        read_config(run_dir)


@pytest.mark.parametrize(("path", "why"), [("none", "is missing"), ("file", r"cannot be read \(Not a directory\)")])
def test_where_there_is_no_config_is_no_run(path, why, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"{path}/config.yaml {why}; name the directory of a run"):
        read_config(tmp_path / path)


UNREADABLE = {
    "large": ({"seed": 10**19}, "must hold integers below"),
    "keys": ({"model": {1: 2}}, "must have keys of text"),
    "object": ({"model": {"a": object()}}, "cannot represent an object"),
    "bytes": ({"model": {"a": b"x"}}, "must hold plain values"),
    "key": ({"hydra": {}}, "may hold"),
    "interpolation": ({"logger": {"project": "${x}"}}, "must hold plain values, got an interpolation"),
    "megabytes": ({"model": {"hidden": "x" * 1_100_000}}, "may hold 1,000,000 bytes at most"),
}


@pytest.mark.parametrize(("config", "why"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_could_not_be_read_again_is_not_written(config, why, tmp_path):
    write_config(tmp_path, CONFIG)
    with pytest.raises(UserError, match=f"the config .*{why}.*; change that setting"):
        write_config(tmp_path, config)
    assert read_config(tmp_path) == CONFIG


def fail_at(monkeypatch, moment, error):
    """Raise `error` instead of the call of the system with that number, from 0; what is returned counts them."""
    steps = itertools.count()

    def guarded(call):
        def stepped(*args, **options):
            if next(steps) == moment:
                raise error
            return call(*args, **options)

        return stepped

    for name in ("open", "replace", "unlink", "fsync"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    return steps


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("error", [Killed(), OSError(28, "No space left on device")])
def test_a_process_that_ends_at_any_step_leaves_a_config_that_can_be_read(begun, error, tmp_path, monkeypatch):
    new = {**CONFIG, "seed": 2}
    for moment in range(100):
        run_dir = tmp_path / str(moment)
        run_dir.mkdir()
        if begun:
            write_config(run_dir, CONFIG)
        with monkeypatch.context() as patch, suppress(Killed, OSError):
            steps = fail_at(patch, moment, error)
            write_config(run_dir, new)
        if begun or (run_dir / "config.yaml").exists():
            assert read_config(run_dir) in (CONFIG, new)
        write_config(run_dir, new)
        assert read_config(run_dir) == new
        if next(steps) <= moment:
            assert moment > 8  # the faults were reached
            return
    pytest.fail("it never ended well")


def test_the_checksum_is_whole_or_not_there_while_the_config_changes(tmp_path, monkeypatch):
    """What `kill -9` finds between two steps, each of which is one call of the system."""
    write_config(tmp_path, CONFIG)
    seen = []

    def look(call):
        def looked(*args):
            call(*args)
            seen.append(read_config(tmp_path)["seed"])

        return looked

    for name in ("remove", "write"):
        monkeypatch.setattr(folder, name, look(getattr(folder, name)))
    write_config(tmp_path, {**CONFIG, "seed": 2})
    assert seen == [0, 2, 2]


def test_a_float_is_no_text(tmp_path):
    write_config(tmp_path, CONFIG)
    again = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert again["optimizer"]["lr"] == 1e-05
    assert again["trainer"]["threads"] == "1e-05"
