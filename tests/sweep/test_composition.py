"""Jobs of a sweep are composed as Hydra composes them, but sooner."""

import random

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from conftest import ROOT
from vaelab.cli.launch import register
from vaelab.sweep.composition import SweepLoader

GIVEN = ["dataset=digits", "hydra/launcher=pool", "+note=given"]
OVERRIDES = (
    *("model=mlp", "model=conv", "dataset=mnist", "objective=iwae", "objective=tc", "experiment=vae", "latent=d2"),
    *("optimizer=adamw", "scheduler=cosine", "prior=vamp", "hydra.job.num=7", "+experiment=vae"),
    *("seed=1", "seed=2", "optimizer.lr=1e-2", "optimizer.lr=0.003", "latent.dim=3", "trainer.ema=0.99", "seed=null"),
    *("model.hidden=[5,6]", "note='a, b'", "+more={a:1,b:[2]}", "~trainer.profile", "++trainer.epochs=3"),
    *("trainer.epochs=${seed}", "logger.tags=[x,y]", "objective={samples:3}", "objective.samples=2"),
)


@pytest.fixture
def loader():
    """Hydra's own loader, of the config folder."""
    register()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


def composed(loader, master, overrides):
    """All that a loader composes, or what it says instead."""
    try:
        config = loader.load_sweep_config(master, list(overrides))
    except HydraException as error:
        return type(error), str(error)
    cache = dict(OmegaConf.get_cache(config))
    return OmegaConf.to_container(config), OmegaConf.is_struct(config), OmegaConf.is_readonly(config.hydra), cache


@pytest.mark.slow
def test_a_job_is_what_hydra_composes(loader):
    master = loader.load_configuration("config", [*GIVEN], RunMode.MULTIRUN)
    ours, rng = SweepLoader(loader), random.Random(0)
    failed = 0
    for _ in range(1000):
        overrides = [*GIVEN[:1], *GIVEN[2:], *rng.sample(OVERRIDES, rng.randrange(5))]
        expected = composed(loader, master, overrides)
        assert composed(ours, master, overrides) == expected, overrides
        failed += isinstance(expected[0], type)
    assert 0 < failed < 500


def test_what_jobs_choose_of_the_groups_is_composed_once(loader, monkeypatch):
    master = loader.load_configuration("config", [*GIVEN], RunMode.MULTIRUN)
    ours, by_hydra, hydras_own = SweepLoader(loader), [], loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda *job: by_hydra.append(job) or hydras_own(*job))
    jobs = [[f"model={model}", f"seed={seed}"] for seed in range(5) for model in ("mlp", "conv")]
    configs = [ours.load_sweep_config(master, job) for job in jobs]
    assert len(by_hydra) == 2
    assert [f"seed={config.seed}" for config in configs] == [seed for _, seed in jobs]
