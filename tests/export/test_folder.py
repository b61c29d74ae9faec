"""An exported folder computes what the model does, says what it is, and is loaded where it lies."""

import numpy as np
import pytest
import torch
import yaml

from vaelab.cli.commands import main
from vaelab.errors import UserError
from vaelab.export import formats
from vaelab.export.folder import export
from vaelab.export.networks import PARTS, Direction
from vaelab.run.load import load_run

MODELS = {
    "mlp": (),
    "conv": ("model=conv", "dataset.binarize=none", "likelihood=dmol"),
    "resnet in bfloat16": ("model=resnet", "trainer.precision=bfloat16"),
    "ladder": ("model=ladder", "model.channels=[8,8]", "model.blocks=[1,1]", "model.groups=[1,1]"),
    "conditional": ("conditional=labels",),
    "sphere": ("posterior=von_mises_fisher", "prior=uniform_sphere"),
    "flow": ("posterior=flow",),
    "codes": ("experiment=vq_vae", "dataset=digits"),
    "learned sigma": ("likelihood=gaussian", "likelihood.sigma=learned", "dataset.binarize=none"),
}


def onnx(path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda *given: [torch.from_numpy(found) for found in session.run(None, dict(zip(names, given, strict=True)))]


def torch_program(path):
    program = torch.export.load(path).module()
    return lambda *given: program(*map(torch.from_numpy, given))


@pytest.mark.parametrize(("kind", "suffix", "load"), [("onnx", "onnx", onnx), ("torch", "pt2", torch_program)])
@pytest.mark.parametrize("name", MODELS)
def test_the_networks_compute_what_the_model_does_for_any_number_of_images(trained, tmp_path, name, kind, suffix, load):
    run = trained(*MODELS[name])
    if name == "sphere" and kind == "onnx":  # its quantiles need a function that ONNX has not
        with pytest.raises(
            UserError, match=r"the encoder of this model cannot be told in ONNX \(No ONNX function .*igamma"
        ):
            export(run, kind, PARTS, tmp_path / "out")
        return
    export(run, kind, PARTS, tmp_path / "out")
    for count in (1, 7):
        rng = np.random.default_rng(count)
        x = rng.random((count, 1, 8, 8), dtype=np.float32)
        labels = (rng.integers(10, size=count),) if run.model.takes_labels else ()
        y = torch.from_numpy(labels[0]) if labels else None
        run.model.bfloat16 = False
        encoded = load(tmp_path / f"out/encoder.{suffix}")(x, *labels)
        torch.testing.assert_close(encoded[0], run.encode(x, y), atol=1e-4, rtol=1e-4)
        if len(encoded) == 2:
            std = (0.5 * run.posterior(x, y).log_var).exp()
            torch.testing.assert_close(encoded[1], std, atol=1e-4, rtol=1e-4)
        (images,) = load(tmp_path / f"out/decoder.{suffix}")(encoded[0].numpy(), *labels)
        torch.testing.assert_close(images, run.reconstruct(x, y), atol=1e-4, rtol=1e-4)


def test_a_folder_of_weights_is_a_run(trained, tmp_path):
    run = trained()
    export(run, "safetensors", PARTS, tmp_path / "out")
    again = load_run(tmp_path / "out")
    assert torch.equal(again.sample(5, seed=1), run.sample(5, seed=1))
    assert again.recorded("test") == run.recorded("test")
    (tmp_path / "out/checkpoints/best.pt").unlink()
    with pytest.raises(UserError, match=r"best.pt is not there, which a run is loaded from; copy it too"):
        load_run(tmp_path / "out")


def test_the_card_says_what_the_run_is_and_what_it_reached(trained, tmp_path):
    run = trained("latent.dim=7")
    files = export(run, "safetensors", PARTS, tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "vaelab",
        "tags": ["variational-autoencoder", "mlp", "digits", "elbo"],
    }
    assert f"| test | ELBO | {run.recorded('test')['elbo']:.2f} | nats per image |" in body
    assert "images (1, 8, 8) with 7 latent dimensions" in body
    assert "binarize dynamic" in body
    told = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])
    assert told == {key: value for key, value in run.config.items() if key != "logger"}
    assert all(f"`{file}`" in body for file in files if file != "README.md")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "onnx"])
@pytest.mark.parametrize(
    ("parts", "given", "shape"), [(PARTS, "images", (10, 1, 8, 8)), (["encoder"], "z", (10, 20))], ids=["both", "one"]
)
def test_the_example_of_the_card_runs(trained, tmp_path, monkeypatch, kind, parts, given, shape):
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    export(trained("conditional=labels"), kind, parts, tmp_path / "out")
    example = (tmp_path / "out/README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path / "out")
    names = {}
    exec(example, names)
    assert names[given].shape == shape


def test_a_config_cannot_break_out_of_the_card(trained, tmp_path):
    run = trained()
    run.config["choices"]["model"] = "```\n# not a title"
    export(run, "torch", ["decoder"], tmp_path / "out")
    assert "````yaml\n" in (tmp_path / "out/README.md").read_text()


@pytest.mark.slow
def test_one_part_alone_is_exported_where_it_is_asked_for(trained, tmp_path):
    export(trained(), "torch", ["decoder"], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").glob("*.pt2")} == {"decoder.pt2"}
    with pytest.raises(UserError, match="leave --part out"):
        export(trained(), "safetensors", ["decoder"], tmp_path / "other")


class LogSigmoid(torch.nn.Module):
    def forward(self, x):
        return (torch.log(torch.sigmoid(x)),)


@pytest.mark.slow
def test_small_probabilities_keep_their_digits_in_onnx(tmp_path):
    x = torch.linspace(-80, 20, 202)[:, None]
    formats.write_onnx(Direction(LogSigmoid(), (x,), ("x",), ("log_p",)), tmp_path / "p.onnx")
    (log_p,) = onnx(tmp_path / "p.onnx")(x.numpy())
    np.testing.assert_allclose(log_p, torch.nn.functional.logsigmoid(x), atol=1e-6, rtol=1e-6)


def test_a_file_that_computes_something_else_is_not_kept(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match=r"decoder\.pt2 should compute what the model does, and is .* off"):
        export(trained(), "torch", ["decoder"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_nothing_that_is_there_is_overwritten(trained, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").touch()
    for output in (tmp_path / "out", tmp_path / "out/mine.txt", tmp_path / "nowhere/out"):
        with pytest.raises(UserError, match="the output must") as raised:
            export(trained(), "torch", PARTS, output)
        assert raised.value.exit_code == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_link_in_a_run_of_somebody_else_is_not_followed(trained, tmp_path):
    run, secret = trained(), tmp_path / "secret"
    secret.write_text("mine")
    (run.path / "samples.png").unlink(missing_ok=True)
    (run.path / "samples.png").symlink_to(secret)
    with pytest.raises(UserError, match=r"samples\.png"):
        export(run, "torch", ["decoder"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_names_the_folder_after_the_run(trained, tmp_path, capfd):
    run = trained()
    main(["export", str(run.path), "--format", "torch", "--part", "decoder"])
    assert f"decoder.pt2, metrics.jsonl, summary.json, README.md in {run.path.name}-torch" in capfd.readouterr().out
    assert (tmp_path / f"{run.path.name}-torch/decoder.pt2").exists()
