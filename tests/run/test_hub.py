"""Runs by their names on the hub."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from vaelab.errors import UserError
from vaelab.run.hub import fetched

hub = pytest.importorskip("huggingface_hub", reason="needs the extra hf")


@pytest.fixture
def fake_hub(monkeypatch, tmp_path):
    """Stands in for the hub: keeps what was asked for, and gives a folder with a file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []

    class Api:
        def model_info(self, repository, revision):
            asked.append((repository, revision))
            return SimpleNamespace(sha=f"{revision or 'main'}-commit".replace("/", "-"))

    def download(repository, revision, local_dir, allow_patterns):
        assert revision.endswith("-commit")
        assert "checkpoints/best.pt" in allow_patterns
        Path(local_dir).mkdir(parents=True, exist_ok=True)
        return str(local_dir)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(hub, "snapshot_download", download)
    return asked


@pytest.mark.parametrize(
    ("name", "repository", "revision"),
    [
        ("hf://user/my-vae", "user/my-vae", None),
        ("hf://user/my.vae_2/", "user/my.vae_2", None),
        ("hf://user/vae@v1.0", "user/vae", "v1.0"),
    ],
)
def test_a_name_is_fetched_into_a_folder_of_its_own(fake_hub, tmp_path, name, repository, revision):
    place = fetched(Path(name))
    assert fake_hub == [(repository, revision)]
    assert place.is_dir()
    assert place.parent == tmp_path / "vaelab"


def test_two_names_do_not_share_a_folder(fake_hub):
    names = ["hf://user/vae", "hf://user/vae@v1", "hf://user/vae-v1", "hf://other/vae"]
    assert len({fetched(Path(name)) for name in names}) == len(names)


def test_a_path_stays_what_it_is(fake_hub, tmp_path):
    assert fetched(tmp_path) == tmp_path
    assert not fake_hub


@pytest.mark.parametrize("name", ["hf://user", "hf://user/a/b", "hf://../..", "hf://user/a b"])
def test_what_is_no_name_is_refused(fake_hub, name):
    with pytest.raises(UserError, match="must be named hf://USER/NAME"):
        fetched(Path(name))
    assert not fake_hub


def test_a_hub_out_of_reach_is_one_sentence(monkeypatch, tmp_path):
    def unreachable(*_, **__):
        raise ConnectionError("no network\nat all")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "HfApi", unreachable)
    with pytest.raises(UserError, match=r"hf:/user/vae could not be fetched from the hub \(no network at all\)"):
        fetched(Path("hf://user/vae"))


@pytest.mark.slow
def test_a_run_that_was_pushed_is_loaded(fake_hub, monkeypatch, tmp_path, inline):
    from vaelab.export.folder import export
    from vaelab.export.networks import PARTS
    from vaelab.run.load import load_run

    code, _, err = inline("dataset=digits", "logger=local", "trainer.max_steps=2", "hydra.run.dir=run")
    assert code == 0, err
    export(load_run(tmp_path / "run"), "safetensors", PARTS, tmp_path / "pushed")
    pushed = tmp_path / "pushed"
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, local_dir, **__: shutil.copytree(pushed, local_dir))
    assert load_run("hf://user/vae").sample(3).shape == (3, 1, 8, 8)
