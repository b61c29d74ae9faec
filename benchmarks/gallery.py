"""Pictures of real runs, as docs/gallery.md shows them.

    python -m benchmarks.gallery    train what is lacking, photograph its pages, write docs/gallery.md and its pictures

Needs a Chromium on the PATH.
"""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from benchmarks.commands import ROOT, train, vaelab
from vaelab.evaluation.metrics import metric

RUNS, DOCS = ROOT / "outputs" / "gallery", ROOT / "docs"
TEMPLATE = Path(__file__).with_suffix(".md")
TRAINED = {  # by name, with their overrides
    "digits": ["experiment=demo"],
    "digits_plane": ["experiment=demo", "latent=d2"],
    "mnist": ["dataset=mnist"],
    "mnist_plane": ["dataset=mnist", "latent=d2"],
    "cifar10": ["dataset=cifar10", "model=conv", "latent=d128", "trainer.epochs=15"],
}
SWEEP = ["experiment=demo", "objective.beta=0.25,0.5,1,2,4", "seed=0,1"]
EXPLORED = {  # photographs of the explorer, by the run and the width of the window
    "explorer-mnist": ("mnist", 1280),
    "explorer-phone": ("mnist", 390),
    "explorer-plane": ("digits_plane", 1280),
    "explorer-cifar10": ("cifar10", 1280),
}
SHOWN = re.compile(r"gallery/(\w+)-(\w+)\.png")  # in the page: of which run, and which of its pictures


def main() -> None:
    if shutil.which("chromium") is None:
        sys.exit("photographs of pages need a chromium on the PATH; install one (Debian: apt install chromium)")
    for name, overrides in TRAINED.items():
        train(RUNS / name, [*overrides, "logger=local"])
    sweep, pictures = RUNS / "sweep", DOCS / "gallery"
    vaelab("train", "-m", *SWEEP, f"sweep={sweep}" if sweep.exists() else f"hydra.sweep.dir={sweep}")
    pictures.mkdir(exist_ok=True)
    for name, picture in SHOWN.findall(TEMPLATE.read_text()):
        if name in TRAINED:
            shutil.copy(RUNS / name / f"{picture}.png", pictures / f"{name}-{picture}.png")
    photograph(pictures)
    (DOCS / "gallery.md").write_text(page())


def page() -> str:
    """The page in Markdown, with what each run's own files say of it."""
    return TEMPLATE.read_text().format(sweep=_command("-m", *SWEEP), **{name: _told(name) for name in TRAINED})


def photograph(pictures: Path) -> None:
    """Make the pages of the runs and of the sweep, and photographs of them."""
    compared = RUNS / "compare.html"
    vaelab("compare", str(RUNS / "sweep"), "--output", str(compared))
    for name in {run for run, _ in EXPLORED.values()}:
        vaelab("explore", str(RUNS / name))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        _photograph(browser, compared, 1280, pictures / "compare.png")
        for name, (run, width) in EXPLORED.items():
            _photograph(browser, RUNS / run / "explore.html", width, pictures / f"{name}.png")
        browser.close()


def _photograph(browser: Browser, path: Path, width: int, picture: Path) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(path.as_uri(), wait_until="networkidle")
    if page.evaluate("() => globalThis.explorer?.ready.then(() => true)"):
        page.focus("#map")
        for key in ("ArrowRight", "Enter"):  # chooses an image
            page.keyboard.press(key)
        page.wait_for_timeout(1000)
        page.evaluate("() => scrollTo(0, 0)")
    page.screenshot(path=picture)
    page.close()


def _told(name: str) -> str:
    """A run in a line: how it is trained, how long that took, what it reached."""
    summary = json.loads((RUNS / name / "summary.json").read_text())
    elbo = f"{summary['metrics']['test/elbo']:,.2f} {metric('test/elbo').unit}"
    took = f"{summary['epochs']:g} epochs in {summary['seconds'] / 60:.1f} minutes"
    return f"{_command(*TRAINED[name])}: {took}, ELBO of the test images {elbo}."


def _command(*words: str) -> str:
    return f"`{shlex.join(['vaelab', 'train', *words])}`"


if __name__ == "__main__":
    main()
