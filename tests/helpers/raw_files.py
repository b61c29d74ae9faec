"""Small files in the raw formats of well-known datasets, as torchvision downloads them."""

import hashlib
import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
from PIL import Image


def idx(array):
    """MNIST's format: a magic number, the sizes, the bytes."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def put_idx(folder, prefixes, images, labels):
    """The two files of each split, by the beginning of their names."""
    folder.mkdir(parents=True)
    for part, prefix in prefixes.items():
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images[part]))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels[part]))


def put_svhn(root, images, labels, monkeypatch):
    """Matlab's files, with the channels and the images last, and 10 for the digit 0."""
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    for part in ("train", "test"):
        path = root / f"{part}_32x32.mat"
        columns = {"X": images[part].transpose(2, 3, 1, 0), "y": np.where(labels[part] == 0, 10, labels[part])[:, None]}
        savemat(path, columns)
        entry = ["", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
        monkeypatch.setitem(SVHN.split_list, part, entry)


def put_cifar100(root, images, labels, monkeypatch):
    """Pickles of rows, with the names of the classes beside them."""
    from torchvision.datasets import CIFAR100

    folder = root / CIFAR100.base_folder
    folder.mkdir()

    def put(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]

    for part in ("train", "test"):
        rows = {"data": images[part].reshape(len(images[part]), -1), "fine_labels": labels[part].tolist()}
        monkeypatch.setattr(CIFAR100, f"{part}_list", [put(part, rows)])
    name, md5 = put("meta", {"fine_label_names": [str(number) for number in range(100)]})
    monkeypatch.setattr(CIFAR100, "meta", {"filename": name, "key": "fine_label_names", "md5": md5})


def put_celeba(root, pictures, monkeypatch):
    """Photographs by split with the list of splits, and the other lists, which torchvision wants too."""
    from torchvision.datasets import CelebA

    folder = root / CelebA.base_folder
    (folder / "img_align_celeba").mkdir(parents=True)
    names = {}
    for number, photographs in enumerate(pictures.values()):
        for photograph in photographs:
            name = f"{len(names) + 1:06}.jpg"
            photograph.save(folder / "img_align_celeba" / name, quality=95)
            names[name] = number
    rows = {
        "list_eval_partition.txt": ["", lambda name: f"{name} {names[name]}"],
        "identity_CelebA.txt": ["", lambda name: f"{name} 1"],
        "list_bbox_celeba.txt": ["x_1", lambda name: f"{name} 1"],
        "list_landmarks_align_celeba.txt": ["eye_x", lambda name: f"{name} 1"],
        "list_attr_celeba.txt": ["Bald", lambda name: f"{name} -1"],
    }
    for file, (header, row) in rows.items():
        top = f"{len(names)}\n{header}\n" if header else ""
        (folder / file).write_text(top + "".join(f"{row(name)}\n" for name in names))
    lists = [("", hashlib.md5((folder / file).read_bytes()).hexdigest(), file) for file in rows]
    monkeypatch.setattr(CelebA, "file_list", lists)


def put_omniglot(root, drawings, monkeypatch):
    """Archives of drawings below alphabets and characters, and what is in them."""
    from torchvision.datasets import Omniglot

    folder = root / Omniglot.folder
    folder.mkdir(parents=True)
    for name, pictures in drawings.items():
        archive = folder / f"{name}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for number, picture in enumerate(pictures):
                content = io.BytesIO()
                picture.save(content, "PNG")
                file.writestr(f"{name}/Latin/character{number % 3:02}/{number:04}.png", content.getvalue())
            file.extractall(folder)
        monkeypatch.setitem(Omniglot.zips_md5, name, hashlib.md5(archive.read_bytes()).hexdigest())


def put_black(path, shape, sizes):
    """A prepared file whose images and labels are all 0, which takes no room on the disk."""
    entries, end = {}, 0
    for part, size in sizes.items():
        for name, row in (("images", shape), ("labels", ())):
            start, end = end, end + size * int(np.prod(row))
            entries[f"{part}_{name}"] = {"dtype": "U8", "shape": [size, *row], "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + end)


def one_bit(level):
    """A drawing of Omniglot's: black strokes on white, one bit a pixel."""
    return Image.new("1", (105, 105), level)
