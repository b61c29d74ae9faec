"""Run directories below the folders that a person names."""

import pytest

from helpers.made_up_runs import made_up_run
from vaelab.errors import UserError
from vaelab.run.find import find_runs, jobs_of
from vaelab.run.record import RunRecord


def test_runs_are_found_in_runs_and_sweeps_each_once_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 2):
        made_up_run(tmp_path / "sweep" / str(number))
    alone = made_up_run(tmp_path / "alone")
    found = find_runs([tmp_path / "sweep", alone, tmp_path])
    assert [directory.name for directory in found] == ["2", "9", "10", "alone"]


@pytest.mark.parametrize(("path", "said"), [("nowhere", "is no folder"), ("empty", "holds no run")])
def test_a_folder_without_runs_is_one_sentence(path, said, tmp_path):
    (tmp_path / "empty").mkdir()
    made_up_run(tmp_path / "run")
    with pytest.raises(UserError, match=said):
        find_runs([tmp_path / "run", tmp_path / path])


def test_a_run_whose_summary_is_gone_is_found_all_the_same(tmp_path):
    (made_up_run(tmp_path / "0") / "summary.json").unlink()
    (found,) = find_runs([tmp_path])
    assert RunRecord(found).status == "damaged"
    assert jobs_of(tmp_path) == [found]
