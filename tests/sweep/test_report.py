"""Sweeps: every job its own directory and W&B run, failures stay where they are, the report tells all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from conftest import ROOT, clean_environment
from helpers.made_up_runs import begun_sweep, made_up_run
from helpers.sweeps import QUICK, results, wandb_runs
from vaelab.cli.commands import main
from vaelab.compare.page_data import page_data
from vaelab.run.summary import record_failure
from vaelab.sweep.report import failed_before_they_began, report

EXITING = """
import sys
from vaelab.prior.normal import NormalPrior

def exits():
    sys.exit(7)
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Six jobs: one finishes, one diverges, two have a bad setting, and of all settings one calls sys.exit."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "exiting.py").write_text(EXITING)
    arguments = [*QUICK, "optimizer.lr=1e-3,-1,1e30", "prior._target_=vaelab.prior.normal.NormalPrior,exiting.exits"]
    process = subprocess.run(
        [sys.executable, ROOT / "run.py", "-m", *arguments],
        cwd=folder,
        env={**clean_environment(), "PYTHONPATH": f"{folder}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
    )
    (sweep_dir,) = (folder / "outputs/sweeps").iterdir()
    return process, sweep_dir


@pytest.mark.slow
def test_a_failing_job_takes_no_other_with_it_and_the_exit_code_says_so(sweep):
    process, sweep_dir = sweep
    assert process.returncode == 1
    statuses = {row["job"]: row["status"] for row in results(sweep_dir)}
    assert statuses == {"0": "finished", **dict.fromkeys("12345", "failed")}
    assert "1 of 6 jobs finished" in process.stdout
    assert "Traceback" not in process.stdout + process.stderr


@pytest.mark.slow
def test_a_failing_job_has_its_traceback_in_its_own_log(sweep):
    _, sweep_dir = sweep
    assert "Traceback" not in (sweep_dir / "0/run.log").read_text()
    assert "SystemExit: 7" in (sweep_dir / "1/run.log").read_text()
    assert "optimizer.lr must be a finite number" in (sweep_dir / "2/run.log").read_text()


@pytest.mark.slow
def test_a_job_that_never_began_has_a_row_with_its_name_and_leaves_its_directory_free(sweep):
    _, sweep_dir = sweep
    summary = json.loads((sweep_dir / "2/summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["name"] == "optimizer.lr=-1,prior._target_=vaelab.prior.normal.NormalPrior"
    assert summary["group"] == sweep_dir.name
    # with a config.yaml, or metrics, it would be gone on with as it was, though the config files may have been mended
    assert not (sweep_dir / "2/config.yaml").exists()
    assert not (sweep_dir / "2/metrics.jsonl").exists()


@pytest.mark.slow
def test_every_job_that_began_is_a_wandb_run_of_its_own_with_its_config_and_exit_status(sweep):
    _, sweep_dir = sweep
    runs = wandb_runs(sweep_dir)
    assert sorted(runs) == ["0", "4"]
    assert {run["group"] for run in runs.values()} == {sweep_dir.name}
    assert [runs[job]["exit_code"] for job in "04"] == [0, 1]
    assert [runs[job]["summary"]["status"] for job in "04"] == ["finished", "failed"]
    assert [runs[job]["config"]["optimizer"]["lr"] for job in "04"] == [0.001, 1e30]
    assert runs["0"]["name"] == "optimizer.lr=0.001,prior._target_=vaelab.prior.normal.NormalPrior"
    summary = json.loads((sweep_dir / "0/summary.json").read_text())
    for name in ("test/elbo", "val/elbo"):  # a plain number of the best epoch, by which W&B sorts and searches
        assert runs["0"]["summary"][name] == pytest.approx(summary["metrics"][name])


@pytest.mark.slow
def test_the_results_hold_overrides_metrics_and_directories(sweep):
    _, sweep_dir = sweep
    finished = results(sweep_dir)[0]
    summary = json.loads((sweep_dir / "0/summary.json").read_text())
    assert float(finished["val/loss"]) == summary["metrics"]["val/loss"]
    assert finished["optimizer.lr"] == "0.001"
    assert "trainer.epochs=1" in finished["overrides"]
    assert Path(finished["directory"]).name == "0"
    with Image.open(sweep_dir / "comparison.png") as picture:
        assert picture.width > 600


@pytest.mark.slow
def test_a_sweep_of_beta_ends_with_zero_and_is_ranked_by_the_elbo_not_by_the_loss(inline, tmp_path, capfd):
    settings = ("trainer.epochs=10", "trainer.batch_size=100", "logger=local", "hydra.sweep.dir=outputs/sweep")
    code, out, err = inline("-m", *QUICK, *settings, "objective.beta=0,1,4")
    assert code == 0, err
    rows = [line.split() for line in out.splitlines() if "objective.beta=" in line and "finished" in line]
    elbos, losses = ([float(row[column]) for row in rows] for column in (2, 3))
    assert len(rows) == 3
    assert elbos == sorted(elbos, reverse=True)
    assert losses != sorted(losses)  # the smallest weight has the smallest loss by construction
    ranks = {row["job"]: int(row["rank"]) for row in results(tmp_path / "outputs/sweep")}
    assert [row[0] for row in rows] == sorted(ranks, key=ranks.get)
    main(["runs"])
    listed = [line for line in capfd.readouterr().out.splitlines() if "outputs/sweep/" in line]
    assert [line.split()[-1].rpartition("/")[2] for line in listed] == [row[0] for row in rows]
    in_page = [Path(run["directory"]).name for run in page_data([tmp_path / "outputs"])["runs"]]
    assert in_page == [row[0] for row in rows]


def test_an_interrupted_sweep_reports_all_jobs_that_were_asked_for(tmp_path, capsys):
    folder = begun_sweep(tmp_path / "sweep", "latent=d2,d8,d16", "optimizer.lr=1e-3,0.0013385298778", "seed=0,1")
    for job, status in (("0", "finished"), ("1", "finished"), ("2", "running"), ("3", "failed")):
        made_up_run(folder / job, latent=2, seed=int(job), status=status)
    report(folder)
    out = capsys.readouterr().out
    assert "2 of 12 jobs finished, 8 not begun" in out
    lines = [line.split() for line in out.splitlines() if line.endswith(("not begun  ", "finished   "))]
    assert [line[0] for line in lines[2:]] == [str(number) for number in range(4, 12)]
    assert lines[-1][1] == "latent=d16,optimizer.lr=0.00134,seed=1"
    rows = results(folder)
    assert [row["job"] for row in rows] == [str(number) for number in range(12)]
    assert [row["status"] for row in rows] == ["finished"] * 2 + ["killed", "failed"] + ["not begun"] * 8
    assert rows[-1]["optimizer.lr"] == "0.0013385298778"


def test_jobs_in_folders_of_other_names_are_counted(tmp_path, capsys):
    folder = begun_sweep(tmp_path / "sweep", "seed=0,1,2")
    made_up_run(folder / "seed=0")
    report(folder)
    assert "1 of 3 jobs finished, 2 not begun" in capsys.readouterr().out
    assert len(results(folder)) == 1


def test_jobs_that_do_not_compare_are_ranked_and_drawn_apart(tmp_path, capsys):
    folder = begun_sweep(tmp_path / "sweep", "dataset=mnist,digits", "latent=d2,d16")
    for number, (dataset, latent) in enumerate(
        (dataset, latent) for dataset in ("mnist", "digits") for latent in (2, 16)
    ):
        made_up_run(folder / str(number), dataset=dataset, latent=latent)
    report(folder)
    elbos = [float(row["val/elbo"]) for row in results(folder)]
    assert elbos[0] > elbos[1]
    assert elbos[2] > elbos[3]
    assert [row["rank"] for row in results(folder)] == ["1", "2", "1", "2"]
    lines = capsys.readouterr().out.splitlines()
    order = [line.split()[0].rstrip(",") for line in lines if " finished " in line or "binarize" in line]
    assert order == ["digits", "2", "3", "mnist", "0", "1"]


@pytest.mark.slow
def test_jobs_run_side_by_side_with_joblib_and_share_the_threads(run_py, tmp_path):
    (tmp_path / "threads.py").write_text(
        "import torch\nfrom vaelab.prior.normal import NormalPrior\n"
        "def prior():\n    open('threads.txt', 'a').write(f'{torch.get_num_threads()}\\n')\n    return NormalPrior()\n"
    )
    process = run_py(
        "-m",
        *QUICK,
        "logger=local",
        "seed=0,1",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "prior._target_=threads.prior",
        env={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}", "OMP_NUM_THREADS": ""},
    )
    assert process.returncode == 0, process.stderr
    (sweep_dir,) = (tmp_path / "outputs/sweeps").iterdir()
    assert [row["status"] for row in results(sweep_dir)] == ["finished", "finished"]
    divided = max(1, os.cpu_count() // 2)
    assert (tmp_path / "threads.txt").read_text().split() == [str(divided)] * 2


@pytest.mark.slow
def test_a_failed_job_is_told_once_and_only_what_can_go_on_is_gone_on_with(inline, tmp_path):
    sentence = "latent.dim must be an integer of at least 1, got -1"
    command = ("-m", *QUICK, "logger=local", "trainer.pictures_every=0", "hydra.sweep.dir=sweep")
    code, out, err = inline(*command, "latent.dim=2,-1")
    assert code == 1
    assert (out + err).count(sentence) == 1
    new, again = err.splitlines()
    assert new == "vaelab: begin a new sweep with other settings if they are why this failed before it began: job 1"
    assert again.startswith("vaelab: go on with the jobs that have not finished, or not begun: python run.py -m ")
    assert [row["error"] for row in results(tmp_path / "sweep")] == ["", sentence]


def test_the_jobs_that_failed_before_they_began_are_known(tmp_path):
    folder = begun_sweep(tmp_path / "sweep", "seed=0,1,2,3,4,5")
    for job, status in (("0", "finished"), ("1", "running"), ("2", "failed")):
        made_up_run(folder / job, latent=2, seed=int(job), status=status)
    (folder / "3").mkdir()
    record_failure(folder / "3", {"name": "x", "group": None, "overrides": []}, ValueError("no"))
    assert failed_before_they_began(folder) == ["3"]


@pytest.mark.slow
def test_a_job_whose_config_cannot_be_resolved_is_one_failed_row(inline, tmp_path):
    settings = ("logger=local", "logger.project=${oc.env:NOT_SET},x", "hydra.sweep.dir=sweep")
    code, _, _ = inline("-m", *QUICK, *settings)
    assert code != 0
    assert [row["status"] for row in results(tmp_path / "sweep")] == ["failed", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["removed", "damaged"])
def test_a_sweep_that_goes_on_writes_a_lost_summary_anew(lost, inline, tmp_path, capfd):
    command = ("-m", "dataset=digits", "logger=local", "trainer.max_steps=2", "trainer.pictures_every=0", "seed=0,1")
    assert inline(*command, "hydra.sweep.dir=sweep")[0] == 0
    before = results(tmp_path / "sweep")
    summary = tmp_path / "sweep/0/summary.json"
    summary.unlink() if lost == "removed" else summary.write_text("{")
    assert inline(*command, "sweep=sweep")[0] == 0
    assert results(tmp_path / "sweep") == before


@pytest.mark.slow
def test_a_misspelt_key_in_a_joblib_sweep_is_one_sentence_a_job(run_py):
    process = run_py("-m", *QUICK, "logger=local", "seed=0,1", "hydra/launcher=joblib", "+model.hiden=1")
    assert process.returncode == 1
    assert process.stdout.count("model has no key 'hiden'; did you mean 'hidden'?") == 2
    assert "Traceback" not in process.stderr
