"""Run directories that were never trained, in the files and the format of real ones, for tests of what reads many."""

import json
import math
import random

import numpy as np
import yaml
from PIL import Image

from vaelab.run.summary import write_summary

BATCHES = 17  # rows of training an epoch
SIDE = 8  # images along each side of a grid


def made_up_run(directory, *, latent=8, lr=1e-3, seed=0, epochs=3, dataset="mnist", status="finished", error=None):
    """Write a run of `model=mlp` whose ELBO rises with the latent size; one that did not finish has no metrics."""
    directory.mkdir(parents=True)
    config = made_up_config(latent, lr, seed, dataset)
    (directory / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    rows = made_up_rows(latent, lr, seed, epochs)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    overrides = [f"latent=d{latent}", f"optimizer.lr={lr}", f"seed={seed}"]
    summary = {"status": status, "overrides": overrides, "name": ",".join(overrides), "choices": config["choices"]}
    if error is not None:
        summary["error"] = error
    if status == "finished":
        val = {name: value for name, value in rows[-1].items() if name.startswith("val/")}
        test = {name.replace("val/", "test/"): value - 0.1 for name, value in val.items()}
        train = {name: value for name, value in rows[-2].items() if name.startswith("train/")}
        setting = {"dataset": dataset, "binarize": "dynamic", "likelihood": "BernoulliLikelihood"}
        setting |= {"log_prob_is": "mass", "samples_of_z": 1, "val_size": 5000, "latent_dim": latent}
        summary |= {"metrics": {**train, **val, **test}, "setting": setting, "best_epoch": epochs, "epochs": epochs}
    write_summary(directory, summary)
    return directory


def made_up_config(latent, lr, seed, dataset):
    return {
        "model": {"_target_": "vaelab.model.mlp.networks", "hidden": [400], "activation": "relu"},
        "dataset": {
            "_target_": f"vaelab.dataset.{dataset}.load",
            "root": "data",
            "val_size": 5000,
            "binarize": "dynamic",
        },
        "latent": {"dim": latent},
        "likelihood": {"_target_": "vaelab.likelihood.bernoulli.BernoulliLikelihood"},
        "objective": {"_target_": "vaelab.objective.elbo.ELBO", "beta": 1.0, "warmup_steps": 0, "samples": 1},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": lr, "betas": [0.9, 0.999]},
        "logger": {"_target_": "vaelab.run.logger.Logger", "project": f"of-{seed}"},
        "seed": seed,
        "resume": None,
        "choices": {"model": "mlp", "dataset": dataset, "latent": f"d{latent}", "optimizer": "adam", "logger": "local"},
    }


def made_up_rows(latent, lr, seed, epochs):
    noise = random.Random(f"{latent} {lr} {seed}")
    rows = []
    for row in range(1, epochs * BATCHES + 1):
        epoch = row / BATCHES
        scores = made_up_scores(latent, lr, epoch, noise)
        rows.append({"step": row * 100, "epoch": epoch, **{f"train/{name}": value for name, value in scores.items()}})
        if row % BATCHES == 0:
            scores = made_up_scores(latent, lr, epoch, noise)
            val = {f"val/{name}": value for name, value in scores.items()}
            rows.append({"step": row * 100, "epoch": epoch, **val, "val/bits_per_dim": val["val/loss"] / 784 / 0.693})
    return rows


def made_up_scores(latent, lr, epoch, noise):
    kl = 25 * (1 - math.exp(-latent / 8)) * (1 - math.exp(-epoch * lr * 500)) + noise.gauss(0, 0.2)
    reconstruction = -210 + 125 * (1 - math.exp(-epoch * lr * 400)) + 0.9 * kl + noise.gauss(0, 0.4)
    return {"loss": kl - reconstruction, "elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}


def made_up_pictures(directory, seed=0):
    """Write `samples.png` and `reconstructions.png`: grids of blurred strokes, of the size of a real grid of MNIST."""
    strokes = np.random.default_rng(seed).random((SIDE * 7, SIDE * 7)) ** 2
    for name, height in (("samples", 498), ("reconstructions", 382)):
        pixels = Image.fromarray((strokes * 255).astype(np.uint8)).resize((466, height), Image.Resampling.BICUBIC)
        pixels.convert("RGB").save(directory / f"{name}.png")


def begun_sweep(folder, *task):
    """A sweep's directory as Hydra begins it."""
    folder.mkdir()
    sweeper = {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None}
    asked = {"hydra": {"sweeper": sweeper, "overrides": {"task": list(task)}}}
    (folder / "multirun.yaml").write_text(yaml.safe_dump(asked))
    return folder
