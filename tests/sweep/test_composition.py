"""Jobs of a sweep are composed as Hydra composes them, but sooner."""

import random

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
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


def test_a_group_of_another_search_path_is_composed_as_hydra_does(loader, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/a.yaml").write_text("# @package _global_\nseed: 77\n")
    master = loader.load_configuration("config", [f"hydra.searchpath=[file://{tmp_path}]"], RunMode.MULTIRUN)
    job = ["+mine=a", "optimizer.lr=0.5"]
    assert composed(SweepLoader(loader), master, job) == composed(loader, master, job)
    config = SweepLoader(loader).load_sweep_config(master, job)
    assert (config.seed, config.optimizer.lr) == (77, 0.5)


@pytest.mark.slow
def test_every_value_meets_every_choice_before_a_sweep_begins(loader, monkeypatch):
    master = loader.load_configuration("config", [], RunMode.MULTIRUN)
    from hydra_plugins.vaelab.grid_sweeper import GridSweeper  # once Hydra has loaded its own plugins

    sweeper = GridSweeper(max_batch_size=None)
    sweeper.hydra_context, sweeper.config = HydraContext(loader, callbacks=None), master
    composed, hydras_own = [], loader.load_sweep_config
    monkeypatch.setattr(
        loader,
        "load_sweep_config",
        lambda master_config, sweep_overrides: (
            composed.append(sweep_overrides) or hydras_own(master_config, sweep_overrides)
        ),
    )
    jobs = [[f"seed={seed}", f"latent.dim={dim}"] for seed in range(1, 5) for dim in range(1, 4)]
    sweeper.validate_batch_is_legal(jobs)
    assert len(composed) == 4 + 3 - 1
    invalid = [
        [f"experiment={experiment}", f"objective={objective}", "objective.samples=3"]
        for experiment in ("burda_iwae5", "beta_vae")
        for objective in ("elbo", "tc")  # beta_vae with tc has no samples
    ]
    with pytest.raises(HydraException, match=r"objective\.samples"):
        sweeper.validate_batch_is_legal(invalid)


@pytest.mark.parametrize("size", ["0", "-3", "1.5", "x"])
def test_a_size_of_batches_that_is_none_is_said(inline, size):
    code, _, err = inline("-m", "dataset=digits", "seed=0,1", f"hydra.sweeper.max_batch_size={size}")
    assert code == 1
    assert "hydra.sweeper.max_batch_size must be an integer of at least 1, got" in err
