"""A config becomes objects or one sentence; an untrusted config runs no code of its own."""

import pickle
import sys
from functools import partial
from types import ModuleType, SimpleNamespace

import pytest
import torch

from helpers.fakes import labelled_vae, small_dataset, small_split, small_vae
from vaelab.dataset.images import Dataset, Split
from vaelab.errors import UserError
from vaelab.likelihood.bernoulli import BernoulliLikelihood
from vaelab.machine.device import pick_device
from vaelab.objective.elbo import ELBO
from vaelab.parts import Facts
from vaelab.posterior.gaussian import GaussianPosterior
from vaelab.prior.normal import NormalPrior
from vaelab.run.build import Builder, check_pixels
from vaelab.run.node import NodeBuilder, UnknownKeyError
from vaelab.vae import VAE

SHAPES = {"image_shape": (1, 8, 8), "latent_dim": 3, "out_channels": 1}
FACTS = Facts((1, 8, 8), 10, 1300)
MLP = {"_target_": "vaelab.model.mlp.networks", "hidden": [8], "activation": "relu"}


@pytest.fixture
def config(compose):
    """A run on the digits, on the CPU."""
    return compose("dataset=digits", "logger=local", "model.hidden=[8]", "latent.dim=3", "trainer.device=cpu")


def build_model(node, trusted=None):
    return NodeBuilder({"model": node}, trusted).build("model", **SHAPES)


def refusal(call):
    """The one sentence with which a call is refused."""
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Objects


def test_a_config_becomes_the_objects_of_a_run(config):
    setup = Builder(config, trusted=None).setup()
    assert isinstance(setup.model, VAE)
    assert setup.dataset.name == "digits"
    assert isinstance(setup.optimizer, torch.optim.Adam)
    held = {id(parameter) for group in setup.optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in setup.model.parameters()}
    assert setup.schedule(5, 10) == 1
    assert (setup.objective.beta, setup.config.batch_size, setup.seed) == (1.0, 32, 0)


def test_a_saved_config_of_vaelabs_own_parts_is_built(config):
    assert isinstance(Builder(config, trusted=()).setup().model, VAE)


def test_building_leaves_the_config_as_it_was(config):
    before = repr(config)
    Builder(config, trusted=()).setup()
    assert repr(config) == before


def weights(config, seed):
    return torch.nn.utils.parameters_to_vector(Builder(config, None).model(FACTS, seed).parameters())


def test_the_weights_are_a_function_of_the_seed(config):
    torch.manual_seed(1)
    first = weights(config, seed=0)
    torch.manual_seed(2)
    assert torch.equal(weights(config, seed=0), first)
    assert not torch.equal(weights(config, seed=1), first)


def test_building_does_not_change_torchs_generator(config):
    before = torch.get_rng_state()
    Builder(config, trusted=None).setup()
    assert torch.equal(torch.get_rng_state(), before)


# Targets of a saved config


@pytest.mark.parametrize(
    ("part", "target"),
    [
        ("model", "os.system"),
        ("model", "builtins.eval"),
        ("model", "pathlib.Path.touch"),
        ("model", "vaelab.model.mlp.math.prod"),
        ("model", "vaelab.model.mlp.Sequence"),
        ("model", "vaelab.dataset.digits.load"),
        ("model", "vaelab.modelling.networks"),
        ("model", "vaelab.model"),
        ("model", "vaelab.model."),
        ("model", ""),
        ("model", 5),
        ("trainer", "vaelab.training.loop.torch.hub.load"),
        ("trainer", "vaelab.training.loop.checkpoint.load"),
        ("trainer", "vaelab.training.loop.Path"),
        ("trainer", "vaelab.training.loop.draw_pictures"),
        ("trainer", "vaelab.training.loop.Trainer.__init__"),
        ("dataset", "vaelab.dataset.images.os.system"),
        ("dataset", "vaelab.dataset.digits.generator"),
        ("dataset", "vaelab.dataset.digits.torch.load"),
        ("logger", "vaelab.run.logger.write_text"),
        ("logger", "vaelab.run.logger.os.system"),
        ("optimizer", "torch.optim.swa_utils.torch.load"),
        ("optimizer", "torch.optim.swa_utils.deepcopy"),
        ("optimizer", "torch.optim.optimizer.functools.partial"),
        ("optimizer", "torch.hub.load"),
        ("optimizer", "torch.optimizers.Adam"),
    ],
)
def test_a_target_outside_vaelabs_folder_for_the_part_is_refused(part, target):
    builder = NodeBuilder({part: {"_target_": target, "hidden": [8]}}, trusted=())
    assert f"{part}._target_" in refusal(lambda: builder.build(part))


def touch(path):
    return {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [str(path)]}]}


@pytest.mark.parametrize(
    "wrap",
    [lambda node: node, lambda node: [node], lambda node: [[8], {"inner": node}], lambda node: {"a": {"b": [node]}}],
)
def test_a_target_inside_a_node_is_refused_before_it_runs(wrap, tmp_path):
    sentence = refusal(lambda: build_model({**MLP, "hidden": wrap(touch(tmp_path / "marker"))}, trusted=()))
    assert "pathlib" in sentence
    assert not (tmp_path / "marker").exists()


def test_the_dangerous_node_is_one(tmp_path):
    refusal(lambda: build_model({**MLP, "hidden": touch(tmp_path / "marker")}, trusted=None))
    assert (tmp_path / "marker").exists()


def test_an_interpolation_cannot_bring_in_a_target(tmp_path):
    path = f"{{_target_:pathlib.Path,_args_:['{tmp_path / 'marker'}']}}"
    hidden = f"${{oc.create:{{_target_:pathlib.Path.touch,_args_:[{path}]}}}}"
    refusal(lambda: build_model({**MLP, "hidden": hidden}, trusted=()))
    assert not (tmp_path / "marker").exists()


def test_an_interpolation_cannot_read_the_environment(monkeypatch):
    monkeypatch.setenv("SOME_SECRET", "the secret itself")
    sentence = refusal(lambda: build_model({**MLP, "hidden": "${oc.env:SOME_SECRET}"}, trusted=()))
    assert "the secret itself" not in sentence


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A module of the person's own, outside vaelab, that re-exports a dangerous function."""
    (tmp_path / "our_parts.py").write_text(
        "from os import system\n"
        "from vaelab.model.mlp import networks as mlp\n\n"
        "def networks(image_shape, latent_dim, out_channels):\n"
        "    return mlp(image_shape, latent_dim, out_channels, [4], 'tanh')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "our_parts"
    sys.modules.pop("our_parts", None)


@pytest.mark.parametrize("trusted", [("our_parts",), ("other", "our_parts"), None])
def test_a_trusted_package_is_built(trusted, package):
    encoder, _ = build_model({"_target_": f"{package}.networks"}, trusted)
    assert encoder.out_features == 4


@pytest.mark.parametrize("trusted", [(), ("our",), ("our_parts.networks",), ("our_parts_too",)])
def test_a_package_that_is_not_trusted_is_not_even_imported(trusted, package):
    sentence = refusal(lambda: build_model({"_target_": f"{package}.networks"}, trusted))
    assert "trust=[our_parts]" in sentence
    assert package not in sys.modules


@pytest.mark.parametrize("target", ["our_parts.system", "our_parts.os.system", "os.system"])
def test_trust_in_a_package_is_none_in_what_it_imports(target, package):
    assert "model._target_" in refusal(lambda: build_model({"_target_": target}, (package,)))


# Mistakes


def test_an_unknown_key_is_named_with_the_nearest_one():
    with pytest.raises(UnknownKeyError, match="model has no key 'hiden'; did you mean 'hidden'") as raised:
        build_model({**MLP, "hiden": [8]})
    assert (raised.value.node, raised.value.key) == ("model", "hiden")


def test_an_unknown_key_far_from_all_others_is_named_with_all_of_them():
    assert refusal(lambda: build_model({**MLP, "zzz": 1})) == "model has no key 'zzz'; it takes activation, hidden"


@pytest.mark.parametrize("key", SHAPES)
def test_what_only_the_run_knows_is_no_key(key):
    assert f"model has no key {key!r}" in refusal(lambda: build_model({**MLP, key: 1}))


@pytest.mark.parametrize("key", ["hidden", "activation"])
def test_a_missing_key_is_named(key):
    node = {name: value for name, value in MLP.items() if name != key}
    assert f"model needs the key {key!r}" in refusal(lambda: build_model(node))


@pytest.mark.parametrize("node", [None, "mlp", [], {}, {"hidden": [8]}])
def test_a_part_that_is_no_option_of_its_group_is_refused(node):
    assert "model must be one of the options of its group" in refusal(lambda: build_model(node))


@pytest.mark.parametrize(
    "target", ["vaelab.model.mlp.network", "vaelab.model.mpl.networks", "nowhere.f", "mlp", "", 5, "vaelab.model.mlp"]
)
def test_a_target_that_is_no_class_and_no_function_is_refused(target):
    import vaelab.model.mlp  # noqa: F401 - then `vaelab.model.mlp` is there, and is a module

    assert "model._target_ must name a class or a function" in refusal(lambda: build_model({"_target_": target}))


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("hidden", [], "model.hidden must be"),
        ("hidden", [8, 0], "model.hidden must be"),
        ("activation", "rellu", "did you mean 'relu'"),
    ],
)
def test_a_value_out_of_range_is_one_sentence_that_names_the_node_and_the_key(key, value, sentence):
    assert sentence in refusal(lambda: build_model({**MLP, key: value}))


@pytest.mark.parametrize(("key", "value"), [("betas", 0.9), ("eps", "small"), ("weight_decay", "x"), ("eps", -1.0)])
def test_a_value_that_torch_refuses_is_one_sentence_that_names_the_node(key, value, config):
    config["optimizer"][key] = value
    assert refusal(Builder(config, None).setup).startswith("optimizer")


LBFGS = {"_target_": "torch.optim.LBFGS", "lr": 1.0}


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"nesterov": 0}, "optimizer.nesterov must be true or false, got 0"),
        ({"nesterov": None}, "optimizer.nesterov must be true or false, got None"),
        ({"fused": "relu"}, "optimizer.fused must be true or false, got 'relu'"),
        ({"foreach": 1.0}, "optimizer.foreach must be true or false, got 1.0"),
        ({"dampening": "x"}, "optimizer.dampening must be a finite number, got 'x'"),
        ({"dampening": 10**400}, "optimizer.dampening must be a finite number, got 1000"),
        ({"momentum": True}, "optimizer.momentum must be a finite number, got True"),
        ({"differentiable": True}, "optimizer must make a step with these settings, got RuntimeError: a leaf"),
        (LBFGS, "missing 1 required positional argument: 'closure'"),
    ],
)
def test_an_optimizer_that_would_fail_at_its_first_step_is_refused(node, sentence, config):
    node = {"_target_": "torch.optim.SGD", "lr": 0.1, **node}
    assert sentence in refusal(Builder({**config, "optimizer": node}, trusted=()).setup)


def test_a_flag_that_torch_chooses_itself_may_be_null(config):
    node = {"_target_": "torch.optim.SGD", "lr": 0.1, "fused": None, "foreach": None, "nesterov": False}
    assert isinstance(Builder({**config, "optimizer": node}, trusted=()).setup().optimizer, torch.optim.SGD)


@pytest.mark.parametrize("lr", [float("inf"), float("nan"), 0, 0.0, -0.1, "fast", None, True])
def test_a_learning_rate_that_is_no_positive_number_is_refused(lr, config):
    config["optimizer"]["lr"] = lr
    assert "optimizer.lr must be a finite number above 0" in refusal(Builder(config, None).setup)


@pytest.mark.parametrize("dim", [0, -1, 2.5, True, "20", None])
def test_a_latent_size_that_is_no_positive_integer_is_refused(dim, config):
    config["latent"]["dim"] = dim
    assert "latent.dim must be an integer of at least 1" in refusal(Builder(config, None).setup)


@pytest.mark.parametrize("seed", [-1, 0.5, "zero", None])
def test_a_seed_that_is_no_count_is_refused(seed, config):
    config["seed"] = seed
    assert "seed must be an integer of at least 0" in refusal(Builder(config, None).setup)


def test_a_validation_split_that_leaves_nothing_to_train_on_is_refused(config):
    config["dataset"]["val_size"] = 1500
    assert "dataset.val_size must be less than the 1,500" in refusal(Builder(config, None).setup)


@pytest.mark.parametrize("binarize", ["dynamic", "static"])
def test_a_likelihood_of_levels_on_binary_pixels_is_refused(binarize, config):
    config["dataset"]["binarize"] = binarize
    config["likelihood"] = {"_target_": "vaelab.likelihood.logistic.LogisticLikelihood"}
    sentence = refusal(Builder(config, None).setup)
    assert "LogisticLikelihood" in sentence
    assert f"digits with dataset.binarize={binarize} gives binary pixels" in sentence
    assert "dataset.binarize=none" in sentence


def model_of(pixels, takes_labels=False):
    return SimpleNamespace(likelihood=SimpleNamespace(pixels=pixels), takes_labels=takes_labels)


def test_a_likelihood_of_binary_pixels_on_levels_is_refused():
    sentence = refusal(lambda: check_pixels({}, model_of({"binary": "mass"}), small_dataset(binarize="none")))
    assert "gives levels pixels" in sentence
    assert "dataset.binarize=dynamic" in sentence


@pytest.mark.parametrize(("kind", "binarize"), [("levels", "none"), ("binary", "static"), ("binary", "dynamic")])
def test_a_likelihood_of_the_datasets_pixels_is_accepted(kind, binarize):
    check_pixels({}, model_of({kind: "mass"}), small_dataset(binarize=binarize))


def test_a_model_that_takes_labels_is_refused_where_there_are_none():
    model, bare = (
        model_of({"levels": "mass"}, True),
        Dataset("bare", lambda part: Split(small_split(9).images), 0, "none"),
    )
    assert "the model takes labels, and the training images of bare have none" in refusal(
        lambda: check_pixels({}, model, bare)
    )
    check_pixels({}, model, small_dataset())


# What only the run knows


@pytest.fixture
def own_parts(config, monkeypatch):
    """Builds the run's setup with functions of one's own as some of its parts."""

    def setup(**parts):
        monkeypatch.setitem(sys.modules, "our_own", SimpleNamespace(**parts))
        nodes = {name: {"_target_": f"our_own.{name}"} for name in parts}
        return Builder({**config, **nodes}, None).setup()

    return setup


def test_facts_go_by_name_to_the_parts_whose_signature_names_them(own_parts):
    given = {}

    def posterior(in_features, latent_dim, num_classes):
        given["posterior"] = in_features, latent_dim, num_classes
        return GaussianPosterior(in_features, latent_dim)

    def prior(latent_dim, image_shape):
        given["prior"] = latent_dim, image_shape
        return NormalPrior()

    def likelihood(image_shape):
        given["likelihood"] = image_shape
        return BernoulliLikelihood((1, 8, 8), centred=False)

    def objective(train_size, latent_dim):
        given["objective"] = train_size, latent_dim
        return ELBO(1.0, 0, 1)

    own_parts(posterior=posterior, prior=prior, likelihood=likelihood, objective=objective)
    shape = (1, 8, 8)
    assert given == {"posterior": (8, 3, 10), "prior": (3, shape), "likelihood": shape, "objective": (1300, 3)}


def test_a_model_may_be_whole_and_gets_the_likelihood(own_parts):
    given = {}

    def model(likelihood, latent_dim, out_channels, bfloat16):
        given.update(likelihood=type(likelihood), sizes=(latent_dim, out_channels), bfloat16=bfloat16)
        return small_vae(latent_dim, likelihood=likelihood)

    whole = own_parts(model=model).model
    assert given == {"likelihood": BernoulliLikelihood, "sizes": (3, 1), "bfloat16": False}
    assert whole.latent_dim == 3


def test_a_conditional_model_is_built_for_a_dataset_with_labels(own_parts):
    assert own_parts(model=labelled_vae).model.takes_labels


@pytest.fixture
def own_dataset(config, monkeypatch):
    """Builds the run's setup with what a function of one's own gives as its dataset."""

    def setup(made):
        module = ModuleType("our_data")
        module.load = lambda: made
        monkeypatch.setitem(sys.modules, "our_data", module)
        config["dataset"] = {"_target_": "our_data.load"}
        return Builder(config, None).setup()

    return setup


def test_what_is_no_dataset_is_refused(own_dataset):
    sentence = refusal(lambda: own_dataset({"train": small_split(5)}))
    assert "dataset must be a vaelab.dataset.images.Dataset, got dict; its _target_ must give one" in sentence


def test_images_that_are_no_levels_are_refused_before_the_training(own_dataset):
    good, bad = small_split(5), Split(small_split(5).images / 255)
    for splits in ({"train": bad, "test": good}, {"train": good, "test": bad}):
        dataset = Dataset("photos", splits.__getitem__, 0, "none")
        assert "of photos must have images that are a uint8 tensor" in refusal(partial(own_dataset, dataset))


def test_what_a_dataset_of_ones_own_says_at_its_reading_is_one_sentence(own_dataset):
    def read(part):
        raise ValueError("there is nothing in it")

    sentence = refusal(lambda: own_dataset(Dataset("photos", read, 0, "none")))
    assert sentence == "dataset: there is nothing in it"


# Devices


@pytest.fixture
def cpu_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_absent_is_refused_with_those_that_are_there(name, cpu_only):
    sentence = refusal(lambda: pick_device(name))
    assert f"trainer.device={name} is not on this machine, which has cpu" in sentence


@pytest.mark.parametrize("name", ["gpu", "auto:1", "", 0, None])
def test_a_device_that_does_not_exist_is_refused(name, cpu_only):
    assert "trainer.device" in refusal(lambda: pick_device(name))


def test_a_gpu_that_is_one_too_many_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda:1")
    assert "trainer.device=cuda:2 is not on this machine" in refusal(lambda: pick_device("cuda:2"))


@pytest.mark.parametrize(("present", "best"), [((), "cpu"), (("mps",), "mps"), (("cuda", "mps"), "cuda")])
def test_auto_takes_the_best_device_there_is(present, best, cpu_only, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in present)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in present)
    assert pick_device("auto") == torch.device(best)


def test_the_device_is_checked_before_the_dataset_is_read(config, cpu_only):
    config["trainer"]["device"] = "cuda"
    config["dataset"] = {"_target_": "vaelab.dataset.mnist.load", "root": "/nowhere", "val_size": 0, "binarize": "none"}
    assert "trainer.device=cuda" in refusal(Builder(config, None).setup)


def test_an_error_that_comes_from_another_process_is_whole():
    error = UnknownKeyError("model", "hiden", {"hidden", "activation"})
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.node, again.key) == (str(error), "model", "hiden")


@pytest.mark.parametrize(
    ("overrides", "warnings"),
    [
        (("dataset.binarize=none",), 1),
        ((), 0),
        (("dataset.binarize=none", "likelihood=logistic"), 0),
        (("dataset.binarize=none", "likelihood=gaussian"), 0),
    ],
)
def test_a_cross_entropy_is_told_from_a_likelihood_in_one_line(overrides, warnings, compose, caplog):
    config = compose("dataset=digits", "logger=local", "model.hidden=[8]", "latent.dim=3", *overrides)
    Builder(config, None).setup()
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == warnings
    assert all("BernoulliLikelihood on the 256 levels of digits is a cross-entropy" in line for line in lines)


@pytest.mark.parametrize(("present", "meant"), [((), "cuda"), (("mps",), "mps"), (("cuda",), "cuda")])
def test_gpu_means_the_gpu_there_is(present, meant, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "cuda" in present)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in present)
    sentence = refusal(lambda: pick_device("gpu"))
    assert f"did you mean '{meant}'?" in sentence
    assert f"this machine has {', '.join((*present, 'cpu'))}" in sentence


@pytest.mark.parametrize(
    ("trusted", "overrides", "downloads"), [(None, [], True), ([], [], False), ([], ["dataset.root=x"], True)]
)
def test_a_dataset_is_downloaded_to_where_the_person_says_only(
    compose, trusted, overrides, downloads, tmp_path, monkeypatch
):
    asked = []

    def source(root, train, download):
        asked.append(download)
        raise RuntimeError("Dataset not found")

    import torchvision

    monkeypatch.delenv("VAELAB_DATA", raising=False)
    monkeypatch.setattr(torchvision.datasets, "MNIST", source)
    config = compose("dataset=mnist", f"dataset.root={tmp_path}/data")
    with pytest.raises(UserError, match="mnist is not in" if downloads else "mnist.safetensors is not there"):
        Builder(config, trusted, overrides).dataset()
    assert asked == [True] * downloads
    assert list(tmp_path.iterdir()) == []
