"""The gallery: the page shows pictures of the runs that it names, and photographs of their pages."""

import re

import pytest
from PIL import Image

from conftest import ROOT

PAGE = """{run} ![](gallery/run-samples.png)

{sweep} ![](gallery/compare.png) ![](gallery/explorer-run.png)
"""


@pytest.fixture
def gallery(monkeypatch):
    """The module `benchmarks.gallery`."""
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gallery

    return gallery


@pytest.mark.slow
def test_every_run_composes(gallery, compose):
    for overrides in gallery.TRAINED.values():
        compose(*overrides)


def test_the_page_is_the_template_of_the_runs_that_were_trained(gallery):
    text = (ROOT / "docs/gallery.md").read_text()
    parts = re.split(r"\{\w+\}", gallery.TEMPLATE.read_text())
    assert re.fullmatch(".*".join(map(re.escape, parts)), text), "run: python -m benchmarks.gallery"
    assert gallery.EXPLORED.keys() <= {*re.findall(r"gallery/([\w-]+)\.png", text)}
    assert {name for name, _ in gallery.EXPLORED.values()} <= gallery.TRAINED.keys()


@pytest.mark.slow
@pytest.mark.usefixtures("chromium")
def test_runs_are_trained_once_and_pictured(gallery, tmp_path, monkeypatch, capfd):
    short = ["experiment=demo", "trainer.max_steps=2", "trainer.pictures_every=1", "model.hidden=[8]"]
    (tmp_path / "template.md").write_text(PAGE)
    (tmp_path / "docs").mkdir()
    replaced = {
        "RUNS": tmp_path / "runs",
        "DOCS": tmp_path / "docs",
        "TEMPLATE": tmp_path / "template.md",
        "TRAINED": {"run": short},
        "SWEEP": [*short, "seed=0,1"],
        "EXPLORED": {"explorer-run": ("run", 390)},
    }
    for name, value in replaced.items():
        monkeypatch.setattr(gallery, name, value)
    gallery.main()
    assert capfd.readouterr().out.count("$ vaelab train") == 2
    pictures = tmp_path / "docs/gallery"
    assert sorted(path.name for path in pictures.iterdir()) == ["compare.png", "explorer-run.png", "run-samples.png"]
    assert (pictures / "run-samples.png").read_bytes() == (tmp_path / "runs/run/samples.png").read_bytes()
    for name in ("compare", "explorer-run"):
        with Image.open(pictures / f"{name}.png") as photograph:
            assert len(photograph.getcolors(2**24)) > 20, "something is seen on it"
    text = (tmp_path / "docs/gallery.md").read_text()
    assert text.startswith("`vaelab train experiment=demo trainer.max_steps=2")
    assert "nats per image" in text
    gallery.main()
    assert capfd.readouterr().out.count("$ vaelab train") == 1, "what is finished is not trained again"
