"""Runs and sweeps that are untrusted, damaged or odd: a row that says so, and nothing that a terminal obeys."""

import csv
import io
import json
import logging.config
import os
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from conftest import ROOT
from helpers.fakes import summary_of
from helpers.made_up_runs import begun_sweep, made_up_run
from vaelab.cli.commands import main
from vaelab.cli.config_files import ConfigFiles
from vaelab.cli.evaluate import _beside_record
from vaelab.cli.launch import _explain
from vaelab.compare.curves import mean_and_error
from vaelab.compare.page_data import page_data
from vaelab.errors import UserError, one_line
from vaelab.run import find, rows
from vaelab.run.find import find_runs
from vaelab.run.record import RunRecord
from vaelab.run.summary import read_summary
from vaelab.run.terminal import VisibleFormatter, show, table
from vaelab.sweep import report as sweep
from vaelab.sweep.plan import name_of_job, planned_jobs, read_plan
from vaelab.sweep.report import SweepReport, report

ESCAPE = "\x1b]0;taken\x07\x9b31m\u202e\u2066\x7f"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(f'*{a}' for _ in range(9))}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
DEEP = 100_000
SUMMARIES = {
    "empty": b"",
    "a list": b"[]",
    "cut off": b'{"status": "finis',
    "no UTF-8": b'{"status": "\xff\xfe"}',
    "deep": b"[" * DEEP,
    "deep and whole": b'{"setting": ' + b'{"a":' * 60 + b"1" + b"}" * 61,
    "metrics text": b'{"status": "finished", "metrics": "high"}',
    "a metric text": b'{"status": "finished", "metrics": {"val/elbo": "high"}}',
    "NaN": b'{"status": "finished", "metrics": {"val/elbo": NaN}}',
    "Infinity": b'{"status": "finished", "metrics": {"val/elbo": -Infinity}}',
    "NaN where no metric is": b'{"setting": {"val_size": NaN}}',
    "1e400": b'{"status": "finished", "metrics": {"val/elbo": 1e400}}',
    "a huge integer": b'{"status": "finished", "metrics": {"val/elbo": 1' + b"0" * 400 + b"}}",
    "an integer too long to read": b'{"seconds": 1' + b"0" * 5000 + b"}",
    "overrides a number": b'{"status": "finished", "overrides": 7}',
    "an override a list": b'{"status": "finished", "overrides": [["seed=1"]]}',
    "name a number": b'{"status": "finished", "name": 7}',
    "choices a list": b'{"status": "finished", "choices": ["mlp"]}',
    "setting a number": b'{"status": "finished", "setting": 1}',
    "status a list": b'{"status": ["finished"]}',
    "versions text": b'{"versions": "1.0"}',
    "error a mapping": b'{"error": {}}',
}
LINES = {
    "binary": b"\x00\xff\n",
    "a cut line": b'{"step": 1, "ep\n',
    "a list": b"[1]\n",
    "text": b'"step"\n',
    "epoch text": b'{"step": 1, "epoch": "one", "val/elbo": -1}\n',
    "epoch null": b'{"step": 1, "epoch": null, "val/elbo": -1}\n',
    "epoch infinite": b'{"step": 1, "epoch": 1e400, "val/elbo": -1}\n',
    "NaN": b'{"step": 1, "epoch": NaN, "val/elbo": -1}\n',
    "deep": b"[" * DEEP + b"\n",
    "an integer too long to read": b'{"step": 1' + b"0" * 5000 + b"}\n",
    "too long a line": b'{"step": 1, "epoch": 1, "x": [' + b"0," * rows.LARGEST_ROW + b"0]}\n",
    "empty": b"\n",
}
CONFIGS = {
    "a list": b"- 1",
    "a number": b"7",
    "cut off": b"model: {hidden: [4",
    "no UTF-8": b"model: \xff\xfe",
    "a bomb": BOMB.encode(),
    "recursive": b"a: &a [*a]",
    "deep": b"[" * 2000 + b"]" * 2000,
    "keys of numbers": b"1: 2",
    "an object": b"!!python/object/apply:os.system [touch taken]",
    "a date": b"a: 2026-01-01",
    "a huge integer": b"a: 1" + b"0" * 5000,
}
ODD_CONFIGS = {
    "groups of text": b"model: x\nchoices: [1]\ndataset: 3\nlikelihood: null\nobjective: [1]\n",
    "many keys": b"".join(b"key%d: %d\n" % (number, number) for number in range(3000)),
    "not a number": b"model: {hidden: .nan}\nlatent: {dim: .inf}\nchoices: {model: [[1]]}\n",
}
MULTIRUNS = {
    **CONFIGS,
    "hydra a list": b"hydra: [1]",
    "no target": b"hydra: {sweeper: {}, overrides: {task: [seed=1]}}",
    "task a number": b"hydra: {sweeper: {_target_: x.BasicSweeper}, overrides: {task: 7}}",
    "tasks numbers": b"hydra: {sweeper: {_target_: x.BasicSweeper}, overrides: {task: [7]}}",
    "params a list": b"hydra: {sweeper: {_target_: x.BasicSweeper, params: [1]}, overrides: {task: []}}",
    "no override": b"hydra: {sweeper: {_target_: x.BasicSweeper}, overrides: {task: ['seed=[1']}}",
    "deep override": b"hydra: {sweeper: {_target_: x.BasicSweeper}, overrides: {task: ['a=%s']}}" % (b"[" * 30_000),
    "long overrides": b"hydra: {sweeper: {_target_: x.BasicSweeper}, overrides: {task: ['a=%s']}}" % (b"x," * 100_000),
}


def a_link(path):
    secret = path.parent.parent / "secret"
    secret.write_text('{"status": "finished", "name": "of another file"}')
    path.symlink_to(secret)


def a_sparse_file(path):
    with path.open("wb") as file:
        file.truncate(200 * 10**9)


THINGS = {"a folder": Path.mkdir, "a FIFO": os.mkfifo, "a link": a_link, "a sparse file": a_sparse_file}
DAMAGES = [
    *(pytest.param("summary.json", content, id=f"summary.json {name}") for name, content in SUMMARIES.items()),
    *(pytest.param("metrics.jsonl", content, id=f"metrics.jsonl {name}") for name, content in LINES.items()),
    *(pytest.param("config.yaml", content, id=f"config.yaml {name}") for name, content in CONFIGS.items()),
    *(
        pytest.param(file, make, id=f"{file} {name}")
        for file in ("summary.json", "metrics.jsonl", "config.yaml")
        for name, make in THINGS.items()
    ),
]


def damage(path, content):
    """Put bytes, or what a function makes, in the place of a file."""
    path.unlink(missing_ok=True)
    path.write_bytes(content) if isinstance(content, bytes) else content(path)


@pytest.fixture
def sweep_dir(tmp_path, monkeypatch):
    """A sweep of two good jobs in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = begun_sweep(tmp_path / "sweep", "seed=0,1,2")
    for seed in (0, 1):
        made_up_run(folder / str(seed), seed=seed, epochs=1)
    return Path("sweep")


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(sweep, "_picture", lambda groups, title: None)


def rows_of(folder):
    return list(csv.DictReader(io.StringIO((folder / "results.csv").read_text())))


def obeyed(text):
    """The characters that a terminal obeys, or that change the order of what is read."""
    bidirectional = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return {
        letter
        for letter in text
        if letter != "\n"
        and (unicodedata.category(letter) == "Cc" or unicodedata.bidirectional(letter) in bidirectional)
    }


@pytest.mark.parametrize(("file", "content"), DAMAGES)
def test_a_damaged_file_of_one_job_is_one_row_that_says_so(file, content, sweep_dir, no_pictures, capsys):
    damage(sweep_dir / "1" / file, content)
    main(["runs", "sweep"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "sweep/" in line]
    assert len(lines) == 2
    (line,) = [line for line in lines if "sweep/1" in line]
    assert " damaged" in line
    assert (file in line) == (file != "summary.json")
    json.dumps(page_data([sweep_dir]), allow_nan=False)
    report(sweep_dir)
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert sorted(cells[0] for cells in table if cells[:1] != [] and cells[0] in "012" and cells[1] != "of") == [*"012"]
    (row,) = [row for row in rows_of(sweep_dir) if row["job"] == "1"]
    assert row["error"].startswith(file)
    assert "of another file" not in str(rows_of(sweep_dir))
    assert not Path("taken").exists()


@pytest.mark.parametrize("content", ODD_CONFIGS.values(), ids=ODD_CONFIGS)
def test_a_config_of_other_kinds_is_a_row(content, sweep_dir, no_pictures, capsys):
    damage(sweep_dir / "1/config.yaml", content)
    main(["runs", "sweep"])
    report(sweep_dir)
    assert len(json.dumps(page_data([sweep_dir]), allow_nan=False)) < 100_000
    assert "sweep/1" in capsys.readouterr().out


@pytest.mark.parametrize("content", [*MULTIRUNS.values(), *THINGS.values()], ids=[*MULTIRUNS, *THINGS])
def test_a_damaged_multirun_leaves_the_report_and_is_named_below_the_table(content, sweep_dir, no_pictures, capsys):
    damage(sweep_dir / "multirun.yaml", content)
    assert planned_jobs(sweep_dir) is None
    assert name_of_job(sweep_dir, 3, ["seed=3"]) == "seed=3"
    with pytest.raises(UserError, match=r"multirun\.yaml"):
        read_plan(sweep_dir)
    report(sweep_dir)
    out = capsys.readouterr().out
    assert "2 of 2 jobs finished" in out
    assert "multirun.yaml" in out
    assert [row["job"] for row in rows_of(sweep_dir)] == ["0", "1"]


@pytest.mark.parametrize(
    ("task", "count", "listed"),
    [
        (["seed=range(0,3)"], 3, 3),
        (["seed=range(0,1000000000000)"], 10**12, 0),
        (["seed=shuffle(range(0,1000000000000))"], 10**12, 0),
        (["seed=range(0,1000)", "latent.dim=range(1,1001)"], 10**6, 0),
        (["optimizer.lr=range(0.1,0.3,0.1)"], 2, 2),
    ],
)
def test_a_sweep_of_any_size_is_counted_and_only_a_likely_one_listed(task, count, listed, tmp_path):
    found = planned_jobs(begun_sweep(tmp_path / "sweep", *task))
    assert (found.count, len(found.overrides)) == (count, listed)


@pytest.mark.parametrize("task", ["seed=range(0,3,0)", "seed=interval(0,1)", "seed=range(0.0,3.0,0.0)"])
def test_a_sweep_that_cannot_be_counted_is_not(task, sweep_dir, no_pictures, capsys):
    damage(sweep_dir / "multirun.yaml", (begun_sweep(Path("other"), task) / "multirun.yaml").read_bytes())
    report(sweep_dir)
    assert "2 of 2 jobs finished" in capsys.readouterr().out


def test_numbers_whose_squares_no_float_holds_have_a_mean_and_an_error(sweep_dir):
    for seed, value in (("0", 2e200), ("1", -4e200)):
        summary = summary_of(sweep_dir / seed)
        summary["metrics"] = {"val/elbo": value}
        (sweep_dir / seed / "summary.json").write_text(json.dumps(summary))
        rows = [{"step": 10, "epoch": 1, "train/elbo": value, "val/elbo": value}]
        (sweep_dir / seed / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (group,) = page_data([sweep_dir])["groups"]
    assert group["metrics"]["val/elbo"] == pytest.approx(-1e200)
    assert group["errors"]["val/elbo"] == pytest.approx(3e200)
    assert mean_and_error([2.0, 2.0]) == (2.0, 0.0)


def test_numbers_beyond_all_reason_take_few_columns(sweep_dir, no_pictures, capsys):
    summary = summary_of(sweep_dir / "0")
    summary["metrics"]["val/elbo"] = -1e299
    (sweep_dir / "0/summary.json").write_text(json.dumps(summary))
    main(["runs", "sweep"])
    report(sweep_dir)
    out = capsys.readouterr().out
    assert out.count("-1.000e+299") == 2
    assert max(map(len, out.splitlines())) < 300


def test_a_picture_that_cannot_be_drawn_leaves_the_table(sweep_dir, monkeypatch, capsys):
    def fails(groups, title):
        raise OverflowError

    monkeypatch.setattr(sweep, "_picture", fails)
    (sweep_dir / "results.csv").mkdir()
    report(sweep_dir)
    out = capsys.readouterr().out
    assert "2 of 3 jobs finished" in out
    assert "comparison.png could not be written (OverflowError" in out
    assert "results.csv could not be written (" in out


def test_a_name_with_a_formula_in_it_is_drawn(sweep_dir, capsys):
    summary = summary_of(sweep_dir / "0")
    (sweep_dir / "0/summary.json").write_text(json.dumps({**summary, "name": r"$\frac{$ \ud800"}))
    report(sweep_dir)
    assert "could not be written" not in capsys.readouterr().out
    assert (sweep_dir / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_what_lies_at_a_temporary_name_is_not_written_through_and_nothing_is_left(sweep_dir, tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for name in ("results.tmp", "comparison.tmp", "comparison.png.tmp", "results.csv", "comparison.png"):
        (sweep_dir / name).symlink_to(outside)
    report(sweep_dir)
    assert outside.read_text() == "mine"
    assert len(rows_of(sweep_dir)) == 3
    assert sorted(path.name for path in sweep_dir.iterdir() if not path.is_symlink()) == [
        "0", "1", "comparison.png", "multirun.yaml", "results.csv",
    ]  # fmt: skip


def test_cells_that_are_formulas_are_guarded_and_numbers_are_not(sweep_dir, no_pictures):
    summary = summary_of(sweep_dir / "0")
    for name in ("\t=1", "=1"):
        made_up_run(sweep_dir / name)
    given = ["+x=-1", "=cmd|' /C calc'!A0=1", "b==HYPERLINK(1)", "c=@SUM(1)", "e=-1e-3", "g=+a"]
    (sweep_dir / "0/summary.json").write_text(json.dumps({**summary, "overrides": given, "error": "=1+1"}))
    report(sweep_dir)
    rows = {row["job"]: row for row in rows_of(sweep_dir)}
    row = rows["0"]
    assert (row["b"], row["c"], row["g"], row["error"]) == ("'=HYPERLINK(1)", "'@SUM(1)", "'+a", "'=1+1")
    assert {"'\\t=1", "'=1"} <= rows.keys()
    assert (row["'+x"], row["e"]) == ("-1", "-1e-3")
    assert float(row["val/elbo"]) < 0
    assert not any(key.startswith(("=", "+", "-", "@")) for key in row)


def test_long_texts_and_many_keys_are_cut(sweep_dir, no_pictures, capsys):
    summary = summary_of(sweep_dir / "0")
    long = {"error": "x" * 3_000_000, "overrides": [f"key{number}={'y' * 90}" for number in range(5000)]}
    long["metrics"] = {f"val/own{number}": 1.0 for number in range(20_000)}
    (sweep_dir / "0/summary.json").write_text(json.dumps({**summary, **long}))
    main(["runs", "sweep"])
    report(sweep_dir)
    assert (sweep_dir / "results.csv").stat().st_size < 100_000
    assert len(capsys.readouterr().out) < 100_000
    (sweep_dir / "0/summary.json").write_text(json.dumps({**summary, "error": "x" * 5_000_000}))
    assert RunRecord(sweep_dir / "0").status == "damaged"


def hostile_run(folder):
    """A run that has an escape sequence wherever it can hold text."""
    run_dir = made_up_run(folder / f"run{ESCAPE}", epochs=1)
    summary = summary_of(run_dir)
    summary |= {"status": f"finished{ESCAPE}", "name": ESCAPE, "overrides": [f"{ESCAPE}={ESCAPE}"], "error": ESCAPE}
    summary["metrics"][f"val/{ESCAPE}"] = 1.0
    summary["setting"] |= {"dataset": ESCAPE}
    summary["choices"] |= {ESCAPE: ESCAPE, "model": ESCAPE}
    (run_dir / "summary.json").write_text(json.dumps(summary))
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    config["model"] |= {ESCAPE: ESCAPE}
    config["latent"] = {"dim": ESCAPE}
    (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
    return run_dir


def test_nothing_that_a_terminal_obeys_comes_through(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = begun_sweep(tmp_path / f"sweep{ESCAPE}", f"'{ESCAPE}'=1,2")
    hostile_run(folder)
    made_up_run(folder / "good")
    damage(made_up_run(folder / f"bad{ESCAPE}") / "summary.json", Path.mkdir)
    main(["runs", folder.name])
    report(folder)
    main(["compare", folder.name, "-o", f"{ESCAPE}.html"])
    for arguments in (["runs", f"nowhere{ESCAPE}"], ["generate", str(folder / f"bad{ESCAPE}")]):
        with pytest.raises(SystemExit):
            main(arguments)
    out, err = capsys.readouterr()
    assert "\\x1b]0;taken\\x07\\x9b31m\\u202e\\u2066\\x7f" in out
    assert "\\x1b]0;taken" in err
    assert obeyed(out + err + (folder / "results.csv").read_text().replace("\r", "")) == set()


def test_heads_and_cells_and_lines_of_a_table_are_obeyed_by_no_terminal(capsys):
    made = table(f"{ESCAPE}\nhead", numbers=(ESCAPE,), last=(ESCAPE,))
    made.add_row(ESCAPE, ":smile: [red]", "2")
    show(made, ESCAPE)
    out = capsys.readouterr().out
    assert out.count("\\x1b]0;taken") == 5
    assert ":smile: [red]" in out
    assert obeyed(out) == set()


def test_a_name_that_is_no_utf8_is_printed(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    made_up_run(Path(os.fsdecode(b"runs/caf\xe9")))
    done = command(Path(os.sys.executable).parent / "vaelab", "runs", env={"PYTHONUTF8": "1"}, cwd=tmp_path / "runs")
    assert done.returncode == 2
    done = command(Path(os.sys.executable).parent / "vaelab", "runs", "runs", env={"PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr
    assert "runs/caf\\udce9" in done.stdout


@pytest.mark.parametrize("name", ["job_logging", "hydra_logging"])
def test_what_is_logged_to_a_console_or_a_file_has_nothing_that_a_terminal_obeys(name):
    settings = yaml.safe_load((ROOT / f"conf/hydra/{name}/vaelab.yaml").read_text())
    configurator = logging.config.DictConfigurator(settings)
    used = {handler["formatter"] for handler in settings["handlers"].values()}
    for formatter in used:
        made = configurator.configure_formatter(settings["formatters"][formatter])
        try:
            raise UserError(ESCAPE)
        except UserError as error:
            record = logging.LogRecord("vaelab", logging.INFO, "", 1, "%s\nnext", (ESCAPE,), (UserError, error, None))
        said = made.format(record)
        assert "\\x1b]0;taken\\x07" in said
        assert "\nnext" in said
        assert obeyed(said) == set()
    assert isinstance(made, VisibleFormatter)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "out of memory; close what else uses it"),
        (RuntimeError(), "RuntimeError, which says no more; HYDRA_FULL_ERROR=1 shows where"),
        (KeyError(), "KeyError, which says no more"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError(" \n"), "ValueError, which says no more"),
        (ValueError("its words"), "its words"),
    ],
)
def test_an_error_without_words_is_called_by_its_name(error, said):
    assert one_line(error).startswith(said)


@pytest.mark.slow
def test_a_job_that_runs_out_of_memory_says_so(inline, tmp_path, monkeypatch):
    (tmp_path / "greedy.py").write_text("def load(**settings):\n    raise MemoryError\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = ("dataset=digits", "logger=local", "dataset._target_=greedy.load", "seed=0", "hydra.sweep.dir=sweep")
    code, out, err = inline("-m", *settings)
    assert code == 1
    assert "out of memory; close what else uses it" in out
    assert "failed: \n" not in out + err
    assert "out of memory" in rows_of(tmp_path / "sweep")[0]["error"]


def test_a_stack_has_nothing_that_a_terminal_obeys(capsys):
    assert _explain(ZeroDivisionError(ESCAPE), ConfigFiles(ROOT / "conf")) == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError: \\x1b]0;taken" in err
    assert obeyed(err) == set()


def test_the_device_that_a_summary_names_is_one_line():
    record = RunRecord(Path("run"), {"versions": {"device": ESCAPE + "x" * 1000}})
    run = SimpleNamespace(recorded=lambda split: {"elbo": 1.0}, record=record, summary=record.summary)
    report = SimpleNamespace(metrics={"elbo": 2.0}, settings={"images": 3, "images_of_split": 3})
    said = _beside_record(run, "test", report)
    assert obeyed(said) == set()
    assert len(said) < 500


def test_running_out_of_memory_is_one_sentence(monkeypatch, tmp_path, capsys):
    def fails(folder):
        raise MemoryError

    monkeypatch.setattr("vaelab.compare.listing.list_runs", fails)
    with pytest.raises(SystemExit) as exit_info:
        main(["runs", str(tmp_path)])
    assert exit_info.value.code == 1
    assert capsys.readouterr().err.startswith("vaelab: out of memory; ")


def test_links_lead_to_no_run(tmp_path):
    outside = made_up_run(tmp_path / "outside")
    folder = begun_sweep(tmp_path / "sweep", "seed=0,1")
    made_up_run(folder / "0")
    (folder / "1").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    assert [path.name for path in find_runs([folder])] == ["0"]
    report(folder)
    assert [row["job"] for row in rows_of(folder) if row["status"] != "not begun"] == ["0"]


def test_a_folder_that_a_person_names_by_a_link_is_looked_through(tmp_path):
    made_up_run(tmp_path / "runs/0")
    (tmp_path / "linked").symlink_to(tmp_path / "runs")
    assert len(find_runs([tmp_path / "linked"])) == 1


def test_a_folder_that_cannot_be_read_is_a_line(tmp_path, monkeypatch, capsys):
    made_up_run(tmp_path / "runs/0")
    (tmp_path / f"runs/closed{ESCAPE}").mkdir()
    scandir = os.scandir

    def closed(path):
        if "closed" in str(path):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # of a sweep that a test has run in this process
    main(["runs", str(tmp_path / "runs")])
    out, err = capsys.readouterr()
    assert "runs/0" in out
    assert err.startswith("vaelab: ")
    assert "cannot be looked through (Permission denied)" in err
    assert obeyed(err) == set()


def test_a_tree_without_end_is_looked_through_so_far(tmp_path, monkeypatch, caplog):
    made_up_run(tmp_path / "a/0")
    made_up_run(tmp_path / ("z/" * 40) / "1")
    assert [path.name for path in find_runs([tmp_path])] == ["0"]
    monkeypatch.setattr(find, "MOST_FOLDERS", 1)
    with pytest.raises(UserError, match="holds no run"):
        find_runs([tmp_path])
    assert "holds more than 1 folders" in caplog.text


@pytest.mark.parametrize("name", ["\u00b2", "\u0663", "-1", "9" * 250])
def test_jobs_of_any_name_are_reported(name, sweep_dir, no_pictures, capsys):
    made_up_run(sweep_dir / name)
    report(sweep_dir)
    assert len(rows_of(sweep_dir)) == 3
    assert "3 of 3 jobs finished" in capsys.readouterr().out


def test_a_sweep_whose_directory_has_gone_has_no_report(tmp_path):
    SweepReport.unfinished = tmp_path / "gone"
    assert SweepReport.finish() is None


@pytest.mark.parametrize("content", SUMMARIES.values(), ids=SUMMARIES)
def test_a_damaged_summary_is_one_sentence_for_who_needs_it(content, tmp_path):
    (tmp_path / "summary.json").write_bytes(content)
    with pytest.raises(UserError, match=r"summary\.json must hold .*; it is damaged"):
        read_summary(tmp_path)


def test_a_run_of_today_is_not_damaged(tmp_path):
    written = {"status": "finished", "name": None, "group": None, "images_per_second": None, "git_commit": None}
    (tmp_path / "summary.json").write_text(json.dumps(written))
    assert read_summary(tmp_path) == written
    assert "summary.json" not in RunRecord(tmp_path).damaged
