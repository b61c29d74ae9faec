"""A finished run as an object, without its dataset, and safe when it is untrusted."""

import hashlib
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.distributions import Normal

import vaelab
from conftest import ROOT, clean_environment
from helpers.fakes import put_config
from helpers.ladders import small_ladder
from vaelab import load_run
from vaelab.conditional.labels import Moved
from vaelab.dataset.images import Dataset, Split
from vaelab.dataset.own.prepare import prepared_dataset
from vaelab.distributions import Mixture, StandardNormal
from vaelab.distributions import Normal as Diagonal
from vaelab.errors import UserError
from vaelab.evaluation.report import Plan
from vaelab.machine.threads import own_number_of_threads
from vaelab.ops import generator
from vaelab.run import evaluation
from vaelab.run.summary import read_summary, write_summary
from vaelab.training import checkpoint

FACTS = {"image_shape": [1, 8, 8], "num_classes": 10, "train_size": 1000}
QUICK = ("dataset=digits", "logger=local", "trainer.epochs=2", "trainer.pictures_every=0", "latent.dim=3")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of two epochs."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    arguments = [sys.executable, ROOT / "run.py", *QUICK, f"hydra.run.dir={run_dir}"]
    subprocess.run(arguments, check=True, env=clean_environment(), capture_output=True)
    return run_dir


@pytest.fixture
def run_dir(trained, tmp_path, monkeypatch):
    """A copy of that run, to change at will."""
    monkeypatch.delenv("VAELAB_DATA", raising=False)
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def run(run_dir, monkeypatch):
    """A run whose dataset cannot be read any more."""

    def absent(*_, **__):
        raise AssertionError("the dataset was read")

    monkeypatch.setattr("vaelab.dataset.digits.load", absent)
    return vaelab.load_run(run_dir)


@pytest.mark.slow
def test_a_run_encodes_decodes_reconstructs_and_samples(run):
    x = torch.rand(5, 1, 8, 8)
    z = run.encode(x)
    assert z.shape == (5, 3)
    assert torch.equal(run.decode(z), run.reconstruct(x))
    samples = run.sample(10)
    assert samples.shape == (10, 1, 8, 8)
    assert 0 <= samples.min() <= samples.max() <= 1
    assert set(run.sample(10, pixel_noise=True).unique().tolist()) == {0.0, 1.0}


def test_samples_are_others_at_every_call_and_with_a_seed_the_same(run):
    before = torch.get_rng_state()
    assert not torch.equal(run.sample(10), run.sample(10))
    assert torch.equal(run.sample(10, seed=1), run.sample(10, seed=1))
    assert not torch.equal(run.sample(10, seed=1), run.sample(10, seed=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_posterior_is_a_distribution(run):
    x = torch.rand(5, 1, 8, 8)
    q = run.posterior(x)
    torch.testing.assert_close(q.mean, run.encode(x))
    z, log_q = q.draw(torch.randn(4, 5, 3))
    assert (z.shape, log_q.shape) == ((4, 5, 3), (4, 5))
    torch.testing.assert_close(log_q, Normal(q.mean, (q.log_var / 2).exp()).log_prob(z).sum(-1))
    assert not z.requires_grad


LEVELS = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "same",
    [
        LEVELS / 255,
        (LEVELS / 255).double(),
        LEVELS.numpy(),
        (LEVELS / 255).numpy(),
        LEVELS.numpy() / 255.0,
        read_only(LEVELS.numpy().copy()),
        LEVELS.flip(-1).numpy()[..., ::-1],
    ],
)
def test_images_are_levels_or_floats_as_tensors_or_arrays(run, same):
    torch.testing.assert_close(run.encode(same), run.encode(LEVELS))


def test_latents_are_tensors_or_arrays(run):
    z = run.encode(LEVELS)
    assert torch.equal(run.decode(z.numpy()), run.decode(z))


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 3, 8, 8), (2, 1, 28, 28)])
def test_images_of_another_shape_are_refused(run, shape):
    with pytest.raises(ValueError, match=r"x must have the shape \(B, 1, 8, 8\)"):
        run.encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (LEVELS.float(), r"got \d+ to 2\d+; bring it there, levels by x / 255"),
        (LEVELS.numpy().astype("float64"), r"got \d+ to 2\d+"),
        (LEVELS / 127.5 - 1, r"got -0.\d+ to 0.\d+"),
        (torch.full((2, 1, 8, 8), math.nan), r"got nan to nan"),
        (LEVELS.long(), r"got torch.int64"),
        (LEVELS > 127, r"got torch.bool"),
        (LEVELS.tolist(), r"tensor or a numpy array, got list"),
        (np.full((2, 1, 8, 8), "x"), r"array of numbers, got <U1"),
    ],
)
def test_what_are_no_images_is_refused(run, x, said):
    for use in (run.encode, run.posterior, run.reconstruct):
        with pytest.raises(ValueError, match=f"x must be .*{said}"):
            use(x)


def test_a_model_that_was_moved_takes_images_from_anywhere(run):
    run.model.to("meta")
    values = (run.encode(LEVELS), run.posterior(LEVELS).mean, run.reconstruct(LEVELS), run.sample(3))
    assert all(value.device.type == "meta" for value in values)


def test_a_run_is_one_short_line(run):
    elbo = run.summary["metrics"]["val/elbo"]
    assert repr(run).endswith(
        f"run': mlp on digits, latent 3, best epoch {run.summary['best_epoch']}, val ELBO {elbo:.2f}, "
        f"test ELBO {run.summary['metrics']['test/elbo']:.2f})"
    )
    (run.path / "summary.json").unlink()
    unfinished = vaelab.load_run(run.path)
    assert repr(unfinished).endswith("run': mlp on digits, latent 3)")


def test_a_run_knows_its_config_and_metrics(run):
    assert run.config["latent"]["dim"] == 3
    assert [row["epoch"] for row in run.metrics if "val/elbo" in row] == [1.0, 2.0]
    assert run.summary["status"] == "finished"


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_evaluating_again_gives_the_figures_of_the_summary_to_the_last_digit(precision, inline, tmp_path):
    code, _, err = inline(*QUICK, "hydra.run.dir=run", f"trainer.precision={precision}", "trainer.ema=0.9")
    assert code == 0, err
    run = vaelab.load_run(tmp_path / "run")
    assert run.recorded("train") == {}
    for split in ("val", "test"):
        assert run.evaluate(split) == run.recorded(split)
    again = run.evaluate("test", importance_samples=20)
    assert again["log_likelihood"] > again["elbo"]


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["adversarial", "factor"])
def test_the_networks_of_an_objective_are_those_of_the_best_epoch(objective, inline, tmp_path):
    small = (f"objective={objective}", "objective.discriminator_lr=0.01", "posterior=gaussian")
    code, _, err = inline(*QUICK, *small, "hydra.run.dir=run")
    assert code == 0, err
    run = vaelab.load_run(tmp_path / "run")
    for split in ("val", "test"):
        assert run.evaluate(split) == run.recorded(split)
    assert run.summary["best_epoch"] == 2  # the last: under another discriminator the loss is another function


def test_a_plan_adds_figures_and_leaves_those_of_the_summary_as_they_are(run_dir):
    run, done = vaelab.load_run(run_dir), {}
    plan = Plan(("latents", "similarity", "aggregate", "factors"), importance_samples=10)

    def advance(count):
        done[[*done][-1]] += count

    found = run.report("test", plan, advance, lambda name: done.update({name: 0}))
    recorded = run.recorded("test")
    assert {name: found.metrics[name] for name in recorded} == recorded
    seen = {"elbo": 1, "latents": 2, "similarity": 1, "aggregate": 1, "factors": 0, "log_likelihood": 1}
    assert done == {name: passes * 297 for name, passes in seen.items()}
    assert found.settings["images"] == found.settings["images_of_split"] == 297
    assert found.metrics["log_likelihood"] > recorded["elbo"]
    assert found.standard_errors["log_likelihood"] > 0
    assert "with 10 samples of z, seed 0" in found.depends_on["log_likelihood"]
    assert sum(found.lists["kl_by_dimension"]) == pytest.approx(recorded["kl"], rel=1e-5)
    three = (found.metrics[name] for name in ("mutual_information", "total_correlation", "dimension_wise_kl"))
    assert sum(three) == pytest.approx(recorded["kl"], abs=0.1)
    assert found.left_out["factors"] == "needs a dataset whose factors are known, such as sprites"
    alone = run.report("test")
    assert alone.metrics.keys() == {*recorded, "active_units"}
    assert alone.standard_errors.keys() == {"elbo", "reconstruction", "kl", "bits_per_dim"}
    assert alone.standard_errors == {name: found.standard_errors[name] for name in alone.standard_errors}
    assert min(alone.standard_errors.values()) > 0
    run.model.is_mean_over_images = False
    without = run.report("test")
    assert (without.metrics, without.standard_errors) == (alone.metrics, {})
    assert "no mean over images" in without.depends_on["elbo"]


def test_a_limit_takes_images_of_all_the_split_and_a_seed_changes_what_is_drawn_only(run_dir):
    run = vaelab.load_run(run_dir)
    first, again, other = (run.report(plan=Plan(("aggregate",), 5, seed, limit=50)).metrics for seed in (0, 0, 1))
    assert first == again
    same = {name for name in first if first[name] == other[name]}
    assert same == {"elbo", "reconstruction", "kl", "loss", "bits_per_dim"}
    assert run.report(plan=Plan(limit=50)).settings["images"] == 50
    assert run.report(plan=Plan(limit=10_000)).metrics == run.recorded("test")


def test_without_a_density_the_bound_is_left_out_and_all_else_is_measured(run_dir, monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: {"reconstruction": -3.0})
    run = vaelab.load_run(run_dir)
    found = run.report(plan=Plan(("similarity",), 5, limit=20))
    assert found.left_out["log_likelihood"] == "needs a posterior with a density, which this model has not"
    assert found.metrics.keys() >= {"reconstruction", "psnr"}
    assert found.left_out["ssim"] == "needs images of 11 x 11 pixels at least"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"measures": ("fdc",)}, "measures must be one of .* did you mean 'fid' or 'fcd'"),
        ({"limit": 0}, "limit must be an integer of at least 1"),
        ({"seed": -1}, "seed must be"),
        ({"importance_samples": -1}, "importance_samples must be"),
    ],
)
def test_a_plan_is_checked(wrong, said):
    with pytest.raises(ValueError, match=said):
        Plan(**wrong)


def test_a_report_is_strict_json(run_dir):
    found = vaelab.load_run(run_dir).report(plan=Plan(("latents",), limit=10))
    found.lists["odd"] = [math.nan, 1.0]
    read = json.loads(found.json(), parse_constant=lambda name: pytest.fail(name))
    assert read["lists"]["odd"] == [None, 1.0]
    assert read["metrics"] == found.metrics
    assert (read["settings"]["images"], read["settings"]["images_of_split"]) == (10, 297)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["gmm", "flow"])
def test_samples_of_an_ex_post_density_are_the_same_for_a_seed(sampler, run_dir, monkeypatch):
    monkeypatch.setattr("vaelab.evaluation.ex_post.FLOW_STEPS", 20)
    run = vaelab.load_run(run_dir)
    images = run.sample(6, seed=1, sampler=sampler)
    assert images.shape == (6, 1, 8, 8)
    assert torch.equal(run.sample(6, seed=1, sampler=sampler), images)
    assert not torch.equal(run.sample(6, seed=1), images)


def test_a_temperature_scales_the_noise_of_the_prior(run):
    cold = run.sample(4, seed=1, temperature=0)
    assert torch.allclose(cold, run.decode(torch.zeros(4, 3)))
    assert torch.equal(run.sample(4, seed=1, temperature=1), run.sample(4, seed=1))
    assert torch.equal(run.sample(4, seed=1, temperature=0.5), run.decode(0.5 * normal_of(run, 4)))


@pytest.mark.parametrize("labelled", [False, True])
def test_a_temperature_leaves_the_choice_of_a_component_as_it_is(labelled, run, monkeypatch):
    weights, count = torch.tensor([0.5, 0.3, 0.2]), 5000
    p = Mixture(Diagonal(torch.tensor([[-9.0] * 3, [0.0] * 3, [9.0] * 3]), torch.zeros(3, 3)), weights.log())
    p = Moved(p, torch.full((count, 3), 4.0), torch.zeros(count, 3)) if labelled else p
    monkeypatch.setattr(run.model, "prior_of", lambda y: p)
    monkeypatch.setattr(run.model, "decode", lambda z, y: z.view(count, 3, 1, 1))
    monkeypatch.setattr(run.model.likelihood, "mean", lambda params: params.flatten(1))
    z = run.sample(count, temperature=0.1) - 4 * labelled
    component = (z[:, 0] / 9).round()
    shares = torch.stack([(component == value).float().mean() for value in (-1, 0, 1)])
    torch.testing.assert_close(shares, weights, rtol=0, atol=4 * 0.5 / count**0.5)
    torch.testing.assert_close((z - 9 * component[:, None]).std(0), torch.full((3,), 0.1), rtol=0.05, atol=0)


def test_a_temperature_is_passed_on_to_a_whole_model_that_has_one(run):
    run = replace(run, model=small_ladder().eval())
    expected = run.model.sample(4, generator(1, "samples"), temperature=0.5)
    assert torch.equal(run.sample(4, seed=1, temperature=0.5), expected)
    assert not torch.equal(run.sample(4, seed=1), expected)


@pytest.mark.parametrize(("name", "value"), [("space", "sphere"), ("prior", StandardNormal)])
def test_codes_and_points_of_a_sphere_have_no_temperature(name, value, run):
    setattr(run.model.posterior, name, value)
    with pytest.raises(UserError, match=r"which codes and points of a sphere are not, got temperature=0\.5"):
        run.sample(3, temperature=0.5)


def normal_of(run, count):
    """The z that `Run.sample` draws with the seed 1."""
    return torch.randn(count, 3, generator=generator(1, "samples"))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"sampler": "gmn"}, ValueError, "sampler must be one of prior, gmm, flow, got 'gmn'; did you mean 'gmm'"),
        ({"temperature": -1}, ValueError, "temperature must be a finite number of at least 0"),
        ({"sampler": "gmm", "temperature": 0.5}, UserError, "the temperature is that of the prior"),
    ],
)
def test_samplers_that_are_not_there_are_refused(given, error, said, run):
    with pytest.raises(error, match=said):
        run.sample(3, **given)


def test_a_density_is_fitted_to_latents_that_are_vectors_of_real_numbers_only(run_dir):
    run = vaelab.load_run(run_dir)
    run.model.posterior.space = "sphere"
    with pytest.raises(UserError, match="sampler=gmm fits a density to latents that are vectors of real numbers"):
        run.sample(3, sampler="gmm")


@pytest.mark.parametrize(("trained_with", "used"), [(1, 1), (2, 2), (1000, 3), (None, 3), ("many", 3), (-1, 3)])
def test_evaluating_uses_the_threads_of_the_training_where_they_are_there(trained_with, used, run_dir, monkeypatch):
    write_summary(run_dir, {**read_summary(run_dir), "threads": trained_with})
    asked = []
    monkeypatch.setattr(evaluation, "evaluate", lambda *_: asked.append(torch.get_num_threads()) or {})
    with own_number_of_threads():
        torch.set_num_threads(3)
        load_run(run_dir).evaluate()
        assert torch.get_num_threads() == 3
    assert asked == [used]


def test_the_dataset_of_a_run_is_that_of_its_training(run_dir):
    run = vaelab.load_run(run_dir)
    assert (run.dataset.name, run.dataset.binarize, len(run.dataset.val.images)) == ("digits", "dynamic", 200)
    assert run.dataset is run.dataset


def test_images_of_another_shape_than_the_trainings_are_not_evaluated(run_dir, monkeypatch):
    levels = torch.zeros(5, 1, 8, 9, dtype=torch.uint8)
    monkeypatch.setattr(
        "vaelab.dataset.digits.load",
        lambda val_size, binarize: Dataset("digits", lambda part: Split(levels), 0, binarize),
    )
    monkeypatch.setattr("vaelab.dataset.digits.load.__module__", "vaelab.dataset.digits")
    with pytest.raises(UserError, match=r"digits must have the images \(1, 8, 8\) of the training, got \(1, 8, 9\)"):
        vaelab.load_run(run_dir).evaluate()


def test_a_split_that_does_not_exist_is_refused(run_dir):
    with pytest.raises(ValueError, match="split must be one of train, val, test, got 'tests'; did you mean 'test'"):
        vaelab.load_run(run_dir).evaluate("tests")


def test_a_device_that_is_absent_is_refused(run_dir, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device=cuda is not on this machine, which has cpu; use device=auto"):
        vaelab.load_run(run_dir, device="cuda")


@pytest.mark.parametrize(("variable", "root"), [(None, "elsewhere"), ("", "elsewhere"), ("/here", "/here")])
def test_the_dataset_lies_where_the_environment_says(variable, root, run_dir, monkeypatch):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["dataset"]["root"] = "elsewhere"
    put_config(run_dir, yaml.safe_dump(config))
    if variable is not None:
        monkeypatch.setenv("VAELAB_DATA", variable)
    assert vaelab.load_run(run_dir).config["dataset"]["root"] == root


def test_a_pickle_that_would_run_code_is_refused(run_dir, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/owned",)

    best = run_dir / "checkpoints/best.pt"
    best.write_bytes(pickle.dumps(Evil(), protocol=2))
    (run_dir / "checkpoints/best.pt.sha256").write_text(hashlib.sha256(best.read_bytes()).hexdigest())
    with pytest.raises(UserError, match="could run code"):
        vaelab.load_run(run_dir)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        {},
        {"facts": None},
        {"facts": {**FACTS, "image_shape": [1, -8, 8]}},
        {"facts": {**FACTS, "image_shape": [1, 99_999, 99_999]}},
        {"model": None},
        {"model": {"decoder.layers.0.weight": torch.zeros(3)}},
        {"val": [1]},
        {"epoch": "two"},
    ],
)
def test_a_best_checkpoint_that_is_odd_is_one_sentence(run_dir, odd):
    best = run_dir / "checkpoints" / "best.pt"
    kept = checkpoint.load(best)
    for file in best.parent.iterdir():
        file.unlink()
    checkpoint.write(best, {**kept, **odd} if odd else odd)
    with pytest.raises(UserError, match=r"no weights|does not fit the weights|out of memory"):
        vaelab.load_run(run_dir)


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("latent", "dim", 10**12),
        ("latent", "dim", 10**18),
        ("model", "hidden", [10**9]),
        ("trainer", "eval_batch_size", 10**30),
    ],
)
def test_a_config_of_absurd_sizes_is_one_sentence(run_dir, part, key, value):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config[part][key] = value
    put_config(run_dir, yaml.safe_dump(config))
    with pytest.raises(UserError, match=r"out of memory|does not fit|must be an integer|must hold integers"):
        vaelab.load_run(run_dir).evaluate()


@pytest.mark.parametrize("part", ["model", "posterior", "prior", "likelihood"])
@pytest.mark.parametrize("target", ["os.system", "subprocess.getoutput", "vaelab.vae.torch.hub.load", "torch.load"])
def test_a_config_that_names_foreign_code_is_refused(run_dir, part, target):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config[part]["_target_"] = target
    put_config(run_dir, yaml.safe_dump(config))
    with pytest.raises(UserError, match=f"must be one of the options of {part} in vaelab.s conf"):
        vaelab.load_run(run_dir)


def test_a_directory_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing/config.yaml is missing; name the directory of a run"):
        vaelab.load_run(tmp_path / "nothing")


def test_what_an_untrusted_config_chose_is_shown_as_text(run_dir):
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["choices"]["model"] = "x\x1b]0;title\x07"
    put_config(run_dir, yaml.safe_dump(config))
    assert repr(vaelab.load_run(run_dir)).isprintable()


def test_the_images_of_a_run_are_found_when_their_source_is_gone(inline, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).integers(256, size=(80, 8, 8), dtype=np.uint8))
    own = ("dataset=array", "dataset.path=x.npy", f"dataset.root={tmp_path / 'data'}", "trainer.max_steps=2")
    assert inline(*own, "logger=local", "trainer.pictures_every=0", f"hydra.run.dir={tmp_path / 'run'}")[0] == 0
    (tmp_path / "x.npy").unlink()
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"x-\w+.safetensors is not there, which the run was trained on; .*VAELAB_DATA"):
        load_run("run").dataset.train  # noqa: B018
    monkeypatch.setenv("VAELAB_DATA", str(tmp_path / "elsewhere"))
    monkeypatch.chdir("elsewhere")
    found = load_run("../run")
    assert found.dataset.name == found.summary["setting"]["dataset"] == "x"
    assert found.evaluate("test") == found.recorded("test")
    put_config(found.path, yaml.safe_dump({**found.config, "dataset": {**found.config["dataset"], "binarize": "x"}}))
    with pytest.raises(UserError, match=r"dataset.binarize must be one of"):
        load_run("../run").dataset  # noqa: B018


STORED = "x-0123456789ab.safetensors"


@pytest.mark.parametrize("file", [f"../{STORED}", f"{STORED}\n", "x.safetensors", ".."])
def test_a_saved_run_names_no_file_but_prepared_images(tmp_path, file):
    with pytest.raises(UserError, match=r"prepared images is called as name-0123456789ab.safetensors is, got"):
        prepared_dataset(str(tmp_path), file, "x", "none", False)
