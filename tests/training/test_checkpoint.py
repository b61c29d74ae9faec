"""A checkpoint survives a crash at any moment, damage is noticed, and nothing but plain values is loaded."""

import errno
import hashlib
import io
import itertools
import logging
import os
import pickle
import zipfile
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from helpers.fakes import Killed
from vaelab.errors import UserError
from vaelab.files import folder
from vaelab.training import checkpoint
from vaelab.training.checkpoint import export_weights, load, write


def state(number):
    """Tensors of several types and plain values."""
    tensors = {"weights": torch.full((3, 4), float(number)), "half": torch.tensor(number, dtype=torch.bfloat16)}
    return {**tensors, "number": number, "none": None, "nested": {"list": [1, 2.5, "three"], "flag": True}}


def number_of(loaded):
    """Which state that is, all of it, or None for none."""
    if loaded is None:
        return None
    expected = state(loaded["number"])
    assert loaded.keys() == expected.keys()
    for key in ("weights", "half"):
        assert loaded[key].dtype == expected[key].dtype
        assert torch.equal(loaded.pop(key), expected.pop(key))
    assert loaded == expected
    return loaded["number"]


def save_states(path, count):
    """Save the states 1 to `count`, one after the other."""
    for number in range(1, count + 1):
        write(path, state(number))


def checksum_of(path):
    return path.with_name(path.name + ".sha256")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoints" / "last.pt"


@pytest.mark.parametrize("saves", [1, 2, 5])
def test_the_last_state_that_was_saved_is_loaded(saves, path, caplog):
    save_states(path, saves)
    assert number_of(load(path)) == saves
    assert not caplog.records
    assert not list(path.parent.glob("*.tmp"))


def test_where_nothing_was_saved_there_is_no_state(path, caplog):
    assert load(path) is None
    assert not caplog.records


def test_the_checksum_is_the_one_that_sha256sum_prints(path):
    save_states(path, 1)
    assert checksum_of(path).read_text().split()[0] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_checkpoints_in_a_folder_do_not_meet(path):
    save_states(path, 2)
    write(path.with_name("best.pt"), state(7))
    assert number_of(load(path)) == 2
    assert number_of(load(path.with_name("best.pt"))) == 7


# Damage


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lose_checksum(path):
    checksum_of(path).unlink()


def garble_checksum(path):
    checksum_of(path).write_bytes(b"\xff\xfe")


damages = pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, lose_checksum, garble_checksum])


@damages
def test_damage_to_the_last_state_gives_the_one_before_with_one_warning(damage, path, caplog):
    save_states(path, 3)
    damage(path)
    assert number_of(load(path)) == 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert str(path) in caplog.text


@damages
def test_damage_to_both_states_is_one_sentence_and_both_stay(damage, path):
    save_states(path, 3)
    for candidate in (path, path.with_name("last.previous.pt")):
        damage(candidate)
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(UserError, match=r"every checkpoint of last\.pt .* is damaged") as raised:
        load(path)
    assert "\n" not in str(raised.value)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_damage_to_the_state_before_is_not_noticed_while_the_last_is_whole(path, caplog):
    save_states(path, 3)
    truncate(path.with_name("last.previous.pt"))
    assert number_of(load(path)) == 3
    assert not caplog.records


# Crashes and full disks


class FaultyFile(io.BufferedWriter):
    """A file of which only a half is written when `fault` raises."""

    fault = None

    def write(self, content):
        try:
            self.fault()
        except BaseException:
            super().write(bytes(content[: len(content) // 2]))
            raise
        return super().write(content)


def fail_at(monkeypatch, moment, error, everywhere=True):
    """Raise `error` at the n-th write to a file or, with `everywhere`, the n-th step that touches the disk."""
    steps = itertools.count(1)

    def fault():
        if next(steps) == moment:
            raise error

    def guarded(original):
        def call(*args, **options):
            if everywhere:
                fault()
            return original(*args, **options)

        return call

    def opened(descriptor, mode="r", *args, **options):
        if mode != "wb":
            return original_fdopen(descriptor, mode, *args, **options)
        file = FaultyFile(io.FileIO(descriptor, "w"))
        file.fault = fault
        return file

    original_fdopen = os.fdopen
    monkeypatch.setattr(os, "fdopen", guarded(opened))
    for name in ("replace", "fsync", "open", "close", "mkdir"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))


def crash_at_every_step(monkeypatch, folder, prepare, then):
    """Kill `save` at its first step, in another folder at its second, and so on until it completes."""
    for moment in itertools.count(1):
        path = folder / str(moment) / "last.pt"
        prepare(path)
        try:
            with monkeypatch.context() as patch:
                fail_at(patch, moment, Killed())
                write(path, state(99))
        except Killed:
            then(path)
        else:
            assert moment > 10  # the faults were reached
            return


@pytest.mark.slow
@pytest.mark.parametrize("saves", [0, 1, 2])
def test_a_crash_at_any_step_leaves_the_old_or_the_new_state(saves, tmp_path, monkeypatch, caplog):
    def old_or_new(path):
        assert number_of(load(path)) in (saves or None, 99)
        # between two renames there is none, and the one before is told of
        assert {record.msg for record in caplog.records} <= {"%s is gone, and the one before it is used"}
        write(path, state(100))
        assert number_of(load(path)) == 100

    crash_at_every_step(monkeypatch, tmp_path, lambda path: save_states(path, saves), old_or_new)


@pytest.mark.slow
def test_a_crash_at_any_step_of_a_save_after_a_crash_leaves_a_state(tmp_path, monkeypatch):
    def cut(path):
        """As a crash leaves it between the two renames."""
        save_states(path, 2)
        path.replace(path.with_name("last.previous.pt"))
        checksum_of(path).replace(checksum_of(path.with_name("last.previous.pt")))

    def old_or_new(path):
        assert number_of(load(path)) in (2, 99)

    crash_at_every_step(monkeypatch, tmp_path, cut, old_or_new)


@pytest.mark.slow
def test_a_crash_at_any_step_leaves_a_state_where_the_last_one_was_damaged(tmp_path, monkeypatch):
    def damaged(path):
        save_states(path, 2)
        truncate(path)

    def old_or_new(path):
        assert number_of(load(path)) in (1, 99)

    crash_at_every_step(monkeypatch, tmp_path, damaged, old_or_new)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_full_disk_keeps_the_old_state_and_leaves_no_temporary_file(number, path, monkeypatch):
    save_states(path, 2)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        fail_at(patch, number, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), everywhere=False)
        write(path, state(99))
    assert number_of(load(path)) == 2
    assert not list(path.parent.glob("*.tmp"))


@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_a_small_file_is_there_whole_or_not_at_all(error, tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    folder.write(tmp_path, path.name, b"old")
    with monkeypatch.context() as patch, pytest.raises(type(error)):
        fail_at(patch, 1, error, everywhere=False)
        folder.write(tmp_path, path.name, b"new and longer")
    assert path.read_text() == "old"
    folder.write(tmp_path, path.name, b"new and longer")
    assert path.read_text() == "new and longer"


# What a checkpoint may hold


class RunsCode:
    """Unpickled by `pickle`, it creates a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def torch_saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("dump", [partial(pickle.dumps, protocol=2), torch_saved], ids=["pickle", "torch"])
def test_a_checkpoint_that_would_run_code_is_refused_and_does_not_run(dump, path, tmp_path):
    save_states(path, 2)
    content = dump({"vae": RunsCode(tmp_path / "marker")})
    path.write_bytes(content)
    checksum_of(path).write_text(hashlib.sha256(content).hexdigest() + "\n")
    with pytest.raises(UserError, match="must hold tensors and plain values only") as raised:
        load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("content", [b"", b"hello world"])
def test_a_file_that_is_no_checkpoint_but_has_a_checksum_is_refused(content, path):
    save_states(path, 1)
    path.write_bytes(content)
    checksum_of(path).write_text(hashlib.sha256(content).hexdigest() + "\n")
    with pytest.raises(UserError):
        load(path)


def test_the_dangerous_pickle_is_one(tmp_path):
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "marker")))
    assert (tmp_path / "marker").exists()


def test_exported_weights_are_equal_and_may_lie_in_any_order(tmp_path):
    weights = {"matrix": torch.arange(6.0).reshape(2, 3).T, "scalar": torch.tensor(3)}
    export_weights(tmp_path, weights)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == weights.keys()
    assert all(torch.equal(stored[name], weights[name]) for name in weights)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


# Files that are none


@pytest.mark.parametrize("name", ["last.pt", "last.previous.pt", "last.pt.sha256"])
@pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "folder"])
def test_what_is_no_regular_file_is_one_sentence_and_is_replaced_by_the_next(name, kind, path, tmp_path):
    save_states(path, 2)
    mine, odd = tmp_path / "mine", path.with_name(name)
    mine.write_bytes(odd.read_bytes())
    before = mine.read_bytes()
    if name == "last.previous.pt":
        truncate(path)  # only then it is looked at
    odd.unlink()
    links = {"link": mine, "dangling link": tmp_path / "none"}
    {"FIFO": os.mkfifo, "folder": Path.mkdir}.get(kind, lambda odd: odd.symlink_to(links[kind]))(odd)
    with pytest.raises(UserError, match=f"{name} must be a regular file, got a") as raised:
        load(path)
    assert "\n" not in str(raised.value)
    if kind != "folder" and name == "last.pt":
        write(path, state(3))
        assert number_of(load(path)) == 3
    assert mine.read_bytes() == before
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("call", [lambda path: write(path, state(1)), load], ids=["save", "load"])
def test_a_linked_folder_is_neither_read_nor_written(call, path, tmp_path):
    write(tmp_path / "elsewhere/last.pt", state(7))
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "elsewhere").iterdir()}
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="checkpoints must be a folder, got a link"):
        call(path)
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "elsewhere").iterdir()} == before


@pytest.mark.parametrize("name", ["last.pt", "last.pt.sha256"])
def test_a_sparse_file_of_many_terabytes_is_one_sentence(name, path):
    save_states(path, 1)
    os.truncate(path.with_name(name), 5 * 10**12)
    with pytest.raises(UserError, match=r"takes 10,000\.0 GB to be loaded, and|may hold 1,000 bytes at most"):
        load(path)


def test_what_fits_into_memory_once_and_not_twice_is_not_read(path, monkeypatch):
    save_states(path, 1)
    size = path.stat().st_size
    monkeypatch.setattr(checkpoint, "free_memory", lambda device: 2 * size)
    assert number_of(load(path)) == 1
    monkeypatch.setattr(checkpoint, "free_memory", lambda device: 2 * size - 1)
    with pytest.raises(UserError, match="free some, or move the file away"):
        load(path)


def test_exported_weights_replace_a_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "model.safetensors").symlink_to("mine")
    export_weights(tmp_path, {"a": torch.zeros(2)})
    assert (tmp_path / "mine").read_text() == "mine"
    assert load_file(tmp_path / "model.safetensors").keys() == {"a"}


def test_a_file_without_end_in_the_place_of_a_checkpoint_is_replaced_unread(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints/last.pt"
    write(path, {"step": 1})
    os.truncate(path, 200 * 10**9)
    monkeypatch.setattr("vaelab.files.folder.checksum", lambda *_: pytest.fail("it was read"))
    write(path, {"step": 2})
    assert load(path) == {"step": 2}


@pytest.mark.parametrize("error", [ValueError("negative seek value -3885"), IndexError(), OSError("odd"), TypeError()])
def test_whatever_torch_raises_of_a_checkpoint_is_one_sentence(error, tmp_path, monkeypatch):
    path = tmp_path / "checkpoints/last.pt"
    write(path, {"step": 1})

    def raises(*_, **__):
        raise error

    monkeypatch.setattr(torch, "load", raises)
    with pytest.raises(UserError, match="must hold tensors and plain values only"):
        load(path)


def bomb(kind):
    """The bytes of a checkpoint that takes far more time or memory than its size tells."""
    content = io.BytesIO()
    torch.save({"weights": torch.zeros(1000)}, content)
    if kind == "plain":
        return content.getvalue()
    made = io.BytesIO()
    packed = zipfile.ZIP_DEFLATED if kind == "compressed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(made, "w", packed) as new:
        for entry in old.infolist():
            inner = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                inner = {
                    "nested tuples": b"\x80\x02})" + 200 * b"q\x01h\x01\x86" + b"K\x01s.",
                    "bytes": b"\x80\x02c__builtin__\nbytearray\nJ\x00\x00\x00\x10\x85R.",
                }.get(kind, inner)
            new.writestr(entry.filename, inner)
    return made.getvalue()


@pytest.mark.parametrize(
    ("kind", "said"),
    [("compressed", "compressed"), ("nested tuples", "tuples of tuples"), ("bytes", "bytes made anew")],
)
def test_a_checkpoint_that_is_larger_than_it_looks_is_refused_unread(kind, said, monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was loaded"))
    content = bomb(kind)
    with pytest.raises(ValueError, match=said):
        checkpoint.check_archive(content)
    path = tmp_path / "checkpoints/last.pt"
    path.parent.mkdir()
    path.write_bytes(content)
    path.with_name("last.pt.sha256").write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(UserError):
        load(path)


def test_what_torch_writes_is_no_bomb():
    checkpoint.check_archive(bomb("plain"))
    shared = (0.9, 0.999)
    content = io.BytesIO()
    torch.save({"optimizer": {"param_groups": [{"betas": shared, "lr": 1.0} for _ in range(5)]}}, content)
    checkpoint.check_archive(content.getvalue())
