"""What runs are called on pictures, pages and tables: their settings, with numbers as long as a person reads them."""

import re

DIGITS = 3
MANY = 1e12  # a number from which on nobody counts the digits
LONGEST = 4  # digits of a number that is left as it is
# with a point or an exponent: a seed, a date and a list of layers keep their digits
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?![\w.])")


def rounded(value: object) -> str:
    """The value as text with every long decimal number in it rounded: `lr=0.0013385298778` as `lr=0.00134`.

    Integers and numbers of at most four significant digits stay as they are.
    """
    return NUMBER.sub(_short, f"{value:.6g}" if isinstance(value, float) else str(value))


def decimal(value: float, form: str) -> str:
    """A number in a form such as `.2f`, but in few letters where it would have many digits before the point."""
    return format(value, form if abs(value) < MANY else f".{DIGITS}e")


def _short(found: re.Match[str]) -> str:
    number = found[0]
    if number.isdecimal():
        return number
    mantissa = re.split("[eE]", number)[0]
    if len(mantissa.replace(".", "").strip("0")) <= LONGEST:
        return number
    value = float(number)
    before_the_point = len(str(int(value))) if value < 1e6 else 0
    return f"{value:.{max(DIGITS, before_the_point)}g}"
