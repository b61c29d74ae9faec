"""The device of a run."""

import psutil
import pytest
import torch

from vaelab.errors import UserError
from vaelab.machine.device import device_name, free_memory, in_memory, precision_of, set_precision, synchronize

CPU, MPS, CUDA = torch.device("cpu"), torch.device("mps"), torch.device("cuda", 1)


def test_the_name_is_that_of_the_device_itself(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU number {torch.device(device).index}")
    assert device_name(CPU).endswith(" CPU")
    assert device_name(CUDA) == "GPU number 1"
    assert "MPS" in device_name(MPS)


def test_only_a_gpu_is_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append(MPS))
    for device in (CPU, CUDA, MPS):
        synchronize(device)
    assert waited == [CUDA, MPS]


def test_what_is_free_is_a_gpus_own_memory_or_the_hosts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10_000))
    assert free_memory(CUDA) == 1000
    assert free_memory(CPU) == pytest.approx(psutil.virtual_memory().available, rel=0.2)


def test_free_memory_is_what_the_container_allows(tmp_path, monkeypatch):
    free = free_memory(CPU)
    for text, most in (("max", None), (str(free // 2), free // 2)):
        (tmp_path / "memory.max").write_text(f"{text}\n")
        monkeypatch.setattr("vaelab.machine.device.CONTAINER_MEMORY", tmp_path / "memory.max")
        assert (free_memory(CPU) == most) == (most is not None)


def switches():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.fixture
def switches_put_back():
    matmul, convolutions = switches()
    yield
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.allow_tf32 = convolutions


def test_products_and_convolutions_have_one_precision_whatever_ran_before(switches_put_back):
    found = {}
    for precision in ("float32", "tf32", "bfloat16", "tf32", "float32"):
        set_precision(precision)
        assert found.setdefault(precision, switches()) == switches()
    assert found == {"float32": ("highest", False), "tf32": ("high", True), "bfloat16": ("highest", False)}


def test_a_precision_can_end_where_it_was_wanted(switches_put_back):
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True
    with precision_of("float32"):
        assert switches() == ("highest", False)
    assert switches() == ("medium", True)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
    ],
    ids=["Python", "CUDA", "MPS", "CPU"],
)
def test_full_memory_is_one_sentence_on_every_device(error):
    sentence = "out of memory: the model did not fit; choose a smaller one"
    with pytest.raises(UserError, match=sentence), in_memory("the model", "choose a smaller one"):
        raise error


def test_memory_of_the_cpu_that_is_full_in_truth_is_found():
    with pytest.raises(UserError, match="the model did not fit"), in_memory("the model", "advice"):
        torch.empty(2**60)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), UserError("out of memory, said before"), KeyError("x")]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, in_memory("the model", "advice"):
        raise error
    assert caught.value is error
