"""A job of a sweep that has failed, and has said so when it did."""

from typing import NoReturn

from hydra.core.utils import JobReturn


class JobFailedError(Exception):
    """Ends a sweep of which a job failed; its cause is what the job raised."""


class FailedJob(JobReturn):
    """What a sweeper of Hydra's is given of the job: asked for its value it raises, but prints no line beside that."""

    @property
    def return_value(self) -> NoReturn:
        """Raise JobFailedError."""
        raise JobFailedError from self._return_value

    @return_value.setter
    def return_value(self, value: BaseException) -> None:
        self._return_value = value
