"""Charts have the right points, and the file of each format what was drawn."""

import base64
import io
import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.fakes import pixels, small_split
from helpers.figures import lines, saved_figures
from vaelab.evaluation.pictures.figures import bars, posterior_means, save, save_curves
from vaelab.evaluation.pictures.grids import grid, labelled_grid


def random_images(count, channels=1, height=8, width=8):
    return torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(0))


def test_a_grid_file_holds_the_grid(tmp_path):
    images = random_images(6, channels=3)
    (tmp_path / "grid.tmp").write_text("somebody else's")
    save(labelled_grid(images, 3), tmp_path / "grid.png")
    assert np.array_equal(pixels(tmp_path / "grid.png"), grid(images, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grid.png", "grid.tmp"]


# Curves


@pytest.fixture
def drawn(monkeypatch):
    return saved_figures(monkeypatch)


def row(step, epoch, split, value):
    return {"step": step, "epoch": epoch, **{f"{split}/{name}": value for name in ("elbo", "reconstruction", "kl")}}


ROWS = [
    row(10, 0.5, "train", -400.0),
    row(20, 1.0, "train", -200.0),
    row(20, 1.0, "val", -250.0),
    row(30, 1.5, "train", -100.0),
    row(35, 1.75, "train", -40.0),  # the run ended within its second epoch
    row(35, 1.75, "val", -90.0),
]


def test_training_curves_are_means_over_an_epoch_and_validation_is_as_logged(drawn, tmp_path):
    save_curves(tmp_path / "curves.png", ROWS, "some dataset")
    assert pixels(tmp_path / "curves.png").std() > 0
    (figure,) = drawn
    assert len(figure.axes) == 3
    for axis in figure.axes:
        assert lines(axis) == {
            "train": [(1.0, -300.0), (1.75, -80.0)],
            "validation": [(1.0, -250.0), (1.75, -90.0)],
        }
        assert axis.get_legend() is not None


def test_without_validation_only_training_is_drawn(drawn, tmp_path):
    save_curves(tmp_path / "curves.png", [row for row in ROWS if "train/elbo" in row], "some dataset")
    assert [set(lines(axis)) for axis in drawn[0].axes] == [{"train"}] * 3


def test_without_rows_empty_axes_are_drawn(drawn, tmp_path):
    save_curves(tmp_path / "curves.png", [], "some dataset")
    assert pixels(tmp_path / "curves.png").size
    assert [lines(axis) for axis in drawn[0].axes] == [{}] * 3


def test_posterior_means_are_drawn_where_they_are_in_the_colour_of_their_label(drawn, tmp_path):
    means = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    labels = small_split(40).labels % 4
    save(posterior_means(means.numpy(), labels.numpy(), ["first", "second"], "some dataset"), tmp_path / "means.png")
    assert pixels(tmp_path / "means.png").std() > 0
    (axis,) = drawn[0].axes
    (points,) = axis.collections
    assert np.allclose(points.get_offsets(), means)
    assert np.array_equal(points.get_array(), labels)
    assert len(axis.get_legend().get_texts()) == 4
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("first", "second")


def test_bars_have_their_heights_names_and_the_colour_of_their_kind():
    figure = bars(
        [3.0, 2.0, 1.0], ["b", "a", "c"], {"few": [True, False, True], "others": [False, True, False]}, ("", ""), ""
    )
    (axis,) = figure.axes
    drawn = {bar.get_x() + bar.get_width() / 2: (bar.get_height(), bar.get_facecolor()) for bar in axis.patches}
    assert [drawn[place][0] for place in range(3)] == [3, 2, 1]
    assert drawn[0][1] == drawn[2][1] != drawn[1][1]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["b", "a", "c"]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["few", "others"]


def test_many_bars_have_names_that_leave_room_for_each_other():
    figure = bars([1.0] * 128, [str(i) for i in range(128)], {"": [True] * 128}, ("", ""), "")
    (axis,) = figure.axes
    assert len(axis.patches) == 128
    assert [text.get_text() for text in axis.get_xticklabels()] == [str(i) for i in range(0, 128, 4)]
    assert axis.get_legend() is None


# Formats


def chart():
    return bars([2.0, 1.0], ["1", "2"], {"": [True, True]}, ("to the right", "upwards"), "a chart")


def test_an_image_is_embedded_pixel_by_pixel_in_an_svg(tmp_path):
    picture = labelled_grid(random_images(6, channels=3), 3, "a grid")
    save(picture, tmp_path / "grid.png", "svg")
    text = (tmp_path / "grid.svg").read_text()
    (content,) = re.findall(r'href="data:image/png;base64,([^"]+)"', text)
    with Image.open(io.BytesIO(base64.b64decode(content))) as embedded:
        assert np.array_equal(np.asarray(embedded.convert("RGB")), np.asarray(picture))


def test_an_image_is_embedded_with_all_its_pixels_in_a_pdf(tmp_path):
    picture = labelled_grid(random_images(6, channels=3), 3, "a grid")
    save(picture, tmp_path / "grid.png", "pdf")
    content = (tmp_path / "grid.pdf").read_bytes()
    assert f"/Width {picture.width}".encode() in content
    assert f"/Height {picture.height}".encode() in content
    assert b"DCTDecode" not in content  # which loses some of what sharp edges need
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", content)
    assert [float(side) for side in box] == pytest.approx([picture.width * 0.6, picture.height * 0.6], abs=0.1)


def test_a_chart_is_vectors_with_its_words_in_an_svg_and_a_pdf(tmp_path):
    for picture_format in ("svg", "pdf"):
        save(chart(), tmp_path / "chart.png", picture_format)
    root = ElementTree.parse(tmp_path / "chart.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not list(root.iter("{http://www.w3.org/2000/svg}image"))
    content = (tmp_path / "chart.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert b"/Subtype /Image" not in content


@pytest.mark.parametrize("picture_format", ["pdf", "svg"])
def test_every_format_is_written_beside_the_png_and_always_the_same(picture_format, tmp_path):
    for picture in (chart, lambda: labelled_grid(random_images(2), 2, "a grid")):
        contents = []
        for _ in range(2):
            content = save(picture(), tmp_path / "picture.png", picture_format)
            assert (tmp_path / "picture.png").read_bytes() == content
            contents.append((tmp_path / f"picture.{picture_format}").read_bytes())
        assert contents[0] == contents[1]
    save_curves(tmp_path / "curves.png", ROWS, "some dataset", picture_format)
    assert (tmp_path / f"curves.{picture_format}").stat().st_size
    expected = {f"{stem}.{end}" for stem in ("picture", "curves") for end in ("png", picture_format)}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_a_long_title_is_no_wider_than_its_figure(drawn, tmp_path):
    figure = posterior_means(np.zeros((3, 2)), None, ["", ""], "a word and another one " * 10)
    save(figure, tmp_path / "means.png")
    box = figure.texts[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width


@pytest.mark.parametrize("stretch", [(1.0, 1.0), (5.0, 1.0), (1.0, 5.0)])
def test_a_map_has_one_scale_and_no_empty_bands_whatever_its_points(stretch, tmp_path):
    means = torch.randn(400, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor(stretch)
    figure = posterior_means(means.numpy(), small_split(400).labels.numpy() % 4, ["", ""], "some dataset")
    save(figure, tmp_path / "means.png")
    (axis,) = figure.axes
    (left, bottom), (right, top) = axis.transData.transform([(0, 0), (1, 1)])
    assert right - left == pytest.approx(top - bottom, rel=0.01)
    drawn = axis.get_position()
    assert drawn.height > 0.8
    assert drawn.width > 0.7  # the legend and the labels of the axis have the rest
    lowest, highest = axis.transData.inverted().transform([axis.bbox.p0, axis.bbox.p1])
    assert (means >= torch.tensor(lowest)).all()
    assert (means <= torch.tensor(highest)).all()


def test_posterior_means_without_labels_are_drawn_in_one_colour(drawn, tmp_path):
    means = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    save(posterior_means(means.numpy(), None, ["first", "second"], "some dataset"), tmp_path / "means.png")
    (axis,) = drawn[0].axes
    (points,) = axis.collections
    assert np.allclose(points.get_offsets(), means)
    assert len(points.get_facecolors()) == 1
    assert axis.get_legend() is None


def test_a_picture_replaces_a_link(tmp_path):
    (tmp_path / "mine").write_text("mine")
    for name in ("grid.png", "curves.png"):
        (tmp_path / name).symlink_to("mine")
    content = save(labelled_grid(random_images(2), 2), tmp_path / "grid.png")
    save_curves(tmp_path / "curves.png", ROWS, "some dataset")
    assert (tmp_path / "mine").read_text() == "mine"
    assert (tmp_path / "grid.png").read_bytes() == content
    assert pixels(tmp_path / "curves.png").std() > 0


def test_matplotlib_reads_no_settings_of_the_folder_that_one_is_in(tmp_path):
    (tmp_path / "matplotlibrc").write_text("savefig.dpi: 3000\n")
    code = (
        "from vaelab.evaluation.pictures.figures import subplots; subplots(1, (1, 1)); import matplotlib, sys; "
        "print(matplotlib.rcParams['savefig.dpi'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "figure False\n", done.stderr  # and the report of a sweep need not wait for torch
