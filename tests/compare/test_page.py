"""The comparison page: one file, safe with untrusted runs, and in a browser all it promises."""

import base64
import errno
import io
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from helpers.fakes import summary_of
from helpers.made_up_runs import made_up_pictures, made_up_run
from vaelab.cli.commands import main
from vaelab.compare.page import thumbnail, write_page

SETTINGS = [(latent, lr, seed) for latent in (2, 8) for lr in (1e-3, 3e-3) for seed in (0, 1, 2)]
SPITEFUL = "</script><script>window.taken=1</script><img src=https://example.org/x onerror=window.taken=1>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Twelve finished runs with pictures, three seeds each, and a failed one."""
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    for number, (latent, lr, seed) in enumerate(SETTINGS):
        made_up_pictures(made_up_run(folder / str(number), latent=latent, lr=lr, seed=seed), number)
    made_up_run(folder / "12", latent=2, lr=0.1, epochs=2, status="failed", error="the loss is not finite")
    return folder


@pytest.fixture(scope="module")
def page_file(runs):
    write_page([runs], runs.parent / "compare.html")
    return runs.parent / "compare.html"


def lines(page, chart):
    return page.locator(f"#{chart} .scatterlayer .trace").count()


def see_parallel(page):
    """Scrolls to the parallel coordinates, which are drawn when they come into view."""
    page.locator("#parallel").scroll_into_view_if_needed()
    page.wait_for_selector("#parallel .axis-brush")


def column(page, label):
    heads = page.locator("thead th").all_inner_texts()
    return page.locator(f"tbody td:nth-child({heads.index(label) + 1})").all_inner_texts()


def numbers(texts):
    return [float(text.replace(",", "")) for text in texts if text]


def test_all_is_drawn(opened, page_file):
    page = opened(page_file)
    assert [lines(page, chart) for chart in ("elbo", "reconstruction", "kl")] == [13, 13, 13]
    assert page.locator("#legend li").count() == 13
    see_parallel(page)
    axes = page.locator("#parallel .axis-title").all_text_contents()
    assert axes == [
        *("latent.dim", "optimizer.lr", "seed"),
        *("val ELBO", "val reconstruction", "val KL", "test ELBO", "train ELBO"),
    ]
    assert page.locator("tbody tr").count() == 13
    assert "nats per image" in page.inner_text("header")
    assert "mnist, binarize dynamic, BernoulliLikelihood" in page.inner_text("#setting")
    assert page.locator("figure").count() == 12
    loaded = "images => images.every(image => image.complete && image.naturalWidth > 0)"
    assert page.locator("figure img").evaluate_all(loaded)
    assert "the loss is not finite" in page.inner_text("tbody tr:last-child")


def test_a_click_on_a_head_sorts_and_empty_cells_stay_last(opened, page_file):
    page = opened(page_file)
    page.click("th >> text=val KL")
    rising = column(page, "val KL")
    assert numbers(rising) == sorted(numbers(rising))
    assert rising[-1] == ""
    page.click("th >> text=val KL")
    falling = column(page, "val KL")
    assert numbers(falling) == sorted(numbers(falling), reverse=True)
    assert falling[-1] == ""
    assert page.locator("th[aria-sort=descending]").inner_text().startswith("val KL")


def test_the_filter_narrows_the_table_the_curves_and_the_pictures(opened, page_file):
    page = opened(page_file)
    left = {
        "latent.dim=8": 6,
        "dim=8 seed=1": 2,
        "lr>0.001 lr<0.1": 6,
        "failed": 1,
        "epochs>=3": 12,
        "no such thing": 0,
    }
    for words, count in left.items():
        page.fill("#filter", words)
        assert page.locator("tbody tr").count() == count, words
        assert lines(page, "elbo") == count, words
        assert page.locator("#legend li").count() == count, words
        assert page.locator("figure").count() == (0 if words == "failed" else count), words
    page.click("#reset")
    assert page.locator("tbody tr").count() == 13


def test_a_click_on_a_legend_entry_hides_that_run_and_another_shows_it(opened, page_file):
    page = opened(page_file)
    entry = page.locator("#legend button").nth(3)
    name = entry.inner_text()
    shown = "node => node.data.map(trace => trace.name)"
    assert name in page.locator("#elbo").evaluate(shown)
    entry.click()
    for chart in ("elbo", "reconstruction", "kl"):
        names = page.locator(f"#{chart}").evaluate(shown)
        assert len(names) == lines(page, chart) == 12
        assert name not in names
    assert entry.get_attribute("aria-pressed") == "false"
    assert name not in page.locator("figcaption b").all_inner_texts()
    assert page.inner_text("#count") == "12 of 13 runs shown"
    entry.click()
    assert lines(page, "elbo") == 13


def test_a_double_click_shows_one_run_alone(opened, page_file):
    page = opened(page_file)
    entry = page.locator("#legend button").nth(2)
    entry.dblclick()
    assert page.locator("#elbo").evaluate("node => node.data.map(trace => trace.name)") == [entry.inner_text()]


def test_hovering_names_the_run(opened, page_file):
    page = opened(page_file)
    page.locator("#legend button").nth(5).dblclick()  # alone, so that nothing lies above its points
    name = page.locator("#legend button").nth(5).inner_text()
    box = page.locator("#kl .points path").nth(1).bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2 - 3, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#legend .pointed")
    assert name in page.locator("#kl .hoverlayer").text_content()
    assert page.locator("#legend .pointed").inner_text() == name


def test_nothing_offers_to_upload_a_chart(opened, page_file):
    page = opened(page_file)
    titles = page.locator(".modebar-btn").evaluate_all("buttons => buttons.map(button => button.dataset.title)")
    assert "Pan" in titles
    assert not any("hare" in title or "loud" in title for title in titles)


def test_training_curves_are_a_choice(opened, page_file):
    page = opened(page_file)
    first = "node => node.data[0].y"
    before = page.locator("#elbo").evaluate(first)
    page.select_option("#split", "train")
    assert page.locator("#elbo").evaluate(first) != before
    assert lines(page, "elbo") == 13


def test_a_range_dragged_on_an_axis_is_kept_everywhere(opened, page_file):
    page = opened(page_file)
    see_parallel(page)
    box = page.locator("#parallel .axis-brush .background").first.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 0.4 * box["height"])
    page.mouse.down()
    page.mouse.move(x, box["y"] - 3, steps=8)
    page.mouse.up()
    assert set(column(page, "latent.dim")) == {"8"}
    assert lines(page, "elbo") == 6
    page.click("#reset")
    assert lines(page, "elbo") == 13


def test_the_mean_over_seeds_has_its_standard_error(opened, page_file):
    page = opened(page_file)
    page.select_option("#view", "groups")
    assert page.locator("tbody tr").count() == 5
    assert sum("±" in text for text in column(page, "val ELBO")) == 4
    assert "seed" not in page.locator("thead th").all_inner_texts()
    fills = page.locator("#elbo").evaluate("node => node.data.filter(trace => trace.fill === 'toself').length")
    assert fills == 4
    assert page.locator("#band").is_visible()
    page.locator("#legend button").first.click()
    assert page.locator("figure").count() == 9  # the pictures of its three seeds are hidden with it


def test_runs_that_failed_or_diverged_are_listed_and_stretch_no_axis(opened, tmp_path):
    for seed in range(3):
        made_up_run(tmp_path / str(seed), seed=seed)
    made_up_run(tmp_path / "failed", lr=30.0, epochs=9, status="failed")
    diverged = made_up_run(tmp_path / "diverged", lr=10.0)
    rows = [{"step": epoch, "epoch": epoch, "val/elbo": -1e7 * epoch} for epoch in (1, 2, 3)]
    (diverged / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = summary_of(diverged)
    summary["metrics"] |= {"val/elbo": -1e7, "test/elbo": -1e7}
    (diverged / "summary.json").write_text(json.dumps(summary))
    write_page([tmp_path], tmp_path / "page.html")
    page = opened(tmp_path / "page.html")
    assert page.locator("tbody tr").count() == lines(page, "elbo") == 5
    bottom, right = page.locator("#elbo").evaluate("n => [n._fullLayout.yaxis.range[0], n._fullLayout.xaxis.range[1]]")
    assert bottom > -1000
    assert right < 4
    see_parallel(page)
    of_axis = "node => Object.fromEntries(node.data[0].dimensions.map(({ label, values }) => [label, values]))"
    values = page.locator("#parallel").evaluate(of_axis)
    assert len(values["val ELBO"]) == 4
    assert min(values["val ELBO"]) > -1000
    page.fill("#filter", "lr=30")  # alone it has axes of its own
    assert page.locator("#elbo").evaluate("node => node._fullLayout.xaxis.range[1]") > 8


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_no_width_needs_to_be_scrolled_sideways(width, scheme, opened, page_file):
    page = opened(page_file, width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for chart in ("elbo", "reconstruction", "kl"):
        assert page.locator(f"#{chart} .main-svg").first.bounding_box()["width"] > 250


def test_what_others_wrote_is_text(opened, tmp_path):
    for number in range(3):
        run_dir = made_up_run(tmp_path / f"<b>{number}", seed=number, status="failed", error=SPITEFUL)
        config = yaml.safe_load((run_dir / "config.yaml").read_text())
        config["model"] = {"<a href='https://example.org'>": f"<a href='https://example.org'>{number}</a>"}
        (run_dir / "config.yaml").write_text(yaml.safe_dump(config))
        summary = summary_of(run_dir)
        status = "finished" if number else SPITEFUL
        metrics = {"val/elbo": -number, "val/kl": 1}
        (run_dir / "summary.json").write_text(json.dumps({**summary, "status": status, "metrics": metrics}))
    write_page([tmp_path], tmp_path / "page.html")
    page = opened(tmp_path / "page.html")
    assert page.evaluate("window.taken") is None
    assert page.locator("a[href*=example], img[src*=example], a[*|href*=example]").count() == 0
    assert "<a href='https://example.org'>1</a>" in page.inner_text("#legend")
    assert "onerror=window.taken=1" in page.inner_text("tbody")
    see_parallel(page)
    assert "<a href=" in "".join(page.locator("#parallel .axis-title").all_text_contents())


def test_a_script_that_got_in_all_the_same_would_not_run(browser, page_file, tmp_path):
    (tmp_path / "page.html").write_text(
        page_file.read_text().replace("<main>", "<script>window.taken = 1</script><main>")
    )
    page = browser.new_page()
    with page.expect_console_message(lambda message: "Content Security Policy" in message.text):
        page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("window.taken") is None
    page.close()


@pytest.mark.parametrize("missing", ["summary", "metrics", "one run"])
def test_a_page_of_little_is_a_page(missing, opened, tmp_path):
    run_dir = made_up_run(tmp_path / "run")
    if missing == "summary":
        (run_dir / "summary.json").write_text("{")
    if missing == "metrics":
        (run_dir / "metrics.jsonl").unlink()
    write_page([run_dir], tmp_path / "page.html")
    page = opened(tmp_path / "page.html")
    assert page.locator("tbody tr").count() == 1
    assert page.inner_text("h1") == "One run"


@pytest.mark.slow
def test_two_hundred_runs_open_in_five_seconds_and_fit_in_twenty_megabytes(browser, opened, tmp_path):
    for number in range(200):
        setting = {"latent": 2 ** (1 + number % 8), "lr": 10 ** -(2 + number // 8 % 5 / 2), "seed": number // 40}
        made_up_pictures(made_up_run(tmp_path / "sweep" / str(number), epochs=40, **setting), number)
    main(["compare", str(tmp_path / "sweep"), "-o", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").stat().st_size < 20e6
    seconds = []
    for _ in range(2):  # the machine may have other work
        began = time.perf_counter()
        page = opened(tmp_path / "page.html")
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 5
    assert lines(page, "elbo") == 200
    see_parallel(page)
    assert page.locator("#parallel").evaluate("node => node.data[0].dimensions[0].values.length") == 200
    assert page.locator("#legend").bounding_box()["height"] < 250
    assert page.locator("figure").count() == 12
    page.click("#more")
    assert page.locator("figure").count() == 24


def test_the_command_says_where_the_page_is(runs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    main(["compare", str(runs), str(runs / "3")])
    assert capfd.readouterr().out == "13 runs in compare.html; open it in a browser\n"
    main(["compare", str(runs / "3"), "-o", "one.html"])
    assert Path("one.html").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 2, "nowhere is no folder"),
        (["."], 1, "holds no run"),
        (["RUN", "-o", "."], 2, "must be a file"),
        ([], 2, "required: DIR"),
    ],
)
def test_a_mistake_is_one_sentence(arguments, code, said, runs, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_info:
        main(["compare", *(str(runs) if argument == "RUN" else argument for argument in arguments)])
    err = capfd.readouterr().err
    assert exit_info.value.code == code
    assert said in err
    assert "Traceback" not in err


def test_a_page_that_cannot_be_written_leaves_the_one_before(runs, tmp_path, monkeypatch):
    output = tmp_path / "page.html"
    output.write_text("before")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_page([runs], output)
    assert output.read_text() == "before"


def test_pictures_are_given_to_the_best_runs_until_the_page_is_full(runs, tmp_path):
    write_page([runs], tmp_path / "page.html", most_pictures=150_000)
    text = (tmp_path / "page.html").read_text()
    assert "To keep the page small, only the first" in text
    assert text.count("data:image/webp") < 24


@pytest.fixture
def three_runs(tmp_path):
    """Three runs with samples and reconstructions, the first two with another picture."""
    for number in range(3):
        made_up_pictures(made_up_run(tmp_path / "sweep" / str(number), epochs=3, seed=number), number)
        if number < 2:
            Image.new("RGB", (900, 300), "red").save(tmp_path / "sweep" / str(number) / "kl_by_dimension.png")
    return tmp_path / "sweep"


def test_another_picture_of_the_runs_can_be_chosen(opened, three_runs, tmp_path):
    write_page([three_runs], tmp_path / "page.html")
    page = opened(tmp_path / "page.html")
    assert page.locator("figure").count() == 3
    assert page.locator("figure img").count() == 6
    assert page.locator("#picture option").all_inner_texts() == ["samples and reconstructions", "kl by dimension"]
    page.select_option("#picture", "kl_by_dimension")
    assert page.locator("figure").count() == page.locator("figure img").count() == 2
    assert page.locator("figure img").first.get_attribute("alt").startswith("kl by dimension of ")
    assert page.locator("figure img").first.evaluate("image => image.naturalWidth") == 640
    page.select_option("#picture", "")
    assert page.locator("figure img").count() == 6


def test_the_animations_of_the_best_runs_can_be_chosen_and_move(opened, three_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("vaelab.compare.page.ANIMATED", 2)
    frames = [Image.new("RGB", (466, 400), color) for color in ("red", "green", "blue")]
    for number in range(3):
        gif = three_runs / str(number) / "samples.gif"
        frames[0].save(gif, save_all=True, append_images=frames[1:], duration=[200, 200, 2000])
    write_page([three_runs], tmp_path / "page.html")
    page = opened(tmp_path / "page.html")
    page.select_option("#picture", label="samples by epoch")
    assert page.locator("figure img").count() == 2
    assert "Samples by epoch are those of 2 of the best 2." in page.inner_text("#pictures-hint")
    source = page.locator("figure img").first.get_attribute("src")
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as moving:
        assert (moving.format, moving.n_frames, moving.size) == ("WEBP", 3, (280, 240))
        moving.seek(2)
        moving.load()
        assert moving.info["duration"] == 2000
        assert np.asarray(moving.convert("RGB")).mean((0, 1)) == pytest.approx([0, 0, 255], abs=12)


@pytest.mark.parametrize(("size", "count", "frames"), [((30, 20), 60, 40), ((1000, 900), 2, None)])
def test_an_animation_larger_than_any_run_draws_is_cut_or_left_out(size, count, frames, tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(count, *size[::-1]), dtype=np.uint8)  # no frame is another
    pictures = [Image.fromarray(levels) for levels in noise]
    pictures[0].save(tmp_path / "samples.gif", save_all=True, append_images=pictures[1:])
    source = thumbnail(tmp_path / "samples.gif", 300)
    if frames is None:
        assert source is None
        return
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as moving:
        assert moving.n_frames == frames


def test_where_there_are_no_other_pictures_there_is_no_choice(opened, page_file):
    assert not opened(page_file).locator("#picture-choice").is_visible()


def test_the_other_pictures_are_those_of_the_best_runs(three_runs, tmp_path, monkeypatch):
    monkeypatch.setattr("vaelab.compare.page.BEST", 1)
    for number in range(3):
        shutil.copy(three_runs / str(number) / "samples.png", three_runs / str(number) / "traversals.png")
        (three_runs / str(number) / "kl_by_dimension.png").unlink(missing_ok=True)
    write_page([three_runs], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert text.count("data:image/webp") == 2 * 3 + 1
    assert "only the best 1 have more than samples and reconstructions here" in text


def test_a_thumbnail_is_small_and_a_picture_that_is_none_is_left_out(tmp_path):
    Image.new("RGB", (900, 600), "red").save(tmp_path / "large.png")
    assert thumbnail(tmp_path / "large.png", 300).startswith("data:image/webp;base64,")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "large.png").read_bytes()[:60])
    Image.new("RGB", (30, 20), "red").save(tmp_path / "jpeg.png", "JPEG")
    Image.new("1", (5000, 5000)).save(tmp_path / "huge.png")
    for name in ("damaged", "jpeg", "huge", "missing"):
        assert thumbnail(tmp_path / f"{name}.png", 300) is None


@pytest.mark.parametrize("kind", ["link", "FIFO", "sparse", "folder"])
def test_an_untrusted_picture_is_neither_followed_nor_waited_for(kind, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "mine.png")
    path = tmp_path / "samples.png"
    if kind == "sparse":
        shutil.copy(tmp_path / "mine.png", path)
        os.truncate(path, 200 * 10**9)
    else:
        {"link": lambda: path.symlink_to("mine.png"), "FIFO": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    assert thumbnail(path, 300) is None
    assert thumbnail(tmp_path / "mine.png", 300) is not None


def test_a_run_with_an_explorer_is_linked(runs, opened, tmp_path):
    shutil.copytree(runs, tmp_path / "the runs")
    (tmp_path / "the runs/3/explore.html").write_text("<title>it</title>")
    (tmp_path / "the runs/4/explore.html").symlink_to(tmp_path / "the runs/3/explore.html")
    (tmp_path / "pages").mkdir()
    write_page([tmp_path / "the runs"], tmp_path / "pages/compare.html")
    page = opened(tmp_path / "pages/compare.html")
    (link,) = page.locator("tbody a:has-text('explore')").all()
    assert link.evaluate("link => link.href") == (tmp_path / "the runs/3/explore.html").as_uri()
