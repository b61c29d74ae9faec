"""Metrics are always kept as JSON lines; W&B gets the same, and whatever happens to it stops nothing."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image

from vaelab.errors import UserError
from vaelab.run.build import Builder
from vaelab.run.logger import Logger
from vaelab.run.rows import read_rows

ROW = {"step": 1, "epoch": 0.5, "train/elbo": -3.25}
PROJECT = {"project": "some-project", "entity": None, "tags": ["tag"], "finish_timeout": 20}


@pytest.fixture
def logger_in(tmp_path, monkeypatch):
    """Opens loggers with W&B alone in a folder of the test, and closes them at the end."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    opened = []

    def open_logger(folder="run", mode="disabled", name="some-name", group="some-group"):
        (tmp_path / folder).mkdir(exist_ok=True)
        opened.append(Logger(tmp_path / folder, mode, **PROJECT))
        opened[-1].start({"seed": 3, "model": {"hidden": [400]}}, name, group)
        return opened[-1]

    yield open_logger
    for logger in opened:
        logger.finish("finished", {})
    if "wandb" in sys.modules:
        sys.modules["wandb"].teardown()  # its settings are those of the environment


def messages(caplog, level=logging.WARNING):
    """What vaelab said at that level or above; W&B keeps a log of its own."""
    return [record.message for record in caplog.records if record.name.startswith("vaelab") and record.levelno >= level]


# metrics.jsonl


@pytest.mark.parametrize("value", [-3.25, float("inf"), float("nan")])
def test_every_row_is_a_line_of_valid_json(value, logger_in):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    logger = logger_in()
    for step in range(3):
        logger.log({**ROW, "step": step, "train/grad_norm": value})
    lines = (logger.run_dir / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert all(row.items() >= {"epoch": 0.5, "train/elbo": -3.25}.items() for row in rows)


def test_rows_can_be_read_at_once_and_after_the_end(logger_in):
    logger = logger_in()
    logger.log(ROW)
    assert read_rows(logger.run_dir) == [ROW]
    logger.finish("finished", {})
    assert read_rows(logger.run_dir) == [ROW]


def test_a_second_logger_goes_on_after_the_rows_of_the_first(logger_in):
    for step in (1, 2):
        logger = logger_in()
        logger.log({**ROW, "step": step})
        logger.finish("killed", {})
    assert [row["step"] for row in read_rows(logger.run_dir)] == [1, 2]


def test_rewind_drops_the_rows_after_a_position(logger_in):
    logger = logger_in()
    logger.log({"step": 1})
    position = logger.position
    for step in (2, 3):
        logger.log({"step": step})
    logger.finish("killed", {})
    resumed = logger_in()
    resumed.rewind(position)
    assert resumed.position == position
    resumed.log({"step": 4})
    assert [row["step"] for row in read_rows(logger.run_dir)] == [1, 4]


@pytest.mark.parametrize("kept", [[], [ROW]])
def test_rewind_to_the_ends_drops_all_or_nothing(kept, logger_in):
    logger = logger_in()
    logger.log(ROW)
    logger.rewind(logger.position if kept else None)
    assert read_rows(logger.run_dir) == kept


def test_an_unknown_mode_is_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(ValueError, match=r"mode must be one of .*did you mean 'offline'"):
        Logger(tmp_path, "ofline", **PROJECT)


@pytest.mark.slow
def test_mode_disabled_never_imports_wandb(tmp_path):
    code = f"""if True:
        import sys
        from pathlib import Path
        from vaelab.run.logger import Logger
        logger = Logger(Path({str(tmp_path)!r}), "disabled", "project", None, [], 15)
        logger.start({{}}, "name", None)
        logger.log({ROW})
        logger.log_pictures(["samples.png"])
        logger.finish("finished", {{}})
        assert not [name for name in sys.modules if name.startswith("wandb")]
    """
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "WANDB_MODE": "offline"})
    assert read_rows(tmp_path) == [ROW]


# W&B offline, read back from its own files


def offline_files(logger):
    return sorted((logger.run_dir / "wandb").glob("offline-run-*/run-*.wandb"))


def inspect(file):
    """What W&B's own program reads from the file of an offline run."""
    wandb = Path(sys.executable).parent / "wandb"
    command = [wandb, "leet", "inspect", "--summary", "--json", file]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def the_offline_run(logger):
    (file,) = offline_files(logger)
    return inspect(file)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "exit_code"), [("finished", 0), ("failed", 1), ("killed", 130)])
def test_an_offline_run_holds_what_was_logged(status, exit_code, logger_in, caplog):
    logger = logger_in(mode="offline")
    for step in (1, 2):
        logger.log({**ROW, "step": step, "train/elbo": -step})
    logger.finish(status, {"val/loss": 2.5})
    run = the_offline_run(logger)
    assert (run["project"], run["name"], run["tags"]) == ("some-project", "some-name", ["tag"])
    assert run["config"] == {"seed": 3, "model": {"hidden": [400]}}
    expected = {"step": 2, "epoch": 0.5, "train/elbo": -2, "val/loss": 2.5, "status": status}
    assert run["summary"].items() >= expected.items()
    assert run["exit_code"] == exit_code
    assert b"some-group" in offline_files(logger)[0].read_bytes()
    assert len(read_rows(logger.run_dir)) == 2
    assert messages(caplog) == []


@pytest.mark.slow
def test_pictures_are_sent_with_the_next_row_and_kept_once(logger_in):
    logger = logger_in(mode="offline")
    Image.new("RGB", (8, 8), "red").save(logger.run_dir / "samples.png")
    logger.log({**ROW, "step": 6})
    logger.log_pictures(["samples.png"])
    logger.log({**ROW, "step": 7, "epoch": 2.0})
    logger.finish("finished", {})
    summary = the_offline_run(logger)["summary"]
    assert summary["pictures/samples"]["_type"] == "image-file"
    assert summary["pictures/samples"]["path"].startswith("media/images/pictures/samples_1_")
    assert (summary["step"], summary["epoch"]) == (7, 2)
    (sent,) = (logger.run_dir / "wandb").rglob("samples_*.png")
    assert sent.samefile(logger.run_dir / "samples.png")
    assert list((logger.run_dir / "wandb/pictures").iterdir()) == []


@pytest.mark.slow
def test_an_animation_and_a_page_are_sent_as_such_beside_the_samples(logger_in):
    logger = logger_in(mode="offline")
    (logger.run_dir / "explore.html").write_text("<title>it</title>")
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(logger.run_dir / "samples.png")
    frames[0].save(logger.run_dir / "samples.gif", save_all=True, append_images=frames[1:])
    logger.log_pictures(["samples.png", "samples.gif", "explore.html"])
    logger.log(ROW)
    logger.finish("finished", {})
    summary = the_offline_run(logger)["summary"]
    kinds = {name: value["_type"] for name, value in summary.items() if name.startswith("pictures/")}
    assert kinds == {
        "pictures/samples": "image-file",
        "pictures/samples_by_epoch": "video-file",
        "pictures/explore": "html-file",
    }
    (sent,) = (logger.run_dir / "wandb").rglob("*.gif")
    assert str(sent).endswith(summary["pictures/samples_by_epoch"]["path"])
    assert sent.samefile(logger.run_dir / "samples.gif")


@pytest.mark.slow
def test_mode_auto_without_a_key_is_offline_and_says_how_to_upload(logger_in, caplog):
    caplog.set_level(logging.INFO, "vaelab")
    logger = logger_in(mode="auto")
    logger.finish("finished", {})
    *_, message = messages(caplog, logging.INFO)  # on a busy machine W&B is waited for, which is said first
    assert message == f"W&B: offline; upload with: wandb sync --include-online {logger.run_dir / 'wandb'}"
    assert len(offline_files(logger)) == 1


def test_wandb_mode_of_the_environment_decides_what_auto_is(logger_in, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = logger_in(mode="auto")
    logger.log(ROW)
    logger.finish("finished", {})
    assert offline_files(logger) == []


@pytest.mark.slow
def test_loggers_one_after_the_other_give_two_runs(logger_in):
    runs = []
    for number in (1, 2):
        logger = logger_in(f"run{number}", "offline", name=f"name{number}")
        logger.log({**ROW, "step": number})
        logger.finish("finished", {})
        runs.append(the_offline_run(logger))
    assert [run["name"] for run in runs] == ["name1", "name2"]
    assert [run["summary"]["step"] for run in runs] == [1, 2]
    assert runs[0]["run_id"] != runs[1]["run_id"]


@pytest.mark.slow
def test_a_run_that_was_never_finished_does_not_take_the_rows_of_the_next(logger_in):
    first = logger_in("first", "offline")
    second = logger_in("second", "offline")
    second.log(ROW)
    second.finish("finished", {})
    assert "train/elbo" not in the_offline_run(first)["summary"]
    assert the_offline_run(second)["summary"]["train/elbo"] == -3.25


@pytest.mark.slow
def test_resuming_in_the_same_directory_keeps_the_id(logger_in):
    first = logger_in(mode="offline")
    first.finish("killed", {})
    run_id = the_offline_run(first)["run_id"]
    again = logger_in(mode="offline")
    again.finish("finished", {})
    assert {inspect(file)["run_id"] for file in offline_files(again)} == {run_id}


# W&B in trouble


@pytest.fixture
def fake_run(monkeypatch):
    """The run that `wandb.init` gives, with nothing behind it."""
    import wandb

    run = Mock(id="some-id", dir="wandb/offline-run/files", step=0)
    monkeypatch.setattr(wandb, "init", Mock(return_value=run))
    return run


@pytest.mark.parametrize("method", ["define_metric", "log", "summary.update", "finish"])
def test_wandb_that_raises_stops_nothing_and_warns(method, fake_run, logger_in, caplog):
    fake_run.configure_mock(**{f"{method}.side_effect": OSError("the server\nis gone")})
    logger = logger_in(mode="offline")
    for _ in range(3):
        logger.log(ROW)
    logger.finish("finished", {})
    assert read_rows(logger.run_dir) == [ROW] * 3
    warning, remedy = messages(caplog)
    assert warning == "W&B failed (OSError: the server is gone); the run goes on without it"
    assert remedy.endswith(f"vaelab train resume={logger.run_dir}")


@pytest.mark.slow
def test_a_picture_that_cannot_be_sent_stops_nothing(logger_in, caplog):
    logger = logger_in(mode="offline")
    (logger.run_dir / "samples.png").write_bytes(b"no picture")
    logger.log_pictures(["samples.png"])
    logger.log(ROW)
    logger.finish("finished", {})
    assert messages(caplog) == []
    assert the_offline_run(logger)["summary"]["train/elbo"] == -3.25


@pytest.mark.slow
@pytest.mark.parametrize("key", ["a" * 40, None], ids=["unreachable", "without a key"])
def test_mode_online_that_cannot_be_is_offline_with_one_warning(key, logger_in, monkeypatch, caplog):
    monkeypatch.setattr("vaelab.run.wandb_run.INIT_SECONDS", 2)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    if key:
        monkeypatch.setenv("WANDB_API_KEY", key)
    logger = logger_in(mode="online")
    logger.log(ROW)
    while not messages(caplog):
        time.sleep(0.1)
        logger._wandb.say()  # as with each row
    logger.finish("finished", {})
    (warning,) = messages(caplog)
    assert "the run is logged offline" in warning
    assert "\n" not in warning
    assert the_offline_run(logger)["summary"]["train/elbo"] == -3.25


@pytest.mark.slow
def test_mode_auto_with_a_key_and_no_network_is_offline(logger_in, monkeypatch):
    import wandb

    def unreachable(**options):
        raise wandb.errors.AuthenticationError("the server did not respond in time")

    monkeypatch.setattr(wandb, "login", unreachable)
    logger = logger_in(mode="auto")
    logger.log(ROW)
    logger.finish("finished", {})
    assert the_offline_run(logger)["summary"]["train/elbo"] == -3.25


@pytest.mark.parametrize("project", ["a/b", "", "x" * 129, "a?b", 7, None])
def test_a_project_that_wandb_would_refuse_is_refused_at_once(project, tmp_path):
    with pytest.raises(ValueError, match="project must be a name of 1 to 128 letters"):
        Logger(tmp_path, "offline", **{**PROJECT, "project": project})


@pytest.mark.parametrize("tags", ["foo", [""], ["x" * 65], [3]])
def test_tags_are_a_list_of_words(tags, tmp_path):
    with pytest.raises(ValueError, match=r"tags must be a list of words of at most 64 letters, \[a,b\], got"):
        Logger(tmp_path, "offline", **{**PROJECT, "tags": tags})


@pytest.mark.parametrize(("key", "value"), [("entity", "a/b"), ("project", ""), ("tags", "a")])
def test_an_odd_name_is_refused_with_its_key(key, value, compose, tmp_path):
    config = compose("dataset=digits")
    config["logger"][key] = value
    with pytest.raises(UserError, match=rf"^logger\.{key} must be"):
        Builder(config, None).logger(tmp_path)
