"""Files of a run's directory: no link is followed, nothing but a regular file is opened, what was there stays whole."""

import errno
import os
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.odd_files import SECRET, a_folder, dangling_link, fifo, link, odd
from vaelab.errors import UserError
from vaelab.files import folder

READERS = {
    "read": lambda run_dir, name: folder.read(run_dir, name, 100),
    "read_on": lambda run_dir, name: folder.read_on(run_dir, name, 0, 100),
    "size": folder.size,
    "checksum": folder.checksum,
}
APPENDER = {"append": lambda run_dir, name: folder.append(run_dir, name).close()}
WRITER = {"write": lambda run_dir, name: folder.write(run_dir, name, b"new")}
OTHERS = {
    "rename": lambda run_dir, name: folder.rename(run_dir, name, name + "2"),
    "remove": folder.remove,
    "make": folder.make,
}
EVERY = {**READERS, **APPENDER, **WRITER, **OTHERS}


def named(calls):
    return pytest.mark.parametrize("call", calls.values(), ids=calls.keys())


@named({**READERS, **APPENDER})
@odd
@pytest.mark.parametrize("name", ["file", "inner/file"])
def test_what_is_no_regular_file_is_one_sentence_and_is_not_waited_for(call, put, came, name, run_dir, outside):
    put(run_dir / name, outside)
    with pytest.raises(UserError) as raised:
        call(run_dir, name)
    assert str(raised.value) == f"{run_dir / name} must be a regular file, got {came}; move it away"


@named(WRITER)
@odd
@pytest.mark.parametrize("name", ["file", "inner/file"])
def test_what_is_no_regular_file_is_replaced_by_what_is_written(call, put, came, name, run_dir, outside):
    put(run_dir / name, outside)
    if came == "a folder":
        with pytest.raises(UserError, match="must be a regular file, got a folder"):
            call(run_dir, name)
        assert (run_dir / name).is_dir()
    else:
        call(run_dir, name)
        assert not (run_dir / name).is_symlink()
        assert (run_dir / name).read_bytes() == b"new"
    assert not list(run_dir.rglob("*.tmp"))


@named(EVERY)
@pytest.mark.parametrize(("put", "came"), [("link", "a link"), ("fifo", "a FIFO"), ("file", "a file")])
def test_a_folder_on_the_way_that_is_none_is_one_sentence(call, put, came, run_dir, outside):
    way = run_dir / "inner/way"
    {"link": lambda: way.symlink_to(outside), "fifo": lambda: os.mkfifo(way), "file": way.touch}[put]()
    with pytest.raises(UserError) as raised:
        call(run_dir, "inner/way/file")
    assert str(raised.value) == f"{way} must be a folder, got {came}; move it away"


@named(EVERY)
def test_the_directory_itself_may_be_named_by_a_link(call, run_dir, tmp_path):
    (run_dir / "file").write_bytes(b"old")
    (tmp_path / "name").symlink_to(run_dir)
    if call is folder.make:
        (run_dir / "file").unlink()
    call(tmp_path / "name", "file")


@named({name: call for name, call in READERS.items() if name not in ("size", "read_on")} | {"rename": OTHERS["rename"]})
@pytest.mark.parametrize("name", ["none", "none/file"])
def test_a_missing_file_is_named_whole(call, name, run_dir):
    with pytest.raises(FileNotFoundError) as raised:
        call(run_dir, name)
    assert raised.value.filename == str(run_dir / name)


def test_a_missing_file_has_no_size_and_need_not_be_removed(run_dir):
    for name in ("none", "none/file"):
        assert folder.size(run_dir, name) == 0
        assert folder.read_on(run_dir, name, 0, 100) == b""
    assert not folder.exists(run_dir, "none")
    folder.remove(run_dir, "none")
    folder.remove_temporaries(run_dir, "none")


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_refused(run_dir):
    (run_dir / "file").write_bytes(b"x" * 100)
    assert folder.read(run_dir, "file", 100) == b"x" * 100
    with pytest.raises(UserError, match="may hold 99 bytes at most, got 100; move it away"):
        folder.read(run_dir, "file", 99)


def test_a_sparse_file_of_200_gb_takes_no_memory(run_dir):
    with (run_dir / "file").open("wb") as file:
        file.truncate(200 * 10**9)
    with pytest.raises(UserError, match="got 200,000,000,000"):
        folder.read(run_dir, "file", 10**9)
    assert folder.size(run_dir, "file") == 200 * 10**9
    assert folder.read_on(run_dir, "file", 199 * 10**9, 10) == bytes(10)


def test_what_was_written_is_read(run_dir):
    folder.write(run_dir, "inner/file", b"0123456789")
    assert folder.read(run_dir, "inner/file", 100) == b"0123456789"
    assert folder.read_on(run_dir, "inner/file", 7, 2) == b"78"
    assert folder.read_on(run_dir, "inner/file", 7, 10**12) == b"789"
    assert folder.read_on(run_dir, "inner/file", 70, 10) == b""
    assert folder.size(run_dir, "inner/file") == 10
    assert folder.exists(run_dir, "inner/file")
    assert folder.checksum(run_dir, "inner/file").startswith("84d89877")
    with folder.append(run_dir, "inner/file") as file:
        file.write(b"x")
    assert folder.read(run_dir, "inner/file", 100) == b"0123456789x"


@pytest.mark.parametrize("put", [link, dangling_link, fifo, a_folder])
def test_only_a_regular_file_exists(put, run_dir, outside):
    put(run_dir / "file", outside)
    (run_dir / "way").symlink_to(outside)
    assert not folder.exists(run_dir, "file")
    assert not folder.exists(run_dir, "way/file")


@named({**APPENDER, **WRITER})
def test_another_name_of_a_file_keeps_what_it_had(call, run_dir, outside):
    (run_dir / "file").hardlink_to(outside / "file")
    call(run_dir, "file")
    with folder.append(run_dir, "file") as file:
        file.write(b"more")
    assert (run_dir / "file").read_bytes() == (SECRET if call in APPENDER.values() else b"new") + b"more"


@named({"rename": OTHERS["rename"], "remove": OTHERS["remove"]})
def test_a_link_is_renamed_and_removed_itself(call, run_dir, outside):
    link(run_dir / "file", outside)
    call(run_dir, "file")
    assert not (run_dir / "file").is_symlink()


def test_what_a_link_of_the_new_name_leads_to_is_not_replaced(run_dir, outside):
    (run_dir / "file").write_bytes(b"mine")
    link(run_dir / "new", outside)
    folder.rename(run_dir, "file", "new")
    assert (run_dir / "new").read_bytes() == b"mine"


def test_a_second_name_keeps_what_the_first_had(run_dir, outside, monkeypatch):
    for name in ("second", "inner/second"):
        folder.write(run_dir, "file", b"old")
        link(run_dir / name, outside)
        folder.link(run_dir, "file", name)
        folder.write(run_dir, "file", b"new")
        assert (run_dir / name).read_bytes() == b"old"
        assert not (run_dir / name).is_symlink()

        def no_links(*args, **options):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", no_links)


@pytest.mark.parametrize("put", [link, dangling_link, fifo])
def test_a_folder_is_not_made_where_something_else_is(put, run_dir, outside):
    put(run_dir / "images", outside)
    with pytest.raises(UserError, match="images must be a folder, got a"):
        folder.make(run_dir, "images")


def test_a_folder_is_made_once(run_dir):
    folder.make(run_dir, "images")
    (run_dir / "images/file").touch()
    folder.make(run_dir, "images")
    assert (run_dir / "images/file").exists()


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("name", ["file", "inner/file"])
def test_an_error_of_the_disk_keeps_the_old_file_and_names_it(function, name, run_dir, monkeypatch):
    folder.write(run_dir, name, b"old")

    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left") as raised:
        patch.setattr(os, function, full)
        folder.write(run_dir, name, b"new and longer")
    assert raised.value.filename == str(run_dir / name)
    assert (run_dir / name).read_bytes() == b"old"
    assert not list(run_dir.rglob("*.tmp"))


def test_what_was_prepared_and_not_put_leaves_nothing(run_dir):
    with folder.prepared(run_dir, "file", b"new"):
        (temporary,) = run_dir.glob(".*")
        assert folder.TEMPORARY.fullmatch(temporary.name)
        assert temporary.read_bytes() == b"new"
    assert [path.name for path in run_dir.iterdir()] == ["inner"]


def test_temporaries_of_killed_writers_are_removed_and_nothing_else(run_dir, outside):
    left = ".0123456789abcdef.tmp"
    for inner in ("", "inner"):
        (run_dir / inner / left).write_text("left")
    link(run_dir / ".00000000000000aa.tmp", outside)
    for name in ("mine.tmp", ".0123.tmp", "x.0123456789abcdef.tmp"):
        (run_dir / name).write_text("mine")
    folder.remove_temporaries(run_dir)
    assert sorted(path.name for path in run_dir.iterdir()) == [
        ".0123.tmp",
        "inner",
        "mine.tmp",
        "x.0123456789abcdef.tmp",
    ]
    assert (run_dir / "inner" / left).exists()
    folder.remove_temporaries(run_dir, "inner")
    assert not (run_dir / "inner" / left).exists()


def test_temporaries_behind_a_linked_folder_stay(run_dir, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".0123456789abcdef.tmp").touch()
    (run_dir / "images").symlink_to(elsewhere)
    with pytest.raises(UserError, match="must be a folder, got a link"):
        folder.remove_temporaries(run_dir, "images")
    assert list(elsewhere.iterdir())


def test_descriptors_are_closed(run_dir, outside):
    (run_dir / "file").write_bytes(b"x")
    link(run_dir / "link", outside)
    os.mkfifo(run_dir / "fifo")
    descriptors = Path("/dev/fd")
    before = len(list(descriptors.iterdir()))
    for call in (*READERS.values(), *APPENDER.values(), *WRITER.values(), folder.make):
        for name in ("file", "link", "fifo", "none/file", "file/file"):
            with suppress(UserError, OSError):
                call(run_dir, name)
    assert len(list(descriptors.iterdir())) == before
