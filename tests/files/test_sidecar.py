"""The checksum beside a file."""

import hashlib

from vaelab.files import sidecar


def test_a_digest_is_read_as_it_was_written_and_none_where_there_is_none(tmp_path):
    assert sidecar.read_digest(tmp_path, "file") is None
    digest = sidecar.digest_of(b"content")
    assert digest == hashlib.sha256(b"content").hexdigest()
    sidecar.write_digest(tmp_path, "file", digest)
    assert sidecar.read_digest(tmp_path, "file") == digest
    assert (tmp_path / "file.sha256").read_text() == f"{digest}\n"


def test_what_is_no_digest_is_that_of_no_content(tmp_path):
    (tmp_path / "file.sha256").write_bytes(b"\xff\xfe")
    assert sidecar.read_digest(tmp_path, "file") != sidecar.digest_of(b"")
