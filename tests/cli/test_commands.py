"""The `vaelab` command."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from helpers.fakes import summary_of
from vaelab.cli.commands import ACTIONS, main
from vaelab.evaluation.pictures.figures import save
from vaelab.evaluation.pictures.grids import labelled_grid
from vaelab.evaluation.report import Report
from vaelab.run.load import Run, load_run

QUICK = ("dataset=digits", "logger=local", "trainer.epochs=1", "trainer.pictures_every=0")


@pytest.fixture
def run_dir(inline, tmp_path):
    code, _, err = inline(*QUICK, "hydra.run.dir=outputs/run")
    assert code == 0, err
    return tmp_path / "outputs/run"


def test_the_module_is_the_command(command):
    process = command(sys.executable, "-m", "vaelab.cli.commands", "runs", "nowhere")
    assert process.returncode == 2
    assert process.stderr.startswith("vaelab: nowhere is no folder")
    assert command(sys.executable, "-m", "vaelab.cli.commands").stderr.startswith("usage: vaelab")


def test_generate_writes_a_row_or_a_grid(run_dir, tmp_path, capfd):
    main(["generate", str(run_dir), "--num-samples", "10", "--output", "row.png"])
    with Image.open(tmp_path / "row.png") as row:
        assert row.width > 9 * row.height
    main(["generate", str(run_dir), "--num-samples", "10", "--output", "grid.PNG", "--grid"])
    with Image.open(tmp_path / "grid.PNG") as grid:
        assert 0.5 < grid.width / grid.height < 2
    assert "10 samples in row.png" in capfd.readouterr().out


def test_generate_draws_what_the_run_samples_with_that_seed(run_dir, tmp_path):
    main(["generate", str(run_dir), "--num-samples", "5", "--seed", "3", "--output", "row.png"])
    save(labelled_grid(load_run(run_dir).sample(5, seed=3), 5), tmp_path / "same.png")
    assert (tmp_path / "row.png").read_bytes() == (tmp_path / "same.png").read_bytes()


def test_evaluate_prints_what_the_summary_holds(run_dir, capfd):
    main(["evaluate", str(run_dir)])
    out = capfd.readouterr().out
    summary = summary_of(run_dir)
    assert f"{summary['metrics']['test/elbo']:.4f}" in out
    (row,) = (line.split() for line in out.splitlines() if "test/elbo" in line)
    assert 0 < float(row[2]) < abs(float(row[1]))
    assert row[3:] == ["nats", "per", "image"]
    assert "equal to summary.json to the last digit" in out
    main(["evaluate", str(run_dir), "--split", "train", "--device", "cpu"])
    assert "summary.json holds no figures of train" in capfd.readouterr().out


def test_evaluate_says_how_far_it_is_from_the_summary(run_dir, capfd):
    summary = summary_of(run_dir)
    summary["metrics"]["test/kl"] += 0.25
    (run_dir / "summary.json").write_text(json.dumps(summary))
    main(["evaluate", str(run_dir)])
    versions = summary["versions"]
    said = f"recorded on {versions['device']} with torch {versions['torch']}, differs by up to 2.5e-01 (test/kl)"
    assert said in capfd.readouterr().out


def test_evaluate_names_recorded_figures_that_it_has_not_found(run_dir, capfd):
    summary = summary_of(run_dir)
    summary["metrics"]["test/penalty"] = 0.25
    (run_dir / "summary.json").write_text(json.dumps(summary))
    main(["evaluate", str(run_dir)])
    assert "summary.json holds test/penalty, which this evaluation has not found" in capfd.readouterr().out


def test_an_error_of_one_image_is_unknown(run_dir, tmp_path, capfd):
    main(["evaluate", str(run_dir), "--limit", "1", "--similarity", "--factors", "--fcd", "--output", "figures.json"])
    assert json.loads((tmp_path / "figures.json").read_text())["standard_errors"]["psnr"] is None
    out = capfd.readouterr().out
    assert "nan" not in out
    assert "left out: fcd, which needs two images at least" in out
    assert "left out: ssim, which needs images of 11 x 11 pixels at least" in out


@pytest.mark.slow
def test_compare_sorts_by_a_metric(run_dir, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(["compare", str(run_dir), "--sort", "test/mig"])
    assert exit_info.value.code == 2
    assert "--sort must be a metric of these runs (val/elbo," in capfd.readouterr().err
    main(["evaluate", str(run_dir), "--importance-samples", "2", "--output", str(run_dir / "evaluation.json")])
    main(["compare", str(run_dir), "--sort", "test/log_likelihood"])
    assert "test log p(x) is a lower bound of log p(x) with 2 samples of z" in (tmp_path / "compare.html").read_text()


@pytest.mark.parametrize(
    ("command", "work"),
    [
        ("generate", "vaelab.run.load.load_run"),
        ("evaluate", "vaelab.run.load.load_run"),
        ("runs", "vaelab.compare.listing.list_runs"),
        ("compare", "vaelab.compare.page.write_page"),
    ],
)
def test_an_interrupted_command_says_so_in_one_sentence(command, work, monkeypatch, capfd, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(work, interrupted)
    with pytest.raises(SystemExit) as exit_info:
        main([command, "RUN"])
    assert exit_info.value.code == 130
    assert capfd.readouterr().err == "vaelab: interrupted\n"


def test_without_a_command_all_are_listed(capfd):
    with pytest.raises(SystemExit) as exit_info:
        main([])
    assert exit_info.value.code == 2
    listed = {line.split()[0] for line in capfd.readouterr().err.splitlines() if line.startswith("    ")}
    assert set(ACTIONS) <= listed


def test_generate_overwrites_only_what_it_is_told_to(run_dir, capfd, monkeypatch):
    monkeypatch.chdir(run_dir)  # where samples.png is the run's own
    (run_dir / "samples.png").write_bytes(b"before")
    with pytest.raises(SystemExit) as exit_info:
        main(["generate", "."])
    assert exit_info.value.code == 2
    assert "samples.png is there already" in capfd.readouterr().err
    assert (run_dir / "samples.png").read_bytes() == b"before"
    main(["generate", ".", "--output", "samples.png"])
    first = (run_dir / "samples.png").read_bytes()
    (run_dir / "samples.png").unlink()
    main(["generate", "."])
    assert (run_dir / "samples.png").read_bytes() == first != b"before"


def test_evaluate_says_what_figures_depend_on_and_writes_all_of_it(run_dir, tmp_path, capfd):
    flags = ("--importance-samples", "20", "--limit", "60", "--seed", "3", "--aggregate", "--factors")
    main(["evaluate", str(run_dir), *flags, "--output", "figures.json"])
    out = capfd.readouterr().out
    assert "a lower bound of log p(x) with 20 samples of z, seed 3" in out
    assert "60 of the 297 test images of digits (binarize=dynamic), seed 3" in out
    assert "left out: factors, which needs a dataset whose factors are known, such as sprites" in out
    assert "figures of all images, which those of some are not compared with" in out
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["settings"]["images"] == 60
    assert found["metrics"].keys() >= {"elbo", "log_likelihood", "active_units", "mutual_information"}
    for name in found["metrics"]:
        assert f"test/{name} " in out
    assert {file.name for file in tmp_path.iterdir()} == {"outputs", "figures.json"}


def test_evaluate_measures_what_is_asked_for_only(run_dir, monkeypatch):
    asked = []
    monkeypatch.setattr(Run, "report", lambda self, split, plan, *watch: asked.append(plan) or Report(EMPTY))
    Path("inception.pth").touch()
    for flags in ((), ("--probe", "--fcd"), ("--all",), ("--fid-weights", "inception.pth")):
        main(["evaluate", str(run_dir), *flags])
    quick = ("latents",)
    assert [plan.measures for plan in asked] == [
        quick,
        (*quick, "probe", "fcd"),
        (*quick, "similarity", "aggregate", "probe", "factors", "fcd"),
        (*quick, "fid"),
    ]
    assert asked[-1].fid_weights == Path("inception.pth")


EMPTY = dict.fromkeys(("images", "images_of_split", "seed"), 0) | dict.fromkeys(
    ("split", "dataset", "binarize", "device", "torch"), "test"
)


def test_generate_draws_from_what_is_asked_for(run_dir, tmp_path):
    arguments = ["generate", str(run_dir), "--num-samples", "5", "--seed", "3", "--output"]
    pictures = []
    for name, flags in (("prior", ()), ("gmm", ("--sampler", "gmm")), ("cold", ("--temperature", "0"))):
        main([*arguments, f"{name}.png", *flags])
        pictures.append((tmp_path / f"{name}.png").read_bytes())
    assert len(set(pictures)) == 3


@pytest.mark.slow
def test_runs_lists_every_run_below_a_folder_best_first(run_dir, inline, capfd):
    inline(*QUICK, "trainer.epochs=3", "hydra.run.dir=outputs/longer")
    inline(*QUICK, "optimizer.lr=1e30", "hydra.run.dir=outputs/broken")
    main(["runs", "outputs"])
    lines = capfd.readouterr().out.splitlines()
    order = [
        next(n for n, line in enumerate(lines) if f"outputs/{name}" in line) for name in ("longer", "run", "broken")
    ]
    assert order == sorted(order)
    assert "failed" in lines[order[2]]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["generate", "nowhere"], 1),
        (["runs", "nowhere"], 2),
        (["generate", "x", "--num-samples", "0"], 2),
        (["generate", "x", "--num-samples", "4097"], 2),
        (["generate", "x", "--sampler", "gaussian"], 2),
        (["generate", "x", "--temperature", "-1"], 2),
        (["generate", "x", "--temperature", "hot"], 2),
        (["evaluate", "nowhere"], 1),
        (["evaluate", "x", "--importance-samples", "0"], 2),
        (["evaluate", "x", "--limit", "0"], 2),
        (["evaluate", "x", "--seed", "-1"], 2),
        (["evaluate", "x", "--seed", "9" * 19], 2),
        (["evaluate", "x", "--limit", "9" * 19], 2),
        (["evaluate", "x", "--importance-samples", "9" * 5000], 2),
        (["evaluate", "x", "--fid-weights", "absent.pth"], 2),
        (["generate", "x", "--seed", "9" * 26], 2),
        (["generate", "x", "--seed", "-1"], 2),
        ([], 2),
    ],
)
def test_a_mistake_is_one_sentence_and_an_exit_code(arguments, code, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == code
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "RUN", "--output"),
        ("evaluate", "RUN", "--output"),
        ("compare", "RUN", "-o"),
        ("dashboard", "--entity=a", "--project=b", "--output"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_first_and_leaves_nothing(command, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    suffix = {"generate": ".png", "evaluate": ".json", "compare": ".html", "dashboard": ".json"}[command[0]]
    for output, said in (
        ("it.xyz", f"must be a {suffix} file, got it.xyz; name it it{suffix}"),
        ("it", f"must be a {suffix} file, got it; name it it{suffix}"),
        (
            f"new/folder/it{suffix}",
            f"must lie in a folder that is there, got new/folder/it{suffix}; make new/folder first",
        ),
        (".", "must be a file, got the folder ."),
    ):
        with pytest.raises(SystemExit) as exit_info:
            main([*command, output])  # there is no such run, which it would say next
        assert exit_info.value.code == 2
        assert said in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_device_that_is_absent_is_refused(run_dir, capfd, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        main(["generate", str(run_dir), "--device", "cuda"])
    assert "device=cuda is not on this machine" in capfd.readouterr().err


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError("libtorch_cpu.so: failed to map segment from shared object")]
)
def test_want_of_memory_is_one_sentence(error, monkeypatch, capsys):
    def full(folder):
        raise error

    monkeypatch.setattr("vaelab.compare.listing.list_runs", full)
    with pytest.raises(SystemExit) as raised:
        main(["runs"])
    assert raised.value.code == 1
    assert capsys.readouterr().err.startswith("vaelab: out of memory; ")


def test_a_stack_holds_no_terminal_sequence(monkeypatch, capfd):
    def fails(folder):
        raise KeyError("\x1b[31mred")

    monkeypatch.setattr("vaelab.compare.listing.list_runs", fails)
    with pytest.raises(SystemExit) as ended:
        main(["runs", "."])
    err = capfd.readouterr().err
    assert ended.value.code == 1
    assert "KeyError" in err
    assert "\x1b" not in err
