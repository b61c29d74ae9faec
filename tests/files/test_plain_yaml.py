"""Untrusted YAML: plain values or one sentence, in bounded time and memory."""

import time

import pytest
import yaml

from vaelab.files import plain_yaml

PLAIN = {
    "a": 1,
    "b": [1.5, None, True, "text", "é", "1e-05", "null"],
    "h": -(10**18),
    "c": {"d": {}, "e": []},
    "f": 1e-05,
    "g": -(10**18),
}


def test_what_was_dumped_is_read():
    assert plain_yaml.load(yaml.safe_dump(PLAIN).encode()) == PLAIN
    assert plain_yaml.load(yaml.safe_dump(PLAIN, allow_unicode=True).encode()) == PLAIN
    assert plain_yaml.load(b"") is None


def bomb(levels=9, width=9):
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


MERGES = "\n".join(["a0: &a0 {k: v}", *(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 30))])
DEEP = "[" * 10_000
DEEP_MAPPING = "\n".join(" " * n + "a:" for n in range(200))

REFUSED = {
    "bomb": (bomb(), "must hold no aliases, got *a0"),
    "wide bomb": (f"a: &a [{'x,' * 300}]\nb: [{'*a,' * 300}]", "must hold no aliases"),
    "merge bomb": (MERGES, "must hold no aliases"),
    "recursive list": ("a: &a [*a]", "must hold no aliases"),
    "recursive mapping": ("&a {b: *a}", "must hold no aliases"),
    "long alias": (f"a: &{'x' * 5000} 1\nb: *{'x' * 5000}", "must hold no aliases"),
    "deep": (DEEP, "must not be nested deeper than 50 levels"),
    "deep and closed": ("[" * 5000 + "]" * 5000, "must not be nested deeper than 50 levels"),
    "deep mapping": (DEEP_MAPPING, "must not be nested deeper than 50 levels"),
    "not UTF-8": (b"a: \xff\xfe\x00", "must be UTF-8 text"),
    "UTF-16": ("a: 1".encode("utf-16"), "must be UTF-8 text"),
    "a zero": (b"a: \x00", "must be YAML that can be read"),
    "cut off": ("a: [1, 2", "must be YAML that can be read"),
    "a tab": ("a:\n\t- b", "must be YAML that can be read"),
    "python object": ("!!python/object/apply:os.system ['touch owned']", "must be YAML that can be read"),
    "unknown tag": ("a: !mine 1", "must be YAML that can be read"),
    "two documents": ("a: 1\n---\nb: 2", "must be YAML that can be read"),
    "a list as a key": ("? [1, 2]\n: 3", "must be YAML that can be read"),
    "a mapping as a key": ("? {a: 1}\n: 3", "must be YAML that can be read"),
    "a number as a key": ("1: 2", "must have keys of text, got 1"),
    "null as a key": ("a: {null: 2}", "must have keys of text, got None"),
    "a date": ("a: 2020-01-01", "must hold plain values, got a date"),
    "a time": ("a: 2020-01-01 00:00:00", "must hold plain values, got a datetime"),
    "no date": ("a: 2020-13-41", "must be YAML that can be read"),
    "bytes": ("a: !!binary aGVsbG8=", "must hold plain values, got a bytes"),
    "a set": ("a: !!set {x}", "must hold plain values, got a set"),
    "hexadecimal integer": ("a: 0x" + "f" * 500, "must hold integers below 1e+18, got one of 2,000 bits"),
    "large integer": (f"a: {10**18 + 1}", "must hold integers below 1e+18"),
    "huge integer": ("a: 0x" + "f" * 100_000, "must hold numbers of less than 1,000 digits"),
    "huge decimal": ("a: " + "9" * 100_000, "must hold numbers of less than 1,000 digits, got one of 100,000"),
    "negative": ("a: -" + "9" * 2_000, "must hold numbers of less than 1,000 digits"),
    "base sixty": ("a: " + ":".join(["59"] * 300_000), "must hold numbers of less than 1,000 digits"),
    "base sixty float": ("a: " + ":".join(["59"] * 300_000) + ".5", "must hold numbers of less than 1,000 digits"),
    "tagged number": ("a: !!int '" + ":".join(["59"] * 300_000) + "'", "must hold numbers of less than 1,000 digits"),
    "empty integer": ("a: !!int ''", "must be YAML that can be read"),
    "no time": ("a: !!timestamp x", "must be YAML that can be read"),
    "no binary": ("a: !!binary ünö", "must be YAML that can be read"),
    "no integer": ("a: !!int x", "must be YAML that can be read"),
    "no boolean": ("a: !!bool x", "must be YAML that can be read"),
    "no float": ("a: !!float x", "must be YAML that can be read"),
    "equals": ("a: =", "must be YAML that can be read"),
    "too large": ("x" * (plain_yaml.LARGEST + 1), "may hold 1,000,000 bytes at most, got 1,000,001"),
}


READ = {name: case for name, case in REFUSED.items() if len(case[0]) <= plain_yaml.LARGEST}  # others are refused first


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_one_short_sentence_in_a_second(text, why):
    content = text if isinstance(text, bytes) else text.encode()
    began = time.process_time()
    with pytest.raises(ValueError, match="m") as raised:
        plain_yaml.load(content)
    assert time.process_time() - began < 2
    assert str(raised.value).startswith(why)
    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("loader", [name for name in ("CSafeLoader", "SafeLoader") if hasattr(yaml, name)])
@pytest.mark.parametrize(("text", "why"), READ.values(), ids=READ.keys())
def test_both_readers_of_yaml_refuse_the_same(text, why, loader, monkeypatch):
    monkeypatch.setattr(plain_yaml, "_LOADER", getattr(yaml, loader))
    with pytest.raises(ValueError, match="m") as raised:
        plain_yaml.load(text if isinstance(text, bytes) else text.encode())
    assert str(raised.value).startswith(why[:9])


def test_the_deepest_that_is_read_is_fifty_levels():
    assert plain_yaml.load(b"[" * 50 + b"]" * 50) is not None
    with pytest.raises(ValueError, match="50 levels"):
        plain_yaml.load(b"[" * 51 + b"]" * 51)


@pytest.mark.slow
def test_a_large_plain_document_is_read_in_seconds():
    content = yaml.dump({"a": ["some text"] * 50_000}, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)).encode()
    assert len(content) < plain_yaml.LARGEST
    assert len(plain_yaml.load(content)["a"]) == 50_000
