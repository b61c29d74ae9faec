"""GPUs are those that torch can use, and nobody is asked where there can be none."""

from types import SimpleNamespace

import pytest

from vaelab.sweep import gpus


class FakeContext:
    """Stands in for a fork server whose child sees so many GPUs, or dies."""

    def __init__(self, count):
        self.count = count

    def Pipe(self, duplex):
        return self, self

    def Process(self, target, args, name):
        return self

    def recv(self):
        if self.count is None:
            raise EOFError
        return self.count

    def start(self): ...

    join = close = start


@pytest.mark.parametrize(
    ("chosen", "count", "names"),
    [
        (None, 2, ["0", "1"]),
        ("2, GPU-abc", 2, ["2", "GPU-abc"]),
        ("0,9,1", 1, ["0"]),  # CUDA looks no further than the first that is not there
        ("3", 0, []),
        (None, None, []),
    ],
)
def test_gpus_are_those_that_torch_can_use_by_the_names_of_the_environment(chosen, count, names, monkeypatch):
    if chosen is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert gpus.visible_gpus(FakeContext(count)) == names


class FakeCuda:
    """Stands in for `torch.cuda`."""

    def __init__(self, available):
        self.is_available = lambda: available
        self.device_count = lambda: 4


@pytest.mark.parametrize(("available", "count"), [(True, 4), (False, 0)])
def test_a_gpu_that_torch_cannot_use_is_none(available, count, monkeypatch):
    import torch

    monkeypatch.setattr(torch, "cuda", FakeCuda(available))  # NVML counts GPUs whose driver is too old, too
    answers = []
    gpus._tell_gpus(SimpleNamespace(send=answers.append), {})
    assert answers == [count]


def test_where_torch_can_have_no_gpu_none_is_asked_for(monkeypatch, tmp_path):
    build = tmp_path / "version.py"
    monkeypatch.setattr(gpus, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    loaded = []
    monkeypatch.setattr(gpus.ctypes, "CDLL", loaded.append)
    for text, possible in (
        ("cuda = None\nhip = None", False),
        ("cuda = None", False),
        ("cuda = '13.0'\nhip = None", True),
        ("cuda = None\nhip = '6.0'", True),
    ):
        build.write_text(text)
        assert gpus.gpus_are_possible() is possible
    assert loaded == ["libcuda.so.1"]
    for hidden in ("", " -1 "):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not gpus.gpus_are_possible()

    def no_driver(name):
        raise OSError

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    build.write_text("cuda = '13.0'")
    monkeypatch.setattr(gpus.ctypes, "CDLL", no_driver)
    assert not gpus.gpus_are_possible()
