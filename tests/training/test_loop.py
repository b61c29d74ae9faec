"""The training loop: what it reports is what happened, and what goes wrong stops it in time."""

import json
import time

import pytest
import torch

import vaelab.training.loop as train_module
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.run.build import Builder
from vaelab.training.loop import Training
from vaelab.training.signals import StopRequest
from vaelab.training.state import Meter

SMALL = ("dataset=digits", "logger=local", "trainer.pictures_every=0", "latent.dim=4", "model.hidden=[32]")


@pytest.fixture
def train(compose, tmp_path):
    """Builds a training from overrides; its logger is closed at the end of the test."""
    loggers = []

    def build(*overrides):
        builder = Builder(compose(*SMALL, *overrides), trusted=None)
        run_dir = tmp_path / str(len(loggers))
        run_dir.mkdir()
        loggers.append(builder.logger(run_dir))
        return Training(builder.experiment(), loggers[-1], run_dir, StopRequest())

    yield build
    for logger in loggers:
        logger.finish("finished", {})


def rows(training):
    return [json.loads(line) for line in (training.run_dir / "metrics.jsonl").read_text().splitlines()]


def test_training_raises_the_elbo(train):
    training = train("trainer.epochs=5")
    training.run()
    validation = [row["val/elbo"] for row in rows(training) if "val/elbo" in row]
    assert len(validation) == 5
    assert validation == sorted(validation)


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_images(train):
    training = train("trainer.epochs=1", "trainer.batch_size=77", "trainer.log_every=5")
    seen = []
    update = training.update

    class Watched:
        compile_seconds = 0.0

        def __call__(self, batch, *noise):
            values, norm = update(batch, *noise)
            seen.extend([values["loss"].item()] * len(batch))
            return values, norm

    training.update = Watched()
    training.run()
    assert len(seen) == 1300
    assert training.progress.train["loss"] == pytest.approx(sum(seen) / len(seen), rel=1e-6)
    steps = [row["step"] for row in rows(training) if "train/loss" in row]
    assert steps == [5, 10, 15, 17]


def test_the_elbo_is_reported_without_weight_and_warm_up(train):
    training = train("objective.beta=3", "objective.warmup_steps=100", "trainer.max_steps=4", "trainer.log_every=1")
    training.run()
    for row in rows(training):
        for split in {name.split("/")[0] for name in row if name.endswith("/elbo")}:
            assert row[f"{split}/elbo"] == pytest.approx(row[f"{split}/reconstruction"] - row[f"{split}/kl"], rel=1e-5)
    (validation,) = [row for row in rows(training) if "val/elbo" in row]
    assert validation["val/loss"] == pytest.approx(
        3 * validation["val/kl"] - validation["val/reconstruction"], rel=1e-5
    )


def test_a_gradient_that_is_not_finite_is_never_saved(train):
    training = train("dataset.val_size=0", "trainer.max_steps=60")
    weight = training.vae.posterior.heads.weight
    weight.register_hook(lambda grad: grad * (torch.nan if training.progress.step == 59 else 1))
    with pytest.raises(UserError, match="a weight is not finite at step 60"):
        training.run()
    kept = torch.load(training.run_dir / "checkpoints/last.pt", weights_only=True)
    assert kept["progress"]["step"] < 60
    assert all(value.isfinite().all() for value in kept["vae"].values())


def test_layers_that_differ_in_evaluation_are_evaluated_as_such(train):
    training = train("trainer.epochs=1")
    norm = torch.nn.BatchNorm1d(64)
    training.vae.encoder.layers.insert(1, norm)
    batches = []
    norm.register_forward_hook(lambda module, inputs, _: batches.append((module.training, len(inputs[0]))))
    training.run()
    assert {size for mode, size in batches if mode} == {32, 20}
    assert {size for mode, size in batches if not mode} == {200}


def test_the_learning_rate_of_a_row_is_that_of_its_step(train):
    training = train("scheduler=cosine", "scheduler.warmup_steps=0", "trainer.epochs=2", "trainer.log_every=41")
    training.run()
    rates = {row["step"]: row["train/lr"] for row in rows(training) if "train/lr" in row}
    assert rates[41] == pytest.approx(0.001 * training.schedule(40, 82))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_loss_that_is_not_finite_stops_before_the_step(train, part):
    training = train("trainer.epochs=2")
    training.run()
    training.total_steps = 1000
    with torch.no_grad():
        next(getattr(training.vae, part).parameters()).fill_(torch.nan)
    before = {name: value.clone() for name, value in training.vae.state_dict().items()}
    kept = (training.run_dir / "checkpoints/last.pt").read_bytes()
    with pytest.raises(UserError, match=r"not finite at step 83 \(loss = nan, elbo = nan, reconstruction = nan, kl"):
        training.run()
    for name, value in training.vae.state_dict().items():
        assert torch.equal(value.isnan(), before[name].isnan())
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num())
    assert (training.run_dir / "checkpoints/last.pt").read_bytes() == kept


def test_the_moving_average_is_what_is_evaluated_and_kept(train):
    training = train("trainer.epochs=1", "trainer.ema=0.9")
    training.run()
    best = torch.load(training.run_dir / "checkpoints/best.pt", weights_only=True)["vae"]
    name = "posterior.heads.weight"
    assert torch.equal(best[name], training.average.model.state_dict()[name])
    assert not torch.equal(best[name], training.vae.state_dict()[name])
    images = training.dataset.val.images
    again = evaluate(training.average.model, training.objective, training.dataset, images, 500)
    assert again["elbo"] == rows(training)[-1]["val/elbo"]


def test_the_moving_average_follows_its_definition(train):
    training = train("trainer.ema=0.8", "trainer.max_steps=1")
    batches = training.loader.epoch(0, 0)
    name = "posterior.heads.bias"
    expected = None
    for _ in range(4):
        training.step(next(batches))
        value = training.vae.state_dict()[name].clone()
        expected = value if expected is None else 0.8 * expected + 0.2 * value
    assert torch.allclose(training.average.model.state_dict()[name], expected, atol=1e-6)


def test_the_clock_is_read_when_the_device_has_finished(train, monkeypatch):
    training = train("trainer.max_steps=4", "trainer.log_every=2")
    step_ends = []  # of steps that take 50 ms after they were given to the device

    def step(batch, want_grad_norm=False):
        given(batch, want_grad_norm)
        step_ends.append(max([time.perf_counter(), *step_ends[-1:]]) + 0.05)

    def finish(device):
        time.sleep(max(0, step_ends[-1] - time.perf_counter()))

    given, training.step = training.step, step
    monkeypatch.setattr(train_module, "synchronize", finish)
    training.run()
    assert training.progress.seconds >= 4 * 0.05
    for row in rows(training):
        if "images_per_second" in row:
            assert row["images_per_second"] <= 32 / 0.05


@pytest.mark.parametrize(
    ("place", "part", "advice"),
    [
        ("step", "a training step of 32 images", "trainer.batch_size"),
        ("evaluate", "an evaluation of 500 images at a time", "trainer.eval_batch_size"),
    ],
)
def test_what_did_not_fit_in_memory_is_named(train, monkeypatch, place, part, advice):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    training = train("trainer.epochs=1")
    monkeypatch.setattr(*((training, "step") if place == "step" else (train_module, "evaluate")), full)
    with pytest.raises(UserError, match=f"out of memory: {part} did not fit; choose a smaller {advice}"):
        training.run()


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_tf32_is_for_cuda(train, precision):
    if precision != "tf32":
        assert train(f"trainer.precision={precision}", "trainer.device=cpu")
        return
    with pytest.raises(UserError, match=r"trainer.precision=tf32 is for CUDA GPUs, got the device cpu; use float32"):
        train("trainer.precision=tf32", "trainer.device=cpu")


def test_images_in_host_memory_give_the_same_losses(train):
    found = []
    for images_on in ("device", "host"):
        training = train(f"trainer.images_on={images_on}", "trainer.epochs=1", "trainer.log_every=1")
        training.run()
        found.append([{k: v for k, v in row.items() if k != "images_per_second"} for row in rows(training)])
    assert found[0] == found[1]


def test_the_gradient_is_clipped_and_its_norm_before_that_is_reported(train):
    training = train("trainer.grad_clip=0.5", "optimizer=sgd", "optimizer.momentum=0", "optimizer.lr=1")
    before = [parameter.clone() for parameter in training.vae.parameters()]
    norm = training.step(next(training.loader.epoch(0, 0)))
    moved = torch.stack([(a - b).norm() for a, b in zip(before, training.vae.parameters(), strict=True)]).norm()
    assert norm > 0.5
    assert moved.item() == pytest.approx(0.5, rel=1e-4)


def test_bfloat16_trains_close_to_float32(train):
    losses = {}
    for precision in ("float32", "bfloat16"):
        training = train(f"trainer.precision={precision}", "trainer.epochs=3")
        training.run()
        losses[precision] = training.progress.best["loss"]
        assert all(parameter.dtype == torch.float32 for parameter in training.vae.parameters())
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.2)


@pytest.mark.slow
def test_a_compiled_run_reports_what_the_eager_one_does(train):
    losses = {}
    for compiled in ("false", "true"):
        training = train(f"trainer.compile={compiled}", "trainer.max_steps=120", "trainer.log_every=10")
        started = time.perf_counter()
        training.run()
        losses[compiled] = [row["train/loss"] for row in rows(training) if "train/loss" in row]
    assert len(losses["true"]) >= 12
    assert losses["true"] == pytest.approx(losses["false"], rel=1e-5)
    assert training.progress.seconds < 0.5 * (time.perf_counter() - started)  # compiling is not training


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(train):
    results = []
    for seed in (0, 0, 1):
        training = train(f"seed={seed}", "trainer.max_steps=20")
        training.run()
        results.append(training.progress.train["loss"])
    assert results[0] == results[1] != results[2]


def test_the_best_epoch_is_the_one_with_the_lowest_validation_loss(train):
    training = train("trainer.epochs=12", "optimizer.lr=0.05")
    training.run()
    losses = [row["val/loss"] for row in rows(training) if "val/loss" in row]
    assert training.progress.best_epoch == losses.index(min(losses)) + 1


def test_without_validation_images_the_last_epoch_is_kept(train):
    training = train("dataset.val_size=0", "trainer.epochs=2")
    training.run()
    assert training.progress.best_epoch == 2
    assert not [row for row in rows(training) if "val/loss" in row]


def test_a_meter_adds_in_double_precision():
    meter = Meter()
    for _ in range(3):
        meter.add({"loss": torch.tensor(1e8), "kl": torch.tensor(0.1)}, 3, 0)
    sums, images = meter.read()
    assert images == 9
    assert sums["loss"] == 9e8
    assert sums["kl"] == pytest.approx(0.9, rel=1e-7)
    assert meter.read() == ({}, 0)


def test_a_meter_keeps_no_graph_and_a_save_in_between_changes_no_bit():
    values = [{"loss": torch.tensor(number / 7, requires_grad=True) * 3} for number in range(2500)]
    whole, saved = Meter(), Meter()
    for number, value in enumerate(values):
        whole.add(value, 32, number)
        saved.add(value, 32, number)
        if number % 700 == 3:
            restored = Meter()
            restored.restore(saved.state())
            saved = restored
    assert not any(kept["loss"].requires_grad for kept, *_ in whole._unread)
    assert len(whole._unread) < 1000
    assert whole.read() == saved.read()
