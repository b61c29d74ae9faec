"""Lines of a file that another process writes."""

from vaelab.run.growing_file import GrowingFile


def test_each_whole_line_comes_once_with_its_number(tmp_path):
    path = tmp_path / "rows"
    lines = GrowingFile(tmp_path, "rows")
    assert list(lines.new()) == []
    path.write_text("a\nb\nc")
    assert list(lines.new()) == [(0, b"a"), (1, b"b")]
    assert list(lines.new()) == []
    with path.open("a") as file:
        file.write("d\n")
    assert list(lines.new()) == [(2, b"cd")]
    assert lines.count() == 3


def test_a_file_that_was_replaced_is_read_from_its_beginning(tmp_path):
    path = tmp_path / "rows"
    path.write_text("a\nb\n")
    lines = GrowingFile(tmp_path, "rows")
    assert len(list(lines.new())) == 2
    (tmp_path / "new").write_text("c\n")
    (tmp_path / "new").replace(path)
    assert list(lines.new()) == [(0, b"c")]


def test_from_the_end_on_only_what_is_new_comes(tmp_path):
    path = tmp_path / "rows"
    path.write_text("a\n")
    lines = GrowingFile(tmp_path, "rows", from_end=True)
    with path.open("a") as file:
        file.write("b\n")
    assert [line for _, line in lines.new()] == [b"b"]
