"""Batches of a resident tensor."""

import pytest
import torch
from torch.overrides import TorchFunctionMode

from vaelab.errors import UserError
from vaelab.training.batches import Loader, place

COUNT = 23


IMAGES = torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1)  # of one pixel, each its own number
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


def loader(batch_size=5, seed=0, dynamic=False):
    return Loader(IMAGES, CPU, batch_size, seed, dynamic)


def order(epoch, start=0, **options):
    return torch.cat(list(loader(**options).epoch(epoch, start))).flatten().tolist()


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_an_epoch_has_every_image_exactly_once(batch_size):
    assert sorted(order(epoch=0, batch_size=batch_size)) == list(range(COUNT))


@pytest.mark.parametrize(("batch_size", "sizes"), [(5, [5, 5, 5, 5, 3]), (23, [23]), (100, [23])])
def test_only_the_last_batch_is_smaller(batch_size, sizes):
    batches = list(loader(batch_size).epoch(0, 0))
    assert [len(batch) for batch in batches] == sizes
    assert loader(batch_size).steps_per_epoch == len(batches)


def test_batches_are_uint8():
    assert {batch.dtype for batch in loader().epoch(0, 0)} == {torch.uint8}


def test_the_order_is_a_function_of_seed_and_epoch():
    first = order(epoch=2, seed=1)
    torch.rand(3)
    assert order(epoch=2, seed=1) == first
    assert order(epoch=2, seed=1, batch_size=7) == first
    assert order(epoch=3, seed=1) != first
    assert order(epoch=2, seed=2) != first
    assert first != list(range(COUNT))


@pytest.mark.parametrize("start", [0, 5, 20, 7, COUNT])
def test_a_start_within_an_epoch_gives_the_rest_of_its_order(start):
    rest = [number for batch in loader().epoch(4, start) for number in batch.flatten().tolist()]
    assert rest == order(epoch=4)[start:]


def test_an_epoch_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    order(epoch=0)
    assert torch.equal(before, torch.get_rng_state())


def test_the_noise_of_a_step_is_a_function_of_seed_and_step():
    def draw(seed, step):
        return torch.rand(8, generator=loader(seed=seed).noise(step)).tolist()

    assert draw(0, 3) == draw(0, 3)
    assert len({tuple(draw(seed, step)) for seed in range(3) for step in range(3)}) == 9


def test_pixels_are_grey_values_or_drawn_anew_in_every_step():
    batch = torch.full((1, 1, 20, 20), 127, dtype=torch.uint8)
    grey, drawn = loader(dynamic=False), loader(dynamic=True)

    def pixels(loader, step):
        return loader.pixels(batch, loader.uniform(batch, loader.noise(step)))

    assert pixels(grey, 0).unique().tolist() == pytest.approx([127 / 255])
    first = pixels(drawn, 0)
    assert first.unique().tolist() == [0.0, 1.0]
    assert torch.equal(first, pixels(drawn, 0))
    assert not torch.equal(first, pixels(drawn, 1))


class FakeGPU(TorchFunctionMode):
    """Notes what is asked of a GPU that is not there: tensors stay on the CPU, where memory is never pinned."""

    def __init__(self):
        super().__init__()
        self.pinned, self.sent = [], []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if kwargs.pop("pin_memory", False):
            self.pinned.append(args[1:])
        if function is torch.Tensor.to and args[1] == CUDA:
            self.sent.append(kwargs)
            return args[0]
        return function(*args, **kwargs)


def test_a_batch_of_images_in_host_memory_is_gathered_in_pinned_memory_and_sent_without_a_wait():
    with FakeGPU() as gpu:
        batches = list(Loader(IMAGES, CUDA, 10, 0, False).epoch(3, 0))
    assert [batch.flatten().tolist() for batch in batches] == [
        batch.flatten().tolist() for batch in loader(10).epoch(3, 0)
    ]
    assert gpu.pinned == [(size, 1, 1, 1) for size in (10, 10, 3)]
    assert gpu.sent == [{"non_blocking": True}] * 3


def test_images_are_placed_by_the_free_memory_of_the_device_or_as_asked_for(monkeypatch, caplog):
    caplog.set_level("INFO")
    free = {}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda asked: (free[asked], 10**12))
    for images_on, bytes_free, sent in [
        ("auto", 2 * COUNT, True),
        ("auto", 2 * COUNT - 1, False),
        ("device", 1, True),
        ("host", 10**12, False),
    ]:
        free[CUDA] = bytes_free
        with FakeGPU() as gpu:
            assert torch.equal(place(IMAGES, images_on, CUDA), IMAGES)
        assert len(gpu.sent) == sent
    assert caplog.messages == [
        "the training images stay in host memory, for they take more than half of what is free on cuda:1"
    ]


@pytest.mark.parametrize("images_on", ["auto", "device", "host"])
def test_on_the_cpu_the_images_stay_where_they_are(images_on):
    assert place(IMAGES, images_on, CPU) is IMAGES


def test_images_that_do_not_fit_on_the_device_are_named(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(UserError, match=r"the 23 training images did not fit; use trainer\.images_on=host"):
        place(IMAGES, "device", CUDA)
