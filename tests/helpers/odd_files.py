"""Things that lie where a file should, which lead to a folder outside or hold up whoever opens them."""

import os
import socket

import pytest

SECRET = b"somebody else's\n"


def link(path, outside):
    path.symlink_to(outside / "file")


def dangling_link(path, outside):
    path.symlink_to(outside / "none")


def fifo(path, outside):
    os.mkfifo(path)


def a_folder(path, outside):
    path.mkdir()


def a_socket(path, outside):
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # its address must be short
        server.bind(path.name)


odd = pytest.mark.parametrize(
    ("put", "came"),
    [(link, "a link"), (dangling_link, "a link"), (fifo, "a FIFO"), (a_folder, "a folder"), (a_socket, "a socket")],
    ids=["link", "dangling_link", "fifo", "folder", "socket"],
)
