"""`metrics.jsonl` goes on from where a checkpoint was written; what damage took is said, and nothing more is lost."""

import json
import logging
import os

import pytest

from vaelab.run import row_position
from vaelab.run.row_position import START, checked
from vaelab.run.row_writer import RowWriter


def row(step):
    return {"step": step, "epoch": step / 4, "train/elbo": -step / 3}


def lines(*steps):
    """The rows of those steps; None is one that was lost."""
    return b"".join(json.dumps({} if step is None else row(step)).encode() + b"\n" for step in steps)


def content(folder):
    return (folder / "metrics.jsonl").read_bytes()


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def rows_in():
    """Opens the rows of a folder, and closes them at the end."""
    opened = []

    def open_rows(folder):
        opened.append(RowWriter(folder))
        return opened[-1]

    yield open_rows
    for rows in opened:
        rows.close()


@pytest.fixture
def begun(tmp_path, rows_in):
    """A file with the rows 1 to 6, and the state of after the first four."""
    rows = rows_in(tmp_path)
    for step in range(1, 5):
        assert rows.append(row(step)) == step
    state = checked(rows.state)
    for step in (5, 6):
        rows.append(row(step))
    rows.close()
    return tmp_path, state


def test_a_file_is_made_with_the_first_row(rows_in, tmp_path):
    rows = rows_in(tmp_path)
    rows.rewind(None)
    assert rows.state == START
    assert not list(tmp_path.iterdir())
    rows.append(row(1))
    assert content(tmp_path) == lines(1)


@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_a_run_that_goes_on_has_the_bytes_of_one_that_was_not_interrupted(rows_in, chunk, begun, caplog, monkeypatch):
    monkeypatch.setattr(row_position, "CHUNK", chunk if chunk > 100 else 100)
    folder, state = begun
    rows = rows_in(folder)
    rows.rewind(state)
    assert content(folder) == lines(1, 2, 3, 4)
    assert rows.state == state
    assert len(rows) == 4
    assert rows.append(row(5)) == len(rows) == 5
    assert content(folder) == lines(1, 2, 3, 4, 5)
    rows.rewind(rows.state)
    assert rows.append(row(6)) == 6
    assert content(folder) == lines(*range(1, 7))
    assert warnings(caplog) == []


def test_without_a_checkpoint_nothing_is_kept(rows_in, begun, caplog):
    folder, _ = begun
    rows_in(folder).rewind(None)
    assert content(folder) == b""
    assert warnings(caplog) == []


def change(old, new):
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


DAMAGES = {
    "a byte that ends a row": (change(b'"step": 2,', b'"step": 2}'), (1, None, 3, 4), "1 cannot be read"),
    "a byte of the last row": (change(b'"step": 4,', b'"step": 4}'), (1, 2, 3, None), "1 cannot be read"),
    "no text": (change(b'"step": 2,', b'"st\xff\xfe": 2,'), (1, None, 3, 4), "1 cannot be read"),
    "not a number": (change(b'"step": 2,', b'"step": NaN,'), (1, None, 3, 4), "1 cannot be read"),
    "a huge number": (change(b'"step": 2,', b'"step": 2' + b"0" * 400 + b","), (1, None, 3, 4), "1 cannot be read"),
    "text for a number": (change(b'"step": 2,', b'"step": "2",'), (1, None, 3, 4), "1 cannot be read"),
    "deep nesting": (change(lines(2), b"[" * 100_000 + b"\n"), (1, None, 3, 4), "1 cannot be read"),
    "two rows in one": (change(b"}\n{", b"}{"), (None,) * 4, "4 cannot be read"),
    "a row that is gone": (change(lines(2), b""), (1, 3, 4, None), "1 cannot be read"),
    "a line too many": (change(lines(2), b"\n" + lines(2)), (1, None, 2, 3), "1 cannot be read"),
    "cut short": (lambda path: os.truncate(path, len(lines(1, 2)) + 5), (1, 2, None, None), "2 cannot be read"),
    "empty": (lambda path: os.truncate(path, 0), (None,) * 4, "4 cannot be read"),
    "zeros": (lambda path: path.write_bytes(bytes(len(lines(*range(1, 7))))), (None,) * 4, "4 cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_a_damaged_file_the_rows_that_can_be_read_are_kept_and_one_warning_counts_the_others(
    rows_in, damage, begun, caplog
):
    apply, kept, lost = DAMAGES[damage]
    folder, state = begun
    apply(folder / "metrics.jsonl")
    damaged = content(folder)
    rows = rows_in(folder)
    rows.rewind(state)
    assert content(folder) == lines(*kept)
    assert (folder / "metrics.damaged.jsonl").read_bytes() == damaged
    (said,) = warnings(caplog)
    assert f"kept as metrics.damaged.jsonl; of the 4 rows before {lost}" in said
    assert rows.append(row(5)) == 5
    again = rows_in(folder)
    again.rewind(checked(rows.state))
    assert content(folder) == lines(*kept, 5)
    assert len(warnings(caplog)) == 1


def test_a_changed_digit_is_said_though_every_row_can_be_read(rows_in, begun, caplog):
    folder, state = begun
    change(b'"step": 2,', b'"step": 3,')(folder / "metrics.jsonl")
    rows_in(folder).rewind(state)
    assert len(content(folder).splitlines()) == 4
    assert "all can be read, though something in them has changed" in warnings(caplog)[0]


def test_a_second_damage_does_not_overwrite_what_was_kept_of_the_first(rows_in, begun):
    folder, state = begun
    for number in (1, 2):
        (folder / "metrics.jsonl").write_text(f"damage {number}\n")
        rows_in(folder).rewind(state)
    assert (folder / "metrics.damaged.jsonl").read_text() == "damage 1\n"
    assert (folder / "metrics.damaged-2.jsonl").read_text() == "damage 2\n"


def test_a_file_that_is_gone_is_said(rows_in, begun, caplog):
    folder, state = begun
    (folder / "metrics.jsonl").unlink()
    rows = rows_in(folder)
    rows.rewind(state)
    assert ["its 4 rows are lost" in said for said in warnings(caplog)] == [True]
    assert rows.append(row(5)) == 5
    assert content(folder) == lines(None, None, None, None, 5)


def test_of_a_file_without_end_no_more_is_read_than_the_checkpoint_knows(rows_in, begun):
    folder, state = begun
    os.truncate(folder / "metrics.jsonl", 1 << 40)
    rows_in(folder).rewind(state)
    assert content(folder) == lines(1, 2, 3, 4)


def test_a_damaged_file_without_end_is_moved_aside(rows_in, begun, caplog):
    folder, state = begun
    change(b'"step": 2,', b'"step": 2}')(folder / "metrics.jsonl")
    os.truncate(folder / "metrics.jsonl", 1 << 40)
    rows_in(folder).rewind(state)
    assert content(folder) == lines(*(None,) * 4)
    assert (folder / "metrics.damaged.jsonl").stat().st_size == 1 << 40
    assert "4 cannot be read" in warnings(caplog)[0]


def delete(path):
    path.unlink()


def replace(path):
    path.rename(path.with_name("elsewhere"))
    path.write_text("somebody else's\n")


def replace_by_a_link(path):
    (path.parent / "elsewhere").write_text("somebody else's\n")
    path.unlink()
    path.symlink_to(path.parent / "elsewhere")


def add(path):
    with path.open("ab") as file:
        file.write(b"somebody else's\n")


@pytest.mark.parametrize("change", [delete, replace, replace_by_a_link, add])
def test_a_file_that_is_changed_while_it_is_written_is_complete_again_and_that_is_said_once(
    rows_in, change, tmp_path, caplog
):
    rows = rows_in(tmp_path)
    for step in range(1, 7):
        rows.append(row(step))
        if step in (3, 5):
            change(tmp_path / "metrics.jsonl")
    assert content(tmp_path) == lines(*range(1, 7))
    assert not (tmp_path / "metrics.jsonl").is_symlink()
    (said,) = warnings(caplog)
    assert "of the 3 rows before none is lost" in said
    again = rows_in(tmp_path)
    again.rewind(rows.state)
    assert len(warnings(caplog)) == 1
    if change is not delete:
        kept = (tmp_path / "metrics.damaged.jsonl").read_bytes()
        assert kept.endswith(b"somebody else's\n")
    if (tmp_path / "elsewhere").exists():
        assert b'"step": 6' not in (tmp_path / "elsewhere").read_bytes()


def test_of_a_file_that_is_cut_short_while_it_is_written_the_rest_is_kept_and_the_loss_is_said(
    rows_in, tmp_path, caplog
):
    rows = rows_in(tmp_path)
    for step in (1, 2, 3):
        rows.append(row(step))
    os.truncate(tmp_path / "metrics.jsonl", len(lines(1)) + 3)
    assert rows.append(row(4)) == 4
    assert content(tmp_path) == lines(1, None, None, 4)
    assert "of the 3 rows before 2 cannot be read" in warnings(caplog)[0]


@pytest.mark.parametrize(
    "odd",
    [
        None,
        0,
        {},
        {**START, "more": 1},
        {**START, "bytes": -1},
        {**START, "rows": 1.5},
        {**START, "rows": 10**5000},
        {**START, "sha256": None},
        {**START, "last": "\ud800"},
    ],
)
def test_a_state_that_can_be_none_is_refused(odd):
    with pytest.raises(ValueError, match="jsonl"):
        checked(odd)


def test_a_checkpoint_may_not_tell_of_more_rows_than_there_can_be():
    with pytest.raises(ValueError, match=r"rows of metrics\.jsonl must be 2,000,000 at most"):
        checked({**START, "rows": 3 * 10**8, "bytes": 10**14})
