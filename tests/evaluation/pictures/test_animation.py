"""The animation shows the samples of every epoch, and nothing of a damaged or foreign file."""

import numpy as np
import pytest
from PIL import Image

from helpers.fakes import pixels
from vaelab.evaluation.pictures import animation
from vaelab.evaluation.pictures.animation import save_animation


@pytest.fixture
def run_dir(tmp_path):
    """With the samples of five epochs, each of another grey."""
    (tmp_path / "images").mkdir()
    for epoch in range(1, 6):
        put(tmp_path, epoch)
    return tmp_path


def put(run_dir, epoch, size=(30, 20)):
    Image.new("RGB", size, (40 * epoch,) * 3).save(run_dir / f"images/samples-{epoch:04d}.png")


def frames(run_dir):
    """The frames of the animation, (height, width, 3) each, and how long each is shown."""
    shown, durations = [], []
    with Image.open(run_dir / "samples.gif") as picture:
        assert picture.format == "GIF"
        for index in range(picture.n_frames):
            picture.seek(index)
            shown.append(np.asarray(picture.convert("RGB")))
            durations.append(picture.info["duration"])
    return shown, durations


def greys(run_dir):
    return [int(frame[0, 0, 0]) for frame in frames(run_dir)[0]]


def test_every_epoch_is_a_frame_with_its_pixels_in_order(run_dir):
    save_animation(run_dir, 5)
    shown, durations = frames(run_dir)
    for epoch, frame in enumerate(shown, 1):
        assert np.array_equal(frame, pixels(run_dir / f"images/samples-{epoch:04d}.png"))
    assert len(shown) == 5
    assert durations[-1] > durations[0] > 0


def test_epochs_that_the_run_has_not_reached_again_are_left_out(run_dir):
    save_animation(run_dir, 3)
    assert greys(run_dir) == [40, 80, 120]


def test_of_many_epochs_the_first_the_last_and_some_between_are_shown(run_dir, monkeypatch):
    monkeypatch.setattr(animation, "FRAMES", 3)
    save_animation(run_dir, 5)
    assert greys(run_dir) == [40, 120, 200]


def test_one_epoch_is_no_animation(run_dir):
    assert save_animation(run_dir, 1) == []
    assert not (run_dir / "samples.gif").exists()


def test_pictures_of_other_sizes_stand_whole_on_white(run_dir):
    put(run_dir, 3, (50, 10))
    save_animation(run_dir, 5)
    shown, _ = frames(run_dir)
    assert {frame.shape for frame in shown} == {(20, 50, 3)}
    assert (shown[2][10:] == 120).all()
    assert (shown[2][:10] == 255).all()


def test_large_pictures_are_made_smaller(run_dir):
    put(run_dir, 1, (4000, 100))
    save_animation(run_dir, 2)
    assert frames(run_dir)[0][0].shape == (23, 900, 3)


def test_what_is_no_picture_of_an_epoch_is_left_out(run_dir, monkeypatch):
    monkeypatch.setattr(animation, "MAX_PIXELS", 2000)
    put(run_dir, 1, (50, 50))
    samples = run_dir / "images/samples-0002.png"
    samples.write_bytes(samples.read_bytes()[:40])
    (run_dir / "mine.png").write_bytes((run_dir / "images/samples-0003.png").read_bytes())
    (run_dir / "images/samples-0003.png").unlink()
    (run_dir / "images/samples-0003.png").symlink_to("../mine.png")
    put(run_dir, 6)
    for name in ("samples-6.png", "other-0001.png", "samples-0001.jpg"):
        (run_dir / "images" / name).write_bytes(b"")
    save_animation(run_dir, 9)
    assert greys(run_dir) == [160, 200, 240]


def test_the_animation_replaces_a_link(run_dir):
    (run_dir / "mine").write_text("mine")
    (run_dir / "samples.gif").symlink_to("mine")
    save_animation(run_dir, 5)
    assert (run_dir / "mine").read_text() == "mine"
    assert len(greys(run_dir)) == 5
