"""Best first, among runs that were measured on the same."""

from pathlib import Path

from vaelab.run.ranking import describe, ranked, shown_merit, typical
from vaelab.run.record import RunRecord

MNIST = {"dataset": "mnist", "binarize": "dynamic", "likelihood": "BernoulliLikelihood", "val_size": 5000}


def run(name, elbo=None, setting=MNIST, begins=-200.0):
    metrics = {} if elbo is None else {"val/elbo": elbo, "val/loss": -2 * elbo}
    summary = {"name": name, "status": "failed" if elbo is None else "finished", "metrics": metrics, "setting": setting}
    values = (begins, begins if elbo is None else elbo)
    rows = [{"step": epoch, "epoch": epoch, "val/elbo": value} for epoch, value in enumerate(values, 1)]
    return RunRecord(Path(name), summary, {}, rows)


def names(groups):
    return [[run.name for run in group] for group in groups]


def test_an_elbo_is_ranked_among_those_of_the_same_pixels_only():
    other = {**MNIST, "dataset": "digits"}
    grey = {**MNIST, "binarize": "none", "log_prob_is": "cross-entropy"}
    runs = [run("a", -100.0), run("b", -25.0, other), run("c", -99.0), run("d", -60.0, grey), run("e", -24.0, other)]
    assert names(ranked(runs)) == [["e", "b"], ["c", "a"], ["d"]]


def test_a_run_without_final_metrics_is_last_among_those_that_it_may_belong_to():
    unknown = {"binarize": "dynamic"}
    digits = {**MNIST, "dataset": "digits"}
    runs = [run("failed"), run("good", -90.0), run("no config", setting=unknown), run("alone", setting=digits)]
    assert names(ranked(runs)) == [["good", "failed", "no config"], ["alone"]]


def test_a_run_that_kept_no_validation_images_is_ranked_by_its_training_elbo_among_its_like():
    bare = {**MNIST, "val_size": 0}
    without = [
        RunRecord(
            Path(name), {"name": name, "status": "finished", "setting": bare, "metrics": {"train/elbo": elbo}}, {}, []
        )
        for name, elbo in (("a", -90.0), ("b", -80.0))
    ]
    groups = ranked([run("c", -100.0), *without])
    assert names(groups) == [["b", "a"], ["c"]]
    assert [shown_merit(group) for group in groups] == ["train/elbo", "val/elbo"]


def test_axes_are_made_for_what_finished_and_did_not_diverge():
    poor, diverged = run("poor", -150.0), run("diverged", -1e6, begins=-1e6)
    runs = [run("a", -100.0), run("b", -101.0), run("c", -103.0), poor, diverged, run("failed")]
    assert names([typical(runs)]) == [["a", "b", "c", "poor"]]
    assert names([typical([diverged])]) == [["diverged"]]
    assert typical([run("failed")]) == []


def test_a_run_without_an_elbo_is_ranked_by_its_reconstruction_with_its_like():
    def run(name, metric, value=-160.0, conditional="none"):
        summary = {"status": "finished", "name": name, "metrics": {metric: value, "val/loss": -1.0}}
        return RunRecord(Path(name), {**summary, "choices": {"conditional": conditional}}, {}, [])

    runs = [run("a", "val/elbo"), run("b", "val/elbo", -150.0), run("c", "val/reconstruction", -20.0)]
    groups = ranked([*runs, run("d", "val/reconstruction", -10.0), run("e", "val/elbo", conditional="labels")])
    assert sorted(names(groups)) == [["b", "a"], ["d", "c"], ["e"]]
    told = {group[0].name: describe(group[0].measured_on) for group in groups}
    assert told == {"b": "", "d": "ranked by the reconstruction, without an ELBO", "e": "given labels"}
