"""Batches of tensors in memory, and of images that are read ahead from disk."""

import threading

import pytest
import torch
from torch.overrides import TorchFunctionMode

from vaelab.errors import UserError
from vaelab.training.batches import Batches, place

COUNT = 23


IMAGES = torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1)  # of one pixel, each its own number
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 1)


def batches(batch_size=5, seed=0, labels=None, device=CPU):
    return Batches(IMAGES, labels, device, batch_size, seed)


def images(found):
    """The numbers of the images of each batch."""
    return [batch.flatten().tolist() for batch, _ in found]


def order(epoch, start=0, **options):
    return [number for batch in images(batches(**options).epoch(epoch, start)) for number in batch]


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_an_epoch_has_every_image_exactly_once(batch_size):
    assert sorted(order(epoch=0, batch_size=batch_size)) == list(range(COUNT))


@pytest.mark.parametrize(("batch_size", "sizes"), [(5, [5, 5, 5, 5, 3]), (23, [23]), (100, [23])])
def test_only_the_last_batch_is_smaller(batch_size, sizes):
    found = list(batches(batch_size).epoch(0, 0))
    assert [len(batch) for batch, _ in found] == sizes
    assert batches(batch_size).steps_per_epoch == len(found)


def test_batches_are_uint8_with_the_labels_of_their_images_where_there_are_any():
    assert all(batch.dtype == torch.uint8 and labels is None for batch, labels in batches().epoch(0, 0))
    for batch, labels in batches(labels=torch.arange(COUNT) % 10).epoch(0, 0):
        assert torch.equal(labels, batch.flatten().long() % 10)


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
    assert order(epoch=4, start=start) == order(epoch=4)[start:]


def test_an_epoch_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    order(epoch=0)
    assert torch.equal(before, torch.get_rng_state())


def test_the_noise_of_a_step_is_a_function_of_seed_and_step():
    def draw(seed, step):
        return torch.rand(8, generator=batches(seed=seed).noise(step)).tolist()

    assert draw(0, 3) == draw(0, 3)
    assert len({tuple(draw(seed, step)) for seed in range(3) for step in range(3)}) == 9


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
        found = images(batches(10, device=CUDA).epoch(3, 0))
    assert found == images(batches(10).epoch(3, 0))
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
            assert torch.equal(place(IMAGES, images_on, CUDA)[0], IMAGES)
        assert len(gpu.sent) == sent
    assert caplog.messages == [
        "the training images stay in host memory, for they take more than half of what is free on cuda:1"
    ]


@pytest.mark.parametrize("images_on", ["auto", "device", "host", "disk"])
def test_on_the_cpu_the_images_stay_where_they_are(images_on):
    placed, on_disk = place(IMAGES, images_on, CPU)
    assert placed is IMAGES
    assert not on_disk


def test_images_of_a_file_come_into_memory_where_they_fit_and_else_stay_in_it(monkeypatch, caplog):
    caplog.set_level("INFO")
    free = {}
    monkeypatch.setattr("vaelab.training.batches.free_memory", lambda device: free[device.type])
    for images_on, device, cpu, place_of in [
        ("auto", CPU, 2 * COUNT, "memory"),
        ("auto", CPU, 2 * COUNT - 1, "disk"),
        ("host", CPU, 0, "memory"),
        ("disk", CPU, 10**12, "disk"),
        ("auto", CUDA, 2 * COUNT, "memory"),
        ("auto", CUDA, 2 * COUNT - 1, "disk"),
    ]:
        free |= {"cpu": cpu, "cuda": 0}
        placed, on_disk = place(IMAGES, images_on, device, stored=True)
        assert torch.equal(placed, IMAGES)
        assert (placed is IMAGES) == on_disk == (place_of == "disk")
    assert [message.split(",")[0] for message in caplog.messages] == [
        "the training images stay on disk",
        "the training images stay in host memory",
        "the training images stay on disk",
    ]


@pytest.mark.parametrize("start", [0, 5, 20])
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_batches_that_are_read_ahead_are_the_same(start, batch_size):
    labels = torch.arange(COUNT) % 10
    ahead = Batches(IMAGES, labels, CPU, batch_size, 0, release=lambda: None)
    for found, expected in zip(ahead.epoch(2, start), batches(batch_size, labels=labels).epoch(2, start), strict=True):
        assert all(map(torch.equal, found, expected))


def test_what_was_read_ahead_is_released_again_and_again(monkeypatch):
    monkeypatch.setattr("vaelab.training.batches.RELEASED_BYTES", 10)
    released = []
    ahead = Batches(IMAGES, None, CPU, 2, 0, release=lambda: released.append(1))
    assert len(list(ahead.epoch(0, 0))) == 12
    assert len(released) == 3  # before the first, after 10 and 20 of 23 images of one byte


def test_an_epoch_that_is_left_early_leaves_no_thread():
    before = threading.active_count()
    left = Batches(IMAGES, None, CPU, 2, 0, release=lambda: None).epoch(0, 0)
    next(left)
    left.close()
    assert threading.active_count() == before


def test_images_that_do_not_fit_on_the_device_are_named(monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(torch.Tensor, "to", full)
    with pytest.raises(UserError, match=r"the 23 training images did not fit; use trainer\.images_on=host"):
        place(IMAGES, "device", CUDA)
