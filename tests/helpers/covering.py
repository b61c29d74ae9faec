"""Few combinations of many options, in which any two options that go together are together at least once."""

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product

Choice = dict[str, str]
TRIES = 30  # combinations of which the one with the most new pairs is taken


def covering(options: Mapping[str, Sequence[str]], allowed: Callable[[Choice], bool]) -> list[Choice]:
    """Allowed combinations with every pair of options of two groups that an allowed one has; always the same ones."""
    chance = random.Random(0)
    missing = {
        frozenset(((a, x), (b, y))) for a, b in combinations(options, 2) for x, y in product(options[a], options[b])
    }
    found = []
    while missing:
        wanted = dict(min(map(sorted, missing)))
        tries = filter(None, (_completed(wanted, options, allowed, chance) for _ in range(TRIES)))
        best = max(tries, key=lambda choice: len(_pairs(choice) & missing), default=None)
        if best is None:  # no allowed combination has these two
            missing.discard(frozenset(wanted.items()))
            continue
        found.append(best)
        missing -= _pairs(best)
    return found


def _completed(wanted, options, allowed, chance):
    """What is wanted with the other groups drawn one by one so that it stays allowed; None if it cannot."""
    groups = [group for group in options if group not in wanted]
    chance.shuffle(groups)
    choice = dict(wanted)
    if not allowed(choice):
        return None
    for group in groups:
        suited = [option for option in options[group] if allowed({**choice, group: option})]
        if not suited:
            return None
        choice[group] = chance.choice(suited)
    return {group: choice[group] for group in options}


def _pairs(choice):
    return {frozenset(pair) for pair in combinations(choice.items(), 2)}
