"""The explorer's page: in a browser it computes what the model does, and does all that it promises."""

import base64
import gzip
import json

import numpy as np
import pytest
import torch
from PIL import Image

from vaelab.cli.commands import main
from vaelab.errors import UserError
from vaelab.explore.networks import networks
from vaelab.explore.page import page, page_data
from vaelab.ops import unit_interval
from vaelab.run.load import load_run

pytest.importorskip("onnxruntime", reason="needs the extra onnx")
SHORT = ("dataset=digits", "logger=local", "trainer.max_steps=30", "trainer.pictures_every=0", "trainer.threads=1")
MODELS = {
    "normal": ("latent.dim=5",),
    "plane": ("latent.dim=2", "dataset.binarize=none", "likelihood=logistic"),
    "conditional": ("conditional=labels", "prior=mixture"),
    "ladder": ("model=ladder", "model.channels=[8,8]", "model.blocks=[1,1]", "model.groups=[1,1]"),
    "codes": ("experiment=vq_vae", "dataset=digits"),
    "flow": ("posterior=flow",),
}
SPHERE = ("posterior=von_mises_fisher", "prior=uniform_sphere")


@pytest.fixture(scope="module")
def explored(tmp_path_factory):
    """Trains one model of each kind for a moment, once, and gives the run with its page."""
    made = {}

    def of(name, inline):
        if name not in made:
            run_dir = tmp_path_factory.mktemp("explored") / name
            code, _, err = inline(*SHORT, *MODELS[name], f"hydra.run.dir={run_dir}")
            assert code == 0, err
            main(["explore", str(run_dir)])
            made[name] = load_run(run_dir), run_dir / "explore.html"
        return made[name]

    return of


@pytest.fixture
def shown(explored, inline, opened):
    """A run, and its page once it is ready."""

    def of(name, **options):
        run, path = explored(name, inline)
        found = opened(path, **options)
        found.evaluate("() => explorer.ready")
        return run, found

    return of


def data_of(run):
    return page_data(run, networks(run.model, run.facts)["encode"])


def decoded(found, u, temperature=None, y=0):
    call = "async ([u, t, y]) => Array.from((await explorer.decode(Float32Array.from(u), "
    call += "{temperature: t ?? explorer.state.temperature, y})).images)"
    return np.array(found.evaluate(call, [u.ravel().tolist(), temperature, y]))


def encoded(found, x, noise, y=0):
    call = "async ([x, n, y]) => Object.fromEntries(Object.entries(await explorer.encode(Float32Array.from(x), "
    call += "Float32Array.from(n), y)).map(([name, values]) => [name, Array.from(values)]))"
    return found.evaluate(call, [x.ravel().tolist(), noise.ravel().tolist(), y])


@pytest.mark.parametrize("name", [name for name in MODELS if name != "ladder"])
def test_its_numbers_are_those_of_the_model(shown, name):
    run, found = shown(name)
    rng = np.random.default_rng(0)
    x = rng.integers(2, size=(1, 1, 8, 8)).astype(np.float32)
    y = torch.tensor([3]) if run.model.takes_labels else None
    z = run.encode(x, y)
    there = encoded(found, x, np.zeros(run.model.latent_dim), 3)
    np.testing.assert_allclose(there["u"], z[0], atol=1e-4)
    other = rng.standard_normal((4, run.model.latent_dim)).astype(np.float32)
    labels = None if y is None else torch.full((4,), 3)
    np.testing.assert_allclose(decoded(found, other, y=3), run.decode(other, labels).ravel(), atol=1e-4)
    if "std" in there:
        np.testing.assert_allclose(there["std"], (0.5 * run.posterior(x, y).log_var).exp()[0], atol=1e-4)


def choose_by_keys(found):
    """Choose an image of the map, and wait until it is encoded."""
    found.focus("#map")
    for key in ("ArrowRight", "Enter"):
        found.keyboard.press(key)
    found.wait_for_function("() => explorer.state.own !== null")


def test_the_kl_of_an_image_is_that_of_its_posterior(shown):
    run, found = shown("normal")
    x = np.random.default_rng(1).integers(2, size=(1, 1, 8, 8)).astype(np.float32)
    there = encoded(found, x, np.zeros(5))
    np.testing.assert_allclose(there["kl"], run.posterior(x).kl(run.model.prior_of())[0], atol=1e-4)


@pytest.mark.slow
def test_a_ladder_decodes_noise_at_the_temperature_of_each_group(shown):
    run, found = shown("ladder")
    noise = np.random.default_rng(0).standard_normal((3, run.model.latent_dim)).astype(np.float32)
    groups = torch.from_numpy(noise)[None].split(run.model.dims, -1)
    with torch.no_grad():
        params = run.model.decode_noise(groups, [0.5, 1.25])[0]
    np.testing.assert_allclose(decoded(found, noise, [0.5, 1.25]), run.model.likelihood.mean(params).ravel(), atol=1e-4)
    x = np.random.default_rng(1).integers(2, size=(1, 1, 8, 8)).astype(np.float32)
    u = np.array(encoded(found, x, np.zeros(run.model.latent_dim))["u"])
    np.testing.assert_allclose(decoded(found, u, [1, 1]), run.reconstruct(x).ravel(), atol=1e-3)


def test_the_sliders_stand_by_their_kl_and_move_the_image(shown):
    _, found = shown("normal")
    names = found.locator("#sliders input").evaluate_all("inputs => inputs.map(input => input.id)")
    kl = found.evaluate("() => explorer.data.kl")
    assert names == [f"z{index + 1}" for index in np.argsort(kl)[::-1]]
    before = found.locator("#image").evaluate("canvas => canvas.toDataURL()")
    found.locator("#sliders input").first.focus()
    for _ in range(20):
        found.keyboard.press("ArrowRight")
    found.wait_for_function("before => document.getElementById('image').toDataURL() !== before", arg=before)
    assert found.evaluate("index => explorer.state.u[index]", int(names[0][1:]) - 1) == pytest.approx(1)
    found.click("#reset")
    found.wait_for_function("before => document.getElementById('image').toDataURL() === before", arg=before)


def test_a_slider_reaches_what_is_shown(shown):
    _, found = shown("normal")
    sliders = "[...document.querySelectorAll('#sliders input')]"
    reached = f"() => {sliders}.map(each => [each.max, each.value].map(Number))"
    assert all(largest >= 3 for largest, _ in found.evaluate(reached))
    found.evaluate("() => { explorer.state.u[0] = -7.3; }")
    found.focus("#z2")
    found.keyboard.press("ArrowRight")
    found.wait_for_function(f"() => ({reached})().some(([largest, value]) => largest === 8 && value === -7.3)")


def test_a_draw_is_from_the_prior_and_the_temperature_scales_it(shown):
    _, found = shown("normal")
    found.click("#draw")
    found.wait_for_function("() => explorer.state.u.some(value => value !== 0)")
    found.locator("#temperatures input").fill("0")
    found.click("#draw")
    found.wait_for_function("() => explorer.state.u.every(value => value === 0)")


def test_an_image_of_the_map_sets_the_sliders_and_a_way_leads_to_another(shown):
    _, found = shown("normal")
    choose_by_keys(found)
    u, own = found.evaluate("() => [Array.from(explorer.state.u), Array.from(explorer.state.own.u)]")
    assert u == pytest.approx(own, abs=1e-4)
    cells = found.locator("#terms td").all_inner_texts()
    terms = dict(zip(cells[::3], cells[1::3], strict=True))
    assert float(terms["ELBO"]) == pytest.approx(float(terms["reconstruction"]) - float(terms["KL"]), abs=0.02)
    box = found.locator("#map").bounding_box()
    found.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    found.mouse.down()
    found.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5, steps=4)
    found.mouse.up()
    found.wait_for_function("u => explorer.state.u.some((value, index) => Math.abs(value - u[index]) > 1e-3)", arg=u)


def test_with_keys_one_goes_to_what_lies_beside_and_plays_the_way_to_it(shown):
    _, found = shown("normal")
    choose_by_keys(found)
    place = "() => explorer.placeOf(explorer.map.chosen)"
    start = found.evaluate(place)
    found.keyboard.press("ArrowRight")
    right = found.evaluate(place)
    assert right[0] - start[0] >= abs(right[1] - start[1])
    assert right[0] > start[0]
    found.keyboard.press("ArrowUp")
    assert found.evaluate(place)[1] < right[1]
    found.keyboard.press("Shift+Enter")
    found.wait_for_function(
        "() => explorer.latentOf(explorer.map.chosen).every((z, index) => Math.abs(z - explorer.state.u[index]) < 1e-5)"
    )
    assert found.evaluate("() => explorer.map.decoded === explorer.map.chosen")
    assert found.evaluate("() => explorer.state.own") is None, "the image of before is no longer that of the sliders"
    assert found.locator("#terms td").count() == 0


def test_a_picture_of_ones_own_is_encoded(shown, tmp_path):
    run, found = shown("normal")
    Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))).save(tmp_path / "mine.png")
    found.set_input_files("#file", tmp_path / "mine.png")
    found.wait_for_function("() => explorer.state.own !== null")
    x = np.zeros((1, 1, 8, 8), np.float32)
    x[..., 4:] = 1  # black and white at the middle grey
    np.testing.assert_allclose(found.evaluate("() => Array.from(explorer.state.own.u)"), run.encode(x)[0], atol=1e-4)
    assert found.locator(".band:visible").count() == 5
    (tmp_path / "none.png").write_text("no picture")
    found.set_input_files("#file", tmp_path / "none.png")
    found.wait_for_selector("#own-error:has-text('no picture that this browser can show')")
    found.click("#clear")
    assert found.locator("#own-error").inner_text() == ""


@pytest.mark.parametrize("later", ["#clear", "#reset"])
def test_what_comes_later_wins_over_an_image_that_is_still_encoded(shown, later):
    _, found = shown("normal")
    found.evaluate(
        """async (later) => {
            const waiting = explorer.ownImage(new Float32Array(64).fill(1), true);
            document.querySelector(later).click();
            await waiting;
        }""",
        later,
    )
    found.wait_for_function("() => !explorer.state.busy")
    assert found.evaluate("() => explorer.state.u.every(value => value === 0)")
    assert found.evaluate("() => explorer.state.own === null") == (later == "#clear")


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_the_image_stays_in_sight_beside_the_last_slider(shown, width):
    _, found = shown("normal", width=width)
    found.locator("#sliders canvas").last.scroll_into_view_if_needed()
    assert found.evaluate("() => scrollY") > 0
    box, height = found.locator("#image").bounding_box(), found.evaluate("() => innerHeight")
    assert 0 <= box["y"] < box["y"] + box["height"] <= height


def test_a_drawing_is_encoded_when_the_pen_is_lifted(shown):
    _, found = shown("normal")
    box = found.locator("#given").bounding_box()
    found.locator("#given").scroll_into_view_if_needed()
    box = found.locator("#given").bounding_box()
    found.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.2)
    found.mouse.down()
    found.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.8, steps=6)
    found.mouse.up()
    found.wait_for_function("() => explorer.state.own !== null")
    assert found.locator("#terms tr").count() == 3


def test_a_class_is_chosen(shown):
    run, found = shown("conditional")
    found.select_option("#class", "7")
    u = np.zeros((1, run.model.latent_dim), np.float32)
    expected = run.decode(u, torch.tensor([7])).ravel()
    found.wait_for_function("() => explorer.state.y === 7 && !explorer.state.busy")
    image = found.evaluate("async () => Array.from((await explorer.decode(explorer.state.u, explorer.state)).images)")
    np.testing.assert_allclose(image, expected, atol=1e-4)
    choose_by_keys(found)
    before = found.inner_text("#terms")
    found.select_option("#class", str((found.evaluate("() => explorer.state.y") + 1) % 10))
    found.wait_for_function("before => document.getElementById('terms').innerText !== before", arg=before)


def test_a_draw_is_of_the_prior_of_its_class_where_the_page_cannot_draw_itself(shown):
    run, found = shown("conditional")
    packed = data_of(run)["draws"]
    stored = np.frombuffer(gzip.decompress(base64.b64decode(packed["latents"])), np.float32)
    of_seven = stored.reshape(5, 10, packed["count"], run.model.latent_dim)[packed["temperatures"].index(1.0), 7]
    found.select_option("#class", "7")
    found.click("#draw")
    found.wait_for_function("() => explorer.state.u.some(value => value !== 0)")
    u = np.array(found.evaluate("() => Array.from(explorer.state.u)"))
    assert np.abs(of_seven - u).max(1).min() < 1e-6


@pytest.mark.slow
def test_a_model_that_onnx_cannot_tell_is_refused_in_one_sentence(inline, tmp_path, capfd):
    code, _, err = inline(*SHORT, *SPHERE, "hydra.run.dir=run")
    assert code == 0, err
    with pytest.raises(SystemExit):
        main(["explore", "run"])
    err = capfd.readouterr().err
    assert err.startswith("vaelab: the encode of this model cannot be told in ONNX (No ONNX function")
    assert err.count("\n") == 1
    assert not (tmp_path / "run/explore.html").exists()


def test_codes_are_painted(shown):
    run, found = shown("codes")
    table = run.model.posterior.prior().table.detach()
    found.locator("#palette button").nth(3).click()
    found.locator("#codes button").nth(2).click()
    found.wait_for_function("() => document.querySelectorAll('#codes button')[2].textContent === '3'")
    size = table.shape[1]
    u = found.evaluate("() => Array.from(explorer.state.u)")
    np.testing.assert_allclose(u[2 * size : 3 * size], table[3], atol=1e-6)


def test_two_dimensions_have_their_plane_behind_the_map(shown):
    _, found = shown("plane")
    found.wait_for_function("() => explorer.map.plane !== null")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(shown, scheme):
    _, found = shown("normal", width=390, color_scheme=scheme)
    assert found.evaluate("() => document.documentElement.scrollWidth") <= 390


def test_what_the_data_holds_cannot_run(explored, inline, opened, tmp_path):
    run, _ = explored("normal", inline)
    spiteful = "</script><script>window.taken=1</script><img src=x onerror=window.taken=1>"
    data = {**data_of(run), "title": spiteful, "setting": spiteful, "labelNames": [spiteful] * 10}
    (tmp_path / "page.html").write_text(page(data, {}))
    found = opened(tmp_path / "page.html")
    found.wait_for_selector("#status:has-text('could not start')")  # without networks
    assert found.evaluate("() => window.taken") is None


def test_the_images_are_those_that_the_model_saw(explored, inline):
    run, _ = explored("normal", inline)
    data = data_of(run)
    levels = np.frombuffer(gzip.decompress(base64.b64decode(data["images"])), np.uint8).reshape(-1, 1, 8, 8)
    latents = np.frombuffer(gzip.decompress(base64.b64decode(data["latents"])), np.float32).reshape(-1, 5)
    assert len(levels) == 297
    np.testing.assert_allclose(latents, run.encode(unit_interval(torch.from_numpy(levels.copy()))), atol=1e-5)


@pytest.mark.slow
def test_a_run_that_asks_for_it_has_its_page(inline, tmp_path):
    np.save(tmp_path / "faces.npy", np.zeros((100, 8, 8), np.uint8))
    own = ("dataset=array", "dataset.path=faces.npy", "dataset.root=data", *SHORT[1:])
    code, out, err = inline(*own, "logger.explore=true", "hydra.run.dir=run")
    assert code == 0, err
    assert (tmp_path / "run/explore.html").stat().st_size > 5_000_000
    assert '"title":"mlp on faces","setting":"faces, ' in (tmp_path / "run/explore.html").read_text()
    assert "explorer       " in out and "run/explore.html" in out


def test_a_page_that_cannot_be_made_costs_no_run(inline, tmp_path, monkeypatch):
    def refused(run, output):
        raise UserError("the decoder cannot be told in ONNX")

    monkeypatch.setattr("vaelab.explore.page.write_page", refused)
    code, out, err = inline(*SHORT, "logger.explore=true", "hydra.run.dir=run")
    assert code == 0
    assert "no explorer: the decoder cannot be told in ONNX" in out + err
    assert json.loads((tmp_path / "run/summary.json").read_text())["status"] == "finished"
