"""Python's garbage collector, kept from what is imported.

It looks through all objects again whenever they have become a quarter more, as they do all the time while torch is
imported, and finds nothing: 0.4 s of a launch.
"""

import gc


def collect_nothing() -> None:
    """Collect nothing until `collect_what_comes`, for what is made now is imported."""
    gc.disable()


def collect_what_comes() -> None:
    """Collect from now on, and never look through what there is now; nothing to do where all was collected before."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
