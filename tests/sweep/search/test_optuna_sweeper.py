"""A search from the command line: trials are the jobs of a sweep, and its end says what was found."""

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import yaml
from hydra.core.hydra_config import HydraConfig

from conftest import ROOT, clean_environment
from helpers.sweeps import QUICK, results, wandb_runs
from vaelab.run.rows import read_rows
from vaelab.run.summary import read_summary, write_summary

pytestmark = pytest.mark.slow  # each is a search

TINY = (*QUICK, "logger=local", "latent.dim=4", "model.hidden=[16]")
SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweep.dir=sweep")
LR = "optimizer.lr=tag(log,interval(1e-3,1e-1))"
SMALL_STEPS = ("trainer.log_every=1", "trainer.compile=false")


def quick(config):
    """A job in no time: its ELBO falls with the distance of the learning rate from 0.01, its KL with beta."""
    job = HydraConfig.get()
    elbo, kl = -abs(math.log(config.optimizer.lr / 0.01)), 10 - config.objective.beta
    metrics = {"val/elbo": elbo, "val/loss": -elbo, "val/kl": kl, "val/reconstruction": elbo + kl}
    told = {"status": "finished", "metrics": metrics, "overrides": list(job.overrides.task)}
    write_summary(Path(job.runtime.output_dir), told)
    return elbo


@pytest.fixture
def quickly(inline, monkeypatch):
    """Runs a search on the command line whose trials train nothing."""
    monkeypatch.setattr("vaelab.cli.launch.job", quick)
    return lambda *arguments: inline(*SEARCH, "dataset=digits", *arguments)


def study_of(folder):
    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder}/study.db")


def states(folder):
    return [trial.state.name for trial in study_of(folder).trials]


def best_of(folder):
    return yaml.safe_load((folder / "best.yaml").read_text())


def test_trials_are_the_jobs_of_a_sweep_and_the_command_of_the_best_reaches_its_value(inline, tmp_path):
    code, out, err = inline(*SEARCH, *TINY, LR, "latent.dim=int(interval(2,9))", "hydra.sweeper.n_trials=2")
    assert code == 0, err
    rows, trials = results(tmp_path / "sweep"), study_of(tmp_path / "sweep").trials
    assert [row["job"] for row in rows] == ["0", "1"]
    for row, trial in zip(rows, trials, strict=True):
        assert float(row["optimizer.lr"]) == trial.params["optimizer.lr"]
        assert int(row["latent.dim"]) == trial.params["latent.dim"]
        assert float(row["val/elbo"]) == trial.value
    best = best_of(tmp_path / "sweep")
    assert best["values"]["val/elbo"] == max(trial.value for trial in trials)
    lines = [line for line in out.splitlines() if "trial 1: val/elbo" in line]
    assert len(lines) == 1
    assert f"(best {best['values']['val/elbo']:.2f}, trial {best['trial']})" in lines[0]
    assert "A new study" not in out + err
    assert (tmp_path / "sweep/optimization_history.png").exists()

    code, _, err = inline(*best["overrides"], "hydra.run.dir=again")
    assert code == 0, err
    assert read_summary(tmp_path / "again")["metrics"]["val/elbo"] == best["values"]["val/elbo"]


def test_the_loss_alone_is_minimised_and_a_search_that_changes_what_it_means_is_warned_about(quickly, tmp_path):
    beta = ("objective.beta=0.5,1", "optimizer.lr=1e-3,1e-2", "hydra.sweeper.n_trials=2")
    code, out, err = quickly(*beta, "hydra.sweeper.metrics=val/loss")
    assert code == 0, err
    best = best_of(tmp_path / "sweep")
    assert best["objectives"] == {"val/loss": "minimize"}
    assert best["values"]["val/loss"] == min(trial.value for trial in study_of(tmp_path / "sweep").trials)
    (warning,) = [line for line in (out + err).splitlines() if "means something else" in line]
    assert "val/loss means something else under each value of objective.beta" in warning
    assert "val/elbo" in warning


def test_the_space_may_stand_in_the_config_and_the_command_line_wins(quickly, tmp_path):
    params = "hydra.sweeper.params={optimizer.lr:'1e-3,1e-2',latent.dim:'range(2,5)',seed:7}"
    code, _, err = quickly(params, "latent.dim=3", "hydra.sweeper.n_trials=2")
    assert code == 0, err
    assert all(trial.params.keys() == {"optimizer.lr"} for trial in study_of(tmp_path / "sweep").trials)
    assert [(row["latent.dim"], row["seed"]) for row in results(tmp_path / "sweep")] == [("3", "7")] * 2


def test_a_failing_trial_is_a_failed_one_and_the_search_goes_on(inline, tmp_path):
    grid = ("hydra/sweeper/sampler=grid", "latent.dim=0,2")
    code, out, err = inline(*SEARCH, *TINY, *grid)
    assert code == 0, err
    assert sorted(states(tmp_path / "sweep")) == ["COMPLETE", "FAIL"]
    assert "1 of 2 jobs finished" in out
    assert "failed, latent.dim must be an integer of at least 1, got 0" in out
    names = {read_summary(tmp_path / "sweep" / number)["name"] for number in "01"}
    assert names == {"latent.dim=0", "latent.dim=2"}


def test_a_search_of_which_all_trials_failed_ends_with_1(inline, tmp_path):
    code, _, err = inline(*SEARCH, *TINY, "latent.dim=0,-1", "hydra.sweeper.n_trials=1")
    assert code == 1
    assert "all 1 trials failed" in err
    assert "Traceback" not in err
    assert not (tmp_path / "sweep/best.yaml").exists()


def test_too_many_failures_end_a_search(inline, tmp_path):
    bounds = ("hydra.sweeper.n_trials=10", "hydra.sweeper.max_failure_rate=0.05")
    code, _, err = inline(*SEARCH, *TINY, "latent.dim=0,-1", *bounds)
    assert code == 1
    assert "1 trials failed, more than hydra.sweeper.max_failure_rate=0.05 of 10" in err
    assert states(tmp_path / "sweep") == ["FAIL"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("latent.dims=3",), "latent has no key 'dims'; did you mean latent.dim=3?"),
        (("+foo=1,2",), "the config has no key 'foo'"),
        (("model=mlp,con",), "model has no option 'con'; did you mean 'conv'?"),
        (("hydra/sweeper/sampler=grid",), "got an interval for optimizer.lr"),
        (("hydra.sweep.subdir=x${hydra.job.num}",), "got x${hydra.job.num}"),
        (("hydra.sweeper.n_trials=0",), "hydra.sweeper.n_trials must be an integer of at least 1"),
        (("hydra.sweeper.metrics=[val/kl,val/elbo]", "hydra.sweeper.direction=minimize"), "one entry for each of"),
        (("dataset.val_size=0",), "a search for val/elbo must have validation images, got dataset.val_size=0"),
        (("hydra.sweeper.metrics=test/loss", "hydra/sweeper/pruner=median"), "a pruner must have one objective"),
    ],
)
def test_a_mistake_is_one_sentence_before_the_first_trial(arguments, sentence, inline, tmp_path):
    code, _, err = inline(*SEARCH, *TINY[:-2], LR, *arguments)
    assert code == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_without_optuna_a_sentence_names_the_extra(inline, monkeypatch):
    monkeypatch.setattr("vaelab.sweep.search.config.find_spec", lambda name: None)
    code, _, err = inline(*SEARCH, *TINY, LR)
    assert code == 2
    assert "pip install 'vaelab[hpo]'" in err


def test_several_objectives_end_with_a_front(quickly, tmp_path):
    objectives = ("hydra.sweeper.metrics=[val/kl,val/reconstruction]", "hydra.sweeper.direction=[minimize,maximize]")
    code, out, err = quickly("objective.beta=interval(0.1,9)", *objectives, "hydra.sweeper.n_trials=2")
    assert code == 0, err
    for entry in best_of(tmp_path / "sweep")["pareto_front"]:
        metrics = read_summary(tmp_path / "sweep" / str(entry["trial"]))["metrics"]
        assert entry["values"] == {name: metrics[name] for name in ("val/kl", "val/reconstruction")}
    assert "on the Pareto front" in out


PRUNED = ("trainer.epochs=4", "hydra/sweeper/pruner=median", "hydra.sweeper.pruner.n_startup_trials=1")


def test_a_trial_tells_its_pruner_each_validation(inline, tmp_path):
    bounds = ("trainer.epochs=2", "hydra/sweeper/pruner=hyperband", "hydra.sweeper.n_trials=1")
    code, _, err = inline(*SEARCH, *TINY, LR, *bounds)
    assert code == 0, err
    (first,) = study_of(tmp_path / "sweep").trials
    assert (first.state.name, len(first.intermediate_values)) == ("COMPLETE", 2)


@pytest.mark.parametrize("mode", [("-m", "latent.dim=0"), (*SEARCH, "latent.dim=0,-1", "hydra.sweeper.n_trials=1")])
def test_a_job_without_a_pruner_opens_no_study(mode, inline, monkeypatch):
    opened = []
    monkeypatch.setattr("vaelab.cli.job.pruning_callback", lambda *arguments: opened.append(arguments))
    _, out, err = inline(*mode, *TINY[:-2])
    assert "latent.dim must be an integer of at least 1" in out + err  # the run began
    assert not opened


def test_a_pruned_run_ends_well(run_py, tmp_path):
    grid = ("hydra/sweeper/sampler=grid", "optimizer.lr=1e-6,1e-5,1e-4,1e-3,1e-2", "hydra.sweeper.sampler.seed=1")
    done = run_py(*SEARCH, *TINY, "logger=wandb", "logger.mode=offline", *grid, *PRUNED)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "sweep"
    rows, runs = results(folder), wandb_runs(folder)
    pruned = [row["job"] for row in rows if row["status"] == "pruned"]
    assert pruned
    assert f"{5 - len(pruned)} of 5 jobs finished, {len(pruned)} pruned" in done.stdout
    for number, trial in enumerate(study_of(folder).trials):
        given_up = str(number) in pruned
        summary = read_summary(folder / str(number))
        validated = [row for row in read_rows(folder / str(number)) if "val/loss" in row]
        assert trial.state.name == ("PRUNED" if given_up else "COMPLETE")
        assert list(trial.intermediate_values.values()) == [row["val/elbo"] for row in validated]
        assert summary["metrics"]["val/loss"] == min(row["val/loss"] for row in validated)
        assert ("test/loss" in summary["metrics"]) is not given_up
        assert (len(validated) < 4) is given_up
        assert runs[str(number)]["exit_code"] == 0
        assert runs[str(number)]["summary"]["status"] == ("pruned" if given_up else "finished")


def killed_in_trial_two(folder, *arguments):
    """Starts a search and kills it, not its jobs' processes, in the midst of its third trial."""
    command = [sys.executable, ROOT / "run.py", *SEARCH, *arguments]
    log = (folder / "log").open("w")
    process = subprocess.Popen(command, cwd=folder, env=clean_environment(), stdout=log, stderr=log)
    deadline = time.monotonic() + 120
    while len(read_rows(folder / "sweep/2")) < 20:
        assert process.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    log.close()


@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=pool", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2")])
def test_a_search_that_is_killed_goes_on_where_it_was(launcher, run_py, tmp_path):
    asked = (*TINY, *SMALL_STEPS, LR, *PRUNED, "trainer.epochs=20", *launcher, "hydra.sweeper.n_trials=6")
    asked = (*asked, "hydra.sweeper.sampler.n_startup_trials=3", "hydra.sweeper.pruner.n_warmup_steps=5")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    assert run_py(*SEARCH, *asked, cwd=whole).returncode == 0
    killed_in_trial_two(cut, *asked)
    before = {number: read_summary(cut / "sweep" / number) for number in ("0", "1")}
    assert states(cut / "sweep")[2] == "RUNNING"
    done = run_py("-m", "hydra/sweeper=optuna", "sweep=sweep", *asked, cwd=cut)
    assert done.returncode == 0, done.stderr
    assert {number: read_summary(cut / "sweep" / number) for number in ("0", "1")} == before
    assert "going on from step" in done.stdout + (cut / "sweep/2/output.log").read_text() if launcher else done.stdout
    one, other = study_of(whole / "sweep").trials, study_of(cut / "sweep").trials
    assert [trial.params for trial in one] == [trial.params for trial in other]
    if not launcher:  # side by side, what a pruner knew at an epoch is a matter of time
        assert [trial.intermediate_values for trial in one] == [trial.intermediate_values for trial in other]
        assert [(trial.state, trial.values) for trial in one] == [(trial.state, trial.values) for trial in other]


def test_a_search_that_is_asked_to_stop_leaves_its_report_and_goes_on(run_py, tmp_path):
    asked = (*TINY, *SMALL_STEPS, LR, "trainer.epochs=20", "hydra.sweeper.n_trials=4")
    with (tmp_path / "log").open("w") as log:
        command = [sys.executable, ROOT / "run.py", *SEARCH, *asked]
        process = subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stdout=log)
    while len(read_rows(tmp_path / "sweep/2")) < 5:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    assert "2 of 4 jobs finished, 1 not begun" in (tmp_path / "log").read_text()
    assert states(tmp_path / "sweep") == ["COMPLETE", "COMPLETE", "RUNNING"]
    assert yaml.safe_load((tmp_path / "sweep/best.yaml").read_text())["trial"] in (0, 1)
    assert (tmp_path / "sweep/optimization_history.png").exists()
    done = run_py("-m", "hydra/sweeper=optuna", "sweep=sweep", *asked)
    assert done.returncode == 0, done.stderr
    assert states(tmp_path / "sweep") == ["COMPLETE"] * 4
    assert "going on from step" in done.stdout
