"""Every name that a run's or a sweep's directory holds may be an untrusted link, FIFO or linked folder.

What such a name leads to stays as it was, nothing waits for the other end of a FIFO, and the answer is one sentence or
a right result.
"""

import json
import os
import shutil
import signal
from contextlib import contextmanager

import pytest

from vaelab.files import checks

SETTINGS = ("dataset=digits", "logger=local", "latent=d2", "model.hidden=[8]", "trainer.batch_size=400")
ONE_EPOCH = (*SETTINGS, "trainer.epochs=1", "trainer.pictures_every=1")
FILES = [
    ".lock",
    "checkpoints/best.pt",
    "checkpoints/best.pt.sha256",
    "checkpoints/last.pt",
    "checkpoints/last.pt.sha256",
    "config.yaml",
    "config.yaml.sha256",
    "curves.png",
    "images/samples-0001.png",
    "interpolations.png",
    "kl_by_dimension.png",
    "latent_plane.png",
    "metrics.jsonl",
    "model.safetensors",
    "posterior_means.png",
    "reconstructions.png",
    "run.log",
    "samples.png",
    "samples_by_temperature.png",
    "summary.json",
    "traversals.png",
]
FOLDERS = ["checkpoints", "images", "wandb"]
LATER = [  # what a run leaves that is longer, a job, a search, wants W&B, or was killed as it wrote
    *(
        f"{name}.tmp"
        for name in ("config.yaml", "summary.json", "samples.png", "checkpoints/last", "model.safetensors")
    ),
    "checkpoints/best.previous.pt",
    "checkpoints/last.previous.pt",
    "checkpoints/last.previous.pt.sha256",
    "checkpoints/.0123456789abcdef.tmp",
    ".0123456789abcdef.tmp",
    "images/samples-0002.png",
    "output.log",
    "profile.json",
    "profile.txt",
    "samples.gif",
    "samples.pdf",
    "wandb/run_id",
    "wandb/settings",
]


@contextmanager
def at_most(seconds):
    """Raise TimeoutError in what takes longer, such as a wait for the other end of a FIFO."""

    def late(signum, frame):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Outside:
    """Files of the person, to which untrusted links lead."""

    def __init__(self, path):
        self.path = path
        (path / "folder").mkdir(parents=True)
        (path / "folder/mine").write_text("mine\n")
        (path / ".bashrc").write_text("alias ls=ls\n")
        self.before = self.content()

    def content(self):
        return {path: path.is_file() and path.read_bytes() for path in self.path.rglob("*")}

    def put(self, kind, path):
        """Put a link, a FIFO or a linked folder in the place of a file or a folder."""
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        if kind == "FIFO":
            os.mkfifo(path)
        else:
            leads_to = {"link": ".bashrc", "linked folder": "folder", "dangling link": "new"}[kind]
            path.symlink_to(self.path / leads_to)


@pytest.fixture
def outside(tmp_path_factory):
    found = Outside(tmp_path_factory.mktemp("home"))
    yield found
    assert found.content() == found.before


KINDS = pytest.mark.parametrize("kind", ["link", "dangling link", "FIFO", "linked folder"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return tmp_path_factory.mktemp("trained") / "run"


@pytest.fixture
def run_dir(trained, inline, tmp_path):
    """A copy of a run of one epoch."""
    if not trained.exists():
        code, _, err = inline(*ONE_EPOCH, f"hydra.run.dir={trained}")
        assert code == 0, err
    return shutil.copytree(trained, tmp_path / "run")


def test_these_are_the_names_of_a_run(run_dir):
    assert sorted(str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()) == FILES


def one_sentence(code, err):
    return code != 0 and err.startswith("vaelab: ") and len(err.splitlines()) == 1


@KINDS
@pytest.mark.parametrize("name", [*FILES, *FOLDERS, *LATER])
def test_a_run_with_an_odd_file_is_not_resumed(name, kind, run_dir, outside, inline):
    outside.put(kind, run_dir / name)
    others = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and not path.is_symlink()}
    with at_most(20):
        code, _, err = inline("resume=run", "trainer.epochs=2")
    assert one_sentence(code, err), err
    assert name.split("/")[0] in err
    assert {path: path.read_bytes() for path in others} == others


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in (*FILES, *FOLDERS, *LATER) if not name.startswith("wandb")])
def test_each_file_is_safe_by_itself(name, run_dir, outside, inline, monkeypatch):
    monkeypatch.setattr(checks, "check_plain", lambda directory: None)
    outside.put("link", run_dir / name)
    with at_most(60):
        code, _, err = inline("resume=run", "trainer.epochs=2", "trainer.pictures_every=1")
    assert code == 0 or one_sentence(code, err), err
    if code == 0:
        assert json.loads((run_dir / "summary.json").read_text())["epochs"] == 2


@KINDS
@pytest.mark.parametrize("name", [".lock", "run.log", "checkpoints", "images", "samples.png", "config.yaml.sha256"])
def test_a_new_run_in_an_untrusted_directory_is_safe(name, kind, outside, inline, tmp_path):
    (tmp_path / "run").mkdir()
    outside.put(kind, tmp_path / "run" / name)
    with at_most(60):
        code, _, err = inline(*ONE_EPOCH, "hydra.run.dir=run")
    assert code == 0 or one_sentence(code, err), err


def test_links_of_wandb_do_not_keep_a_run_from_being_resumed(run_dir, inline):
    (run_dir / "wandb").mkdir()
    for name in ("latest-run", "debug.log", "debug-internal.log"):
        (run_dir / "wandb" / name).symlink_to("offline-run-1/logs")
    code, _, err = inline("resume=run", "trainer.epochs=2")
    assert code == 0, err


def test_a_resumed_run_leaves_no_temporary(run_dir, inline):
    left = [run_dir / inner / ".0123456789abcdef.tmp" for inner in ("", "checkpoints", "images")]
    for path in left:
        path.write_text("left")
    code, _, err = inline("resume=run", "trainer.epochs=2")
    assert code == 0, err
    assert not list(run_dir.rglob("*.tmp"))


SWEEP = ("-m", *SETTINGS, "trainer.max_steps=1", "trainer.pictures_every=0", "seed=0,1")
SWEEP_NAMES = ["multirun.yaml", "results.csv", "comparison.png", "study.db", "study.db-journal", "best.yaml", "1"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return tmp_path_factory.mktemp("swept") / "sweep"


@pytest.fixture
def sweep_dir(swept, inline, tmp_path):
    if not swept.exists():
        code, _, err = inline(*SWEEP, f"hydra.sweep.dir={swept}")
        assert code == 0, err
    return shutil.copytree(swept, tmp_path / "sweep")


@KINDS
@pytest.mark.parametrize("way", ["sweep", "hydra.sweep.dir"])
@pytest.mark.parametrize("name", [*SWEEP_NAMES, "1/run.log", "1/output.log", "0/checkpoints", "2"])
def test_a_sweep_with_an_odd_file_is_not_gone_on_with(name, way, kind, sweep_dir, outside, inline):
    if name == "multirun.yaml" and kind == "link":
        (outside.path / ".bashrc").write_text((sweep_dir / name).read_text())
        outside.before = outside.content()
    outside.put(kind, sweep_dir / name)
    with at_most(20):
        code, _, err = inline(*SWEEP, f"{way}=sweep")
    assert one_sentence(code, err), err
    assert name.split("/")[0] in err
