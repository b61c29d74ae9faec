"""Several ranks train the run that one process would have trained; whatever ends a rank ends the run whole."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import ROOT, clean_environment
from helpers.fakes import small_dataset, small_split, small_vae
from vaelab.errors import UserError
from vaelab.evaluation.evaluator import evaluate
from vaelab.machine.device import pick_device
from vaelab.machine.ranks import SINGLE, RankLostError, Ranks
from vaelab.objective.elbo import ELBO
from vaelab.run.build import Builder
from vaelab.run.logger import NoLogger
from vaelab.training import checkpoint
from vaelab.training.loop import Trainer
from vaelab.training.signals import Interrupted, StopRequest

# 1,300 training images: three batches of 433, which two ranks cannot halve, and one of a single image
STEPS = 200
SETTING = (
    *("dataset=digits", "logger=local", "trainer.batch_size=433", "trainer.epochs=1000", f"trainer.max_steps={STEPS}"),
    *("trainer.log_every=1", "trainer.pictures_every=50", "trainer.evaluate_every=10", "trainer.checkpoint_every=1000"),
    # with relu a difference of 1e-7 at the start grows, with some seeds, to 8e-4 of the KL; with tanh to 4e-7
    *("trainer.grad_clip=5", "trainer.ema=0.9", "model.activation=tanh"),
)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [1, 2, 7, 64])
def test_the_shares_are_the_batch_and_as_equal_as_can_be(size, images):
    shares = [list(range(images))[Ranks(rank, size).rows_of(images)] for rank in range(size)]
    assert [image for share in shares for image in share] == list(range(images))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_single_rank_needs_no_others():
    weights = torch.ones(3)
    SINGLE.broadcast_tensors([weights])
    assert (SINGLE.all_reduce_max(15), SINGLE.all_gather("a"), SINGLE.broadcast(lambda: "b")) == (15, ["a"], "b")
    assert SINGLE.rows_of(7) == slice(0, 7)
    assert SINGLE.may_say("why", RankLostError("gone"))


class LoneRanks(Ranks):
    """One of several ranks, of which no other answers: its sums are its own share's."""

    def all_gather(self, value):
        return [value]


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_the_evaluations_of_the_ranks_add_up_to_that_of_one(size, binarize):
    split, dataset, vae = small_split(50), small_dataset(binarize=binarize), small_vae()

    def metrics(ranks):
        return evaluate(vae, ELBO(1.0, 0, 1), dataset, split, 15, ranks=ranks)

    whole = metrics(SINGLE)
    parts = [LoneRanks(rank, size) for rank in range(min(size, 4))]  # four batches: a fifth rank has none
    shared = [metrics(ranks)["loss"] for ranks in parts]
    assert sum(shared) == pytest.approx(whole["loss"], rel=1e-6)
    assert len(set(shared)) == len(shared)


@pytest.mark.parametrize(("gpus", "name", "device"), [(2, "auto", "cuda:1"), (2, "cuda", "cuda:1"), (0, "auto", "cpu")])
def test_each_rank_has_a_gpu_of_its_own(monkeypatch, gpus, name, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    assert pick_device(name, Ranks(3, 4, local_rank=1)) == torch.device(device)
    assert pick_device("cpu", Ranks(3, 4, local_rank=1)) == torch.device("cpu")


@pytest.mark.parametrize(
    ("gpus", "name", "part"), [(1, "auto", "this machine has 1"), (0, "cuda", "has 0"), (2, "cuda:1", "got cuda:1")]
)
def test_a_rank_without_a_gpu_of_its_own_is_refused(monkeypatch, gpus, name, part):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=part):
        pick_device(name, Ranks(1, 2, local_rank=1))


@pytest.fixture
def trainer_of_a_rank(monkeypatch, tmp_path, compose):
    """Builds the trainer of the first of two ranks, and a list of its messages' sizes; `answer` changes each."""

    def build(*overrides, answer=lambda message: None):
        messages = []

        def all_reduce(message, *_):
            messages.append(message.numel())
            answer(message)

        monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
        monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: None)
        monkeypatch.setattr(torch.distributed, "broadcast_object_list", lambda found, src, device: None)
        small = ("dataset=digits", "model.hidden=[16]", "trainer.pictures_every=0", "trainer.epochs=1", *overrides)
        ranks = LoneRanks(0, 2)
        setup = Builder(compose(*small), None).setup()
        return Trainer(setup, NoLogger(), tmp_path, StopRequest(), ranks), messages

    return build


def test_a_step_of_ranks_is_one_message(trainer_of_a_rank):
    trainer, messages = trainer_of_a_rank("trainer.log_every=1", "trainer.max_steps=12")
    trainer.fit()
    steps, of_the_epoch = messages[:12], messages[12:]
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    assert steps == [parameters + 4 + 1] * 12  # the loss and its three terms, and a vote
    assert of_the_epoch == [1]  # whether a signal has come while it was evaluated


def test_the_request_to_stop_of_any_rank_ends_all_after_the_same_step(trainer_of_a_rank):
    steps = 0

    def other(message):
        nonlocal steps
        steps += 1
        if steps == 7:
            message[-1] += 1  # its vote, with its gradients
        if message.numel() == 1:
            message.fill_(signal.SIGTERM)

    trainer, messages = trainer_of_a_rank(answer=other)
    with pytest.raises(Interrupted, match="SIGTERM"):
        trainer.fit()
    assert trainer.progress.step == 7
    assert len(messages) == 8
    own, messages = trainer_of_a_rank()
    own.stop.signum = signal.SIGINT
    with pytest.raises(Interrupted, match="SIGINT"):
        own.fit()
    assert own.progress.step == 1


def test_votes_do_not_change_what_is_summed(monkeypatch):
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda message: message.mul_(2))
    tensors = [torch.ones(2, 3), torch.tensor(4.0)]
    for vote in (False, True):
        sums, votes = Ranks(0, 2).all_reduce(tensors, 0.25, vote)
        assert torch.equal(sums[0], torch.full((2, 3), 0.5))
        assert (sums[1].item(), votes.item()) == (2.0, 2.0 * vote)


def test_ranks_that_end_for_one_reason_say_so_once():
    first, second, third = (Ranks(rank, 3, store=torch.distributed.HashStore()) for rank in range(3))
    second, third = replace(second, store=first.store), replace(third, store=first.store)
    assert first.may_say("beta must be positive", UserError("beta"))
    assert not second.may_say("beta must be positive", UserError("beta"))
    assert third.may_say("no memory", MemoryError())


def test_a_lost_rank_is_named_only_where_it_could_not_speak_itself():
    first = Ranks(0, 3, store=torch.distributed.HashStore())
    second = replace(first, rank=1)
    assert first.may_say("another rank has died", RankLostError("died"))
    assert not second.may_say("another rank has died", RankLostError("died"))
    spoke = replace(first, store=torch.distributed.HashStore())
    assert spoke.may_say("no memory", MemoryError())
    assert not replace(spoke, rank=2).may_say("another rank has died", RankLostError("died"))


def start(*arguments, options=("--standalone", "--nproc-per-node=2"), cwd=None, **environment) -> subprocess.Popen:
    """Start two ranks, or those that the options of torchrun say."""
    return subprocess.Popen(
        [str(argument) for argument in (*TORCHRUN, *options, ROOT / "run.py", *arguments)],
        cwd=cwd,
        env={**clean_environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(process: subprocess.Popen, code: int) -> tuple[list[str], str]:
    """Wait for the end; the sentences on standard error, and standard output."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, out + err
    return [line for line in err.splitlines() if line.startswith("vaelab: ")], out


def run_on_two_nodes(folder: Path, *arguments) -> str:
    """Run a rank on each of two machines that share no disk; what the first prints. The second may write nothing."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = []
    for node in range(2):
        cwd = folder / f"node{node}"
        cwd.mkdir(exist_ok=True)
        address = (f"--node-rank={node}", "--master-addr=127.0.0.1", f"--master-port={port}")
        nodes.append(start(*arguments, options=("--nnodes=2", "--nproc-per-node=1", *address), cwd=cwd))
    (sentences, out), (other_sentences, other_out) = [end_of(node, code=0) for node in nodes]
    assert sentences == other_sentences == []
    assert other_out == ""
    assert not [path for path in (folder / "node1").rglob("*") if path.is_file() and path.stat().st_size]
    return out


def rows(run_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def wait_for_steps(run_dir: Path, steps: int) -> None:
    path, end = run_dir / "metrics.jsonl", time.monotonic() + 60
    while not path.exists() or len(path.read_bytes().splitlines()) < steps:
        assert time.monotonic() < end, f"{path} did not reach {steps} rows"
        time.sleep(0.005)


def pid_of(rank: int, torchrun: subprocess.Popen) -> int:
    """The process of a rank, a child of torchrun's."""
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
    return next(int(pid) for pid in children if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text())


def assert_same_losses(run_dir: Path, expected: Path) -> None:
    """All metrics of all rows to 1e-4 relative; the first 100 steps are what is promised."""
    found, wanted = rows(run_dir), rows(expected)
    assert [row["step"] for row in found] == [row["step"] for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        row["images_per_second"] = other.get("images_per_second")
        for name, value in other.items():
            assert row[name] == pytest.approx(value, rel=1e-4), (row["step"], name)


def files(run_dir: Path) -> set[str]:
    return {
        str(path.relative_to(run_dir))
        for path in run_dir.rglob("*")
        if path.is_file() and "wandb" not in path.relative_to(run_dir).parts
    }


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The run of one process, uninterrupted."""
    run_dir = tmp_path_factory.mktemp("single") / "run"
    command = [sys.executable, ROOT / "run.py", *SETTING, f"hydra.run.dir={run_dir}"]
    subprocess.run(command, check=True, env=clean_environment(), capture_output=True)
    return run_dir


@pytest.mark.slow
def test_two_ranks_leave_the_run_of_one_process(single, tmp_path):
    out = run_on_two_nodes(tmp_path, *SETTING, "logger=wandb", "logger.mode=offline")
    (run_dir,) = (tmp_path / "node0/outputs/digits-mlp").iterdir()
    assert_same_losses(run_dir, single)
    assert files(run_dir) == files(single)
    assert len(list((run_dir / "wandb").glob("*run-*/*.wandb"))) == 1
    assert out.count("train, last epoch") == out.count("epoch 10/") == 1
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["status"], summary["ranks"]) == ("finished", 2)
    assert (run_dir / "run.log").read_text().count("epoch 10/") == 1


@pytest.mark.slow
def test_a_signal_leaves_a_checkpoint_from_which_one_process_goes_on(run_py, single, tmp_path):
    run_dir = tmp_path / "run"
    process = start(*SETTING, f"hydra.run.dir={run_dir}")
    wait_for_steps(run_dir, 20)
    process.send_signal(signal.SIGTERM)
    sentences, out = end_of(process, code=1)
    assert sentences == []
    assert out.count(f"stopped by SIGTERM; go on with: python {ROOT / 'run.py'} resume={run_dir}") == 1
    assert json.loads((run_dir / "summary.json").read_text())["status"] == "killed"
    assert rows(run_dir)[-1]["step"] < STEPS
    resumed = run_py(f"resume={run_dir}")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_losses(run_dir, single)


@pytest.mark.slow
def test_two_ranks_go_on_from_the_checkpoint_of_one_process(run_py, single, tmp_path):
    run_dir = tmp_path / "node0/run"
    stopped = run_py(*SETTING, "trainer.max_steps=62", f"hydra.run.dir={run_dir}")
    assert stopped.returncode == 0, stopped.stderr
    run_on_two_nodes(tmp_path, "resume=run", f"trainer.max_steps={STEPS}")
    ended_at_62 = [row for row in rows(run_dir) if row["step"] == 62 and "train/loss" not in row]
    kept = [row for row in rows(run_dir) if row not in ended_at_62]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    assert_same_losses(run_dir, single)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the rank's process in /proc")
def test_a_rank_that_is_killed_ends_the_run_with_one_sentence_and_a_whole_checkpoint(run_py, single, tmp_path):
    run_dir = tmp_path / "run"
    arguments = [*SETTING, "trainer.checkpoint_every=1", f"hydra.run.dir={run_dir}"]
    for rank, steps in ((1, 20), (0, 100)):  # the first leaves what is on the disk, some epochs of four steps ago
        process = start(*arguments)
        wait_for_steps(run_dir, steps)
        os.kill(pid_of(rank, process), signal.SIGKILL)
        (sentence,) = end_of(process, code=1)[0]
        assert "another rank of this run has died" in sentence
        assert str(run_dir) in sentence
        state = checkpoint.load(run_dir / "checkpoints/last.pt")
        assert steps * 3 // 4 <= state["progress"]["step"] < STEPS
        arguments = [f"resume={run_dir}"]
    resumed = run_py(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_losses(run_dir, single)


BROKEN = """
import os
from vaelab.model.mlp import networks as mlp

def networks(image_shape, latent_dim, out_channels, hidden, activation):
    if os.environ["RANK"] == "1":
        raise ValueError("hidden must be something else here")
    return mlp(image_shape, latent_dim, out_channels, hidden, activation)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("objective.beta=-1",), "objective.beta must be a finite number"),
        (("model._target_=broken.networks",), "model: hidden must be something else here"),
        (("-m", "seed=0,1"), "the ranks of torchrun train one run, got a sweep"),
        (("resume=nowhere",), "resume must name the directory of a run"),
    ],
    ids=["on all ranks", "on the second", "a sweep", "on the first"],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(request, tmp_path, monkeypatch, arguments, part):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text(BROKEN)
    sentences, _ = end_of(start(*SETTING, *arguments, PYTHONPATH=f"{tmp_path}:{ROOT / 'src'}"), code=1)
    (sentence,) = sentences
    assert part in sentence
    assert not list(tmp_path.glob("outputs/sweeps/*"))
    if "on the second" not in request.node.name:  # the first rank may have begun before it learns of the second's end
        assert not (tmp_path / "outputs").exists()
