"""The training loop: what it reports is what happened, and what goes wrong stops it in time."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.fakes import labelled_vae, small_dataset, small_split
from helpers.small_training import Recorder, assert_resumes_bit_for_bit
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.objective.elbo import ELBO
from vaelab.run.build import Builder
from vaelab.scheduler.constant import Constant
from vaelab.training import clock, loop
from vaelab.training.loop import Trainer
from vaelab.training.program import Program
from vaelab.training.setup import Setup
from vaelab.training.signals import StopRequest

SMALL = ("dataset=digits", "logger=local", "trainer.pictures_every=0", "latent.dim=4", "model.hidden=[32]")


class KeptRows(Recorder):
    """Keeps the rows and the names of the pictures."""

    def __init__(self):
        self.rows, self.pictures, self.curves = [], [], 0

    def log(self, row):
        self.rows.append(dict(row))

    def log_pictures(self, names):
        self.pictures.append(list(names))

    def draw_curves(self, title, picture_format):
        self.curves += 1


@pytest.fixture
def train(compose, tmp_path):
    """Builds a trainer, with a run directory of its own, from overrides."""

    def build(*overrides):
        run_dir = tmp_path / str(len(list(tmp_path.iterdir())))
        run_dir.mkdir()
        return Trainer(Builder(compose(*SMALL, *overrides), None).setup(), KeptRows(), run_dir, StopRequest())

    return build


def rows(trainer):
    return trainer.recorder.rows


def test_training_raises_the_elbo(train):
    trainer = train("trainer.epochs=5")
    trainer.fit()
    validation = [row["val/elbo"] for row in rows(trainer) if "val/elbo" in row]
    assert len(validation) == 5
    assert validation == sorted(validation)


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_images(train):
    trainer = train("trainer.epochs=1", "trainer.batch_size=77", "trainer.log_every=5")
    seen = []
    train_step = trainer.train_step

    def watched(x, *given):
        values = train_step(x, *given)
        seen.extend([values["loss"].item()] * len(x))
        return values

    trainer.train_step = watched
    trainer.fit()
    assert len(seen) == 1300
    assert trainer.progress.train["loss"] == pytest.approx(sum(seen) / len(seen), rel=1e-6)
    steps = [row["step"] for row in rows(trainer) if "train/loss" in row]
    assert steps == [5, 10, 15, 17]


def test_the_elbo_is_reported_without_weight_and_warm_up(train):
    trainer = train("objective.beta=3", "objective.warmup_steps=100", "trainer.max_steps=4", "trainer.log_every=1")
    trainer.fit()
    for row in rows(trainer):
        for split in {name.split("/")[0] for name in row if name.endswith("/elbo")}:
            assert row[f"{split}/elbo"] == pytest.approx(row[f"{split}/reconstruction"] - row[f"{split}/kl"], rel=1e-5)
    (validation,) = [row for row in rows(trainer) if "val/elbo" in row]
    assert validation["val/loss"] == pytest.approx(
        3 * validation["val/kl"] - validation["val/reconstruction"], rel=1e-5
    )


def test_a_gradient_that_is_not_finite_is_never_saved(train):
    trainer = train("dataset.val_size=0", "trainer.max_steps=60")
    weight = trainer.model.posterior.heads.weight
    weight.register_hook(lambda grad: grad * (torch.nan if trainer.progress.step == 59 else 1))
    with pytest.raises(UserError, match="a weight is not finite at step 60"):
        trainer.fit()
    kept = torch.load(trainer.run_dir / "checkpoints/last.pt", weights_only=True)
    assert kept["progress"]["step"] < 60
    assert all(value.isfinite().all() for value in kept["model"].values())


def test_layers_that_differ_in_evaluation_are_evaluated_as_such(train):
    trainer = train("trainer.epochs=1")
    norm = torch.nn.BatchNorm1d(64)
    trainer.model.encoder.layers.insert(1, norm)
    batches = []
    norm.register_forward_hook(lambda module, inputs, _: batches.append((module.training, len(inputs[0]))))
    trainer.fit()
    assert {size for mode, size in batches if mode} == {32, 20}
    assert {size for mode, size in batches if not mode} == {200}


def test_the_learning_rate_of_a_row_is_that_of_its_step(train):
    trainer = train("scheduler=cosine", "scheduler.warmup_steps=0", "trainer.epochs=2", "trainer.log_every=41")
    trainer.fit()
    rates = {row["step"]: row["train/lr"] for row in rows(trainer) if "train/lr" in row}
    assert rates[41] == pytest.approx(0.001 * trainer.schedule(40, 82))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_loss_that_is_not_finite_stops_before_the_step(train, part):
    trainer = train("trainer.epochs=2")
    trainer.fit()
    trainer.total_steps = 1000
    with torch.no_grad():
        next(getattr(trainer.model, part).parameters()).fill_(torch.nan)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    kept = (trainer.run_dir / "checkpoints/last.pt").read_bytes()
    with pytest.raises(UserError, match=r"not finite at step 83 \(loss = nan, elbo = nan, reconstruction = nan, kl"):
        trainer.fit()
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value.isnan(), before[name].isnan())
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num())
    assert (trainer.run_dir / "checkpoints/last.pt").read_bytes() == kept


def test_the_moving_average_is_what_is_evaluated_and_kept(train):
    trainer = train("trainer.epochs=1", "trainer.ema=0.9")
    trainer.fit()
    best = torch.load(trainer.run_dir / "checkpoints/best.pt", weights_only=True)["model"]
    name = "posterior.heads.weight"
    assert torch.equal(best[name], trainer.average.model.state_dict()[name])
    assert not torch.equal(best[name], trainer.model.state_dict()[name])
    assert trainer.evaluated is trainer.average.model
    again = evaluate(trainer.evaluated, trainer.objective, trainer.dataset, trainer.dataset.val, 500)
    assert again["elbo"] == rows(trainer)[-1]["val/elbo"]


def test_the_moving_average_follows_its_definition(train):
    trainer = train("trainer.ema=0.8", "trainer.max_steps=1")
    batches = trainer.batches.epoch(0, 0)
    name = "posterior.heads.bias"
    expected = None
    for _ in range(4):
        trainer.step(*next(batches))
        value = trainer.model.state_dict()[name].clone()
        expected = value if expected is None else 0.8 * expected + 0.2 * value
    assert torch.allclose(trainer.average.model.state_dict()[name], expected, atol=1e-6)


def test_the_clock_is_read_when_the_device_has_finished(train, monkeypatch):
    trainer = train("trainer.max_steps=4", "trainer.log_every=2")
    step_ends = []  # of steps that take 50 ms after they were given to the device

    def step(*given, **options):
        made(*given, **options)
        step_ends.append(max([time.perf_counter(), *step_ends[-1:]]) + 0.05)

    def finish(device):
        time.sleep(max(0, step_ends[-1] - time.perf_counter()))

    made, trainer.step = trainer.step, step
    monkeypatch.setattr(clock, "synchronize", finish)
    trainer.fit()
    assert trainer.progress.seconds >= 4 * 0.05
    for row in rows(trainer):
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

    trainer = train("trainer.epochs=1")
    monkeypatch.setattr(*((trainer, "step") if place == "step" else (loop, "evaluate")), full)
    with pytest.raises(UserError, match=f"out of memory: {part} did not fit; choose a smaller {advice}"):
        trainer.fit()


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
        trainer = train(f"trainer.images_on={images_on}", "trainer.epochs=1", "trainer.log_every=1")
        trainer.fit()
        found.append([{k: v for k, v in row.items() if k != "images_per_second"} for row in rows(trainer)])
    assert found[0] == found[1]


@pytest.fixture
def own_images(tmp_path):
    """Overrides that train on images of one's own, mirrored in half of the cases."""
    levels = np.random.default_rng(0).integers(256, size=(300, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "images.npy", levels)
    path = f"dataset.path={tmp_path}/images.npy"
    return ("dataset=array", path, f"dataset.root={tmp_path}/prepared", "dataset.flip=true", "trainer.epochs=1")


def test_images_that_stay_on_disk_give_the_same_losses(train, own_images):
    found = []
    for images_on in ("host", "disk"):
        trainer = train(*own_images, f"trainer.images_on={images_on}", "trainer.log_every=1")
        assert (trainer.batches.release is not None) == (images_on == "disk")
        trainer.fit()
        found.append([{k: v for k, v in row.items() if k != "images_per_second"} for row in rows(trainer)])
    assert found[0] == found[1]


def test_images_that_are_mirrored_are_the_same_ones_after_a_resumption(compose, own_images, tmp_path):
    def build():
        return Builder(compose(*SMALL, *own_images), None).setup()

    assert_resumes_bit_for_bit(build, 3, tmp_path)


def test_the_gradient_is_clipped_and_its_norm_before_that_is_reported(train):
    trainer = train("trainer.grad_clip=0.5", "optimizer=sgd", "optimizer.momentum=0", "optimizer.lr=1")
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    norm = trainer.step(*next(trainer.batches.epoch(0, 0)), grad_norm=True)
    moved = torch.stack([(a - b).norm() for a, b in zip(before, trainer.model.parameters(), strict=True)]).norm()
    assert norm > 0.5
    assert moved.item() == pytest.approx(0.5, rel=1e-4)


def test_bfloat16_trains_close_to_float32(train):
    losses = {}
    for precision in ("float32", "bfloat16"):
        trainer = train(f"trainer.precision={precision}", "trainer.epochs=3")
        trainer.fit()
        losses[precision] = trainer.progress.best["loss"]
        assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    assert losses["bfloat16"] != losses["float32"]
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.2)


@pytest.mark.slow
def test_a_compiled_run_reports_what_the_eager_one_does(train, monkeypatch):
    prepare, losses = Program.prepare, {}
    monkeypatch.setattr(
        Program, "prepare", lambda *given: (time.sleep(1.0), prepare(*given))
    )  # another run compiled it
    for compiled in ("false", "true"):
        trainer = train(f"trainer.compile={compiled}", "trainer.max_steps=120", "trainer.log_every=10")
        started = time.perf_counter()
        trainer.fit()
        losses[compiled] = [row["train/loss"] for row in rows(trainer) if "train/loss" in row]
    assert len(losses["true"]) >= 12
    assert losses["true"] == pytest.approx(losses["false"], rel=1e-5)
    assert trainer.progress.seconds < time.perf_counter() - started - 1.0  # compiling is not training


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(train):
    results = []
    for seed in (0, 0, 1):
        trainer = train(f"seed={seed}", "trainer.max_steps=20")
        trainer.fit()
        results.append(trainer.progress.train["loss"])
    assert results[0] == results[1] != results[2]


def test_the_best_epoch_is_the_one_with_the_lowest_validation_loss(train):
    trainer = train("trainer.epochs=9", "optimizer.lr=0.05", "trainer.batch_size=100")
    trainer.fit()
    losses = [row["val/loss"] for row in rows(trainer) if "val/loss" in row]
    assert trainer.progress.best_epoch == losses.index(min(losses)) + 1


def test_without_validation_images_the_last_epoch_is_kept(train):
    trainer = train("dataset.val_size=0", "trainer.epochs=2")
    trainer.fit()
    assert trainer.progress.best_epoch == 2
    assert not [row for row in rows(trainer) if "val/loss" in row]
    assert trainer.recorder.curves > 0


def test_a_conditional_model_is_trained_and_evaluated_with_the_labels_of_its_images(compose, tmp_path):
    dataset, model = small_dataset(val_size=30, kinds=10), labelled_vae()
    label_of = dict(zip(map(bytes, small_split(200).images.numpy()), small_split(200, 10).labels.tolist(), strict=True))
    seen = []

    def compare(module, given):
        levels = given[0].mul(255).round().byte().numpy()
        seen.extend((label_of[bytes(image)], label) for image, label in zip(levels, given[2].tolist(), strict=True))

    model.register_forward_pre_hook(compare)
    config = replace(Builder(compose(*SMALL, "trainer.epochs=2"), None).trainer(), pictures_every=1)
    optimizer = torch.optim.Adam(model.parameters())
    setup = Setup(model, dataset, ELBO(1.0, 0, 1), optimizer, Constant(), config, seed=0)
    trainer = Trainer(setup, KeptRows(), tmp_path, StopRequest())
    trainer.fit()
    assert len(seen) == 2 * 200 + 30  # at the end once more the validation images, for a picture of their KL
    assert all(expected == label for expected, label in seen)
    of_epoch, of_run = trainer.recorder.pictures
    assert of_epoch == ["samples.png", "reconstructions.png", "posterior_means.png"]
    assert {*of_epoch, "interpolations.png", "traversals.png", "kl_by_dimension.png"} < {*of_run}


@pytest.mark.slow
def test_the_pictures_of_the_latent_space_come_once_at_the_end(train):
    trainer = train("trainer.epochs=5", "trainer.pictures_every=2", "trainer.picture_format=svg")
    trainer.fit()
    assert [len(names) for names in trainer.recorder.pictures] == [2, 2, 8]  # of epochs 2, 4 and 5
    assert {path.stem for path in trainer.run_dir.glob("*.svg")} == {
        name.removesuffix(".png") for name in trainer.recorder.pictures[-1] if name != "samples.gif"
    }


def test_without_pictures_nothing_is_drawn_at_the_end_either(train):
    trainer = train("trainer.epochs=2", "trainer.pictures_every=0")
    trainer.fit()
    assert trainer.recorder.pictures == []
    assert {path.name for path in trainer.run_dir.iterdir()} == {"checkpoints", "model.safetensors"}


@pytest.mark.slow
def test_the_animation_of_a_resumed_run_shows_all_its_epochs(train, compose):
    trainer = train("trainer.epochs=2", "trainer.pictures_every=1")
    trainer.fit()
    more = Builder(compose(*SMALL, "trainer.epochs=4", "trainer.pictures_every=1"), None).setup()
    resumed = Trainer(more, KeptRows(), trainer.run_dir, StopRequest())
    resumed.restore()
    resumed.fit()
    assert [len(names) for names in resumed.recorder.pictures] == [2, 8]
    with Image.open(trainer.run_dir / "samples.gif") as animation:
        assert animation.n_frames == 4
