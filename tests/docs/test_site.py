"""The README's links, and the site that `make docs` builds."""

import os
import re
import subprocess
import sys
from itertools import chain

import pytest

from conftest import ROOT
from helpers.pages import PAGES, README


def test_every_picture_and_link_of_the_readme_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)", PAGES[README]):
        assert (ROOT / target).exists(), target


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    build = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder)
    done = subprocess.run(
        build, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_site_has_every_page_and_asks_for_nothing_from_a_network(site):
    for page in chain((ROOT / "docs").rglob("*.md"), (ROOT / "docs").glob("*.ipynb")):
        html = (site / page.relative_to(ROOT / "docs").with_suffix(".html")).read_text()
        assert not re.findall(r'<(?:script|img|link|iframe)[^>]*(?:src|href)="?(?:https?:)?//', html)


@pytest.mark.slow
def test_the_explorer_of_the_demo_is_a_part_of_it(site, opened):
    page = opened(site / "digits.html")
    page.evaluate("() => explorer.ready")
    assert page.inner_text("#title") == "mlp on digits"


@pytest.mark.parametrize(
    "page, name", [("load_run", "load_run"), ("vae", "VAE"), ("likelihood", "BernoulliLikelihood")]
)
def test_docstrings_are_in_the_reference(site, page, name):
    html = (site / "api" / f"{page}.html").read_text()
    assert re.search(rf'id="vaelab[\w.]*\.{name}"', html)


def test_examples_of_docstrings_are_shown_as_code(site):
    wrong = [page.name for page in (site / "api").glob("*.html") if 'class="example"' in page.read_text()]
    assert not wrong, "write `Examples:`, not `Example:`"
