"""What a search varies, in Hydra's words for a sweep: `interval`, `range`, `choice`, and `tag(log, ...)`."""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer

from vaelab.errors import UserError
from vaelab.sweep.search.config import COMMAND_LINE

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def search_space(overrides: Iterable[Override]) -> tuple[dict[str, "BaseDistribution"], list[str]]:
    """The variables of a search, and the overrides that go to every trial; of two for one key the later wins.

    Raises:
        UserError: if nothing is varied, or something is that a search cannot vary.
    """
    latest = {override.get_key_element(): override for override in overrides}
    space = {key: distribution(override) for key, override in latest.items() if override.is_sweep_override()}
    fixed = [str(override.input_line) for override in latest.values() if not override.is_sweep_override()]
    if not space:
        raise UserError(
            "a search must have something to vary, got single values only; write optimizer.lr=interval(1e-4,1e-2), "
            "latent.dim=range(8,65,8) or model=mlp,conv",
            COMMAND_LINE,
        )
    return space, fixed


def as_overrides(settings: Mapping[str, Any]) -> list[str]:
    """The settings of a trial as overrides that Hydra reads back as the same values."""
    return [f"{key}={value}" for key, value in settings.items()]


def probes(space: Mapping[str, "BaseDistribution"]) -> list[dict[str, Any]]:
    """A few settings in which every word of every choice occurs, to see that each composes."""
    from optuna.distributions import CategoricalDistribution

    lists = {
        name: list(values.choices) if isinstance(values, CategoricalDistribution) else [values.low]
        for name, values in space.items()
    }
    # an option may be misspelt, a number not
    most = max((len(values) for values in lists.values() if any(isinstance(value, str) for value in values)), default=1)
    return [{name: values[index % len(values)] for name, values in lists.items()} for index in range(most)]


def distribution(override: Override) -> "BaseDistribution":
    """What values an override may take: numbers between bounds (both among them), evenly spaced ones, or a list.

    Raises:
        UserError: if it is no space to search in.
    """
    sweep: Any = override.value()
    try:
        if override.is_interval_sweep():
            return _interval(sweep)
        if override.is_range_sweep():
            return _range(sweep)
        return _choice(override)
    except ValueError as error:
        raise UserError(f"{override.input_line} cannot be searched: {error}", COMMAND_LINE) from error


def _interval(sweep: IntervalSweep) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    _check_tags(sweep.tags, {"log", "int"})
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("an interval needs two finite bounds, the lower one first")
    log = "log" in sweep.tags
    if "int" in sweep.tags or isinstance(low, int):
        if int(low) != low or int(high) != high:
            raise ValueError("an interval of integers needs integers as its bounds")
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def _range(sweep: RangeSweep) -> "BaseDistribution":
    """The bound that Hydra leaves out of a range is left out here too."""
    from optuna.distributions import FloatDistribution, IntDistribution

    _check_tags(sweep.tags, {"log", "int"})
    log = "log" in sweep.tags
    if sweep.step == 0:
        raise ValueError("the step of a range cannot be 0")
    values = sorted(sweep.range())
    if not values:
        raise ValueError("the range is empty")
    if all(value == int(value) for value in values) and ("int" in sweep.tags or isinstance(values[0], int)):
        return IntDistribution(int(values[0]), int(values[-1]), log=log, step=max(1, abs(int(sweep.step))))
    step = abs(Decimal(str(sweep.step)))
    high = Decimal(str(values[0])) + (len(values) - 1) * step  # a sum of floats would miss it by the last digit
    return FloatDistribution(values[0], float(high), log=log, step=float(step))


def _choice(override: Override) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution

    sweep = override.value()
    if isinstance(sweep, ChoiceSweep):
        _check_tags(sweep.tags, set())
        items: Iterable[Any] = sweep.list  # in the order that was written, shuffled or not
    else:
        items = override.sweep_iterator()
    choices = [_number_or_words(item) for item in items]
    if len(set(map(str, choices))) < len(choices):
        raise ValueError("a value is named twice")
    return CategoricalDistribution(choices)


def _number_or_words(value: Any) -> Any:
    """Numbers as they are, all else, such as a list, in the words that Hydra reads back."""
    return value if isinstance(value, int | float) else Transformer.str(value)


def _check_tags(tags: Iterable[str], known: set[str]) -> None:
    unknown = sorted(set(tags) - known)
    if unknown:
        raise ValueError(f"it can be tagged {' or '.join(sorted(known)) or 'with nothing'}, got {', '.join(unknown)}")
