"""`vaelab runs`: a line a run, best first among those that compare."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.made_up_runs import made_up_run
from vaelab.compare.listing import list_runs
from vaelab.errors import UserError
from vaelab.run import terminal


@pytest.fixture
def listed(tmp_path, monkeypatch, capsys):
    """Lists the runs below outputs/ on a terminal of 120 columns and returns its lines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(terminal, "WIDTH_OF_A_FILE", 120)

    def run():
        list_runs(Path("outputs"))
        return capsys.readouterr().out.splitlines()

    return run


def of_runs(lines):
    return [line for line in lines if "outputs/" in line]


def test_a_hundred_runs_are_a_hundred_lines_with_what_tells_them_apart(listed, tmp_path):
    for number in range(100):
        setting = {"latent": 2 ** (1 + number % 5), "lr": 0.0013385298778232698 * (1 + number // 5 % 4)}
        sweep = tmp_path / "outputs/sweeps/20260101_120000-0a1b2c3d"
        made_up_run(sweep / str(number), epochs=1, seed=number // 20, **setting)
    lines = listed()
    rows = of_runs(lines)
    assert len(rows) == 100
    assert max(map(len, lines)) <= 120
    scores = [float(row.split()[0]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    (head,) = [line.split() for line in lines if "directory" in line]
    assert {"dim", "lr", "seed"} <= set(head)
    assert any(" 0.00134 " in row for row in rows)
    assert not any("differing in" in line for line in lines)


def test_runs_that_do_not_compare_are_in_tables_of_their_own(listed, tmp_path):
    for number, dataset in enumerate(("mnist", "digits", "mnist", "digits")):
        made_up_run(tmp_path / "outputs" / str(number), dataset=dataset, latent=2 + number)
    made_up_run(tmp_path / "outputs/4", dataset="digits", status="failed")
    lines = listed()
    headings = [number for number, line in enumerate(lines) if "binarize dynamic" in line]
    assert [lines[number].split(",")[0].strip() for number in headings] == ["digits", "mnist"]
    first, second = lines[headings[0] : headings[1]], lines[headings[1] :]
    assert [row.split()[-1] for row in of_runs(first)] == ["outputs/3", "outputs/1", "outputs/4"]
    assert [row.split()[-1] for row in of_runs(second)] == ["outputs/2", "outputs/0"]


def test_settings_without_room_are_named(listed, tmp_path):
    for number in range(2):
        made_up_run(tmp_path / "outputs" / ("a" * 68) / str(number), seed=number, lr=1e-3 * (1 + number))
    lines = listed()
    assert max(map(len, of_runs(lines))) <= 120
    (said,) = [line.strip() for line in lines if "differing in" in line]
    assert said == "differing in optimizer.lr, seed too, see: vaelab compare outputs"


@pytest.mark.parametrize(("folder", "said"), [("nowhere", "is no folder"), ("outputs", "holds no run")])
def test_a_folder_without_runs_is_one_sentence(folder, said, tmp_path):
    (tmp_path / "outputs").mkdir()
    with pytest.raises(UserError, match=said):
        list_runs(tmp_path / folder)


def test_a_list_does_not_wait_for_torch():
    script = "import sys, vaelab.compare.listing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
