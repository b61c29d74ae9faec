"""How vaelab's command line names a job; light, for the harness imports it and no torch."""

from benchmarks.job import ENDLESS, Job

DATASETS = {"mlp": "mnist", "conv": "cifar10"}

# What no other row does at the end of an epoch. One spare batch is kept for validation: without validation images
# every epoch counts as the best one so far, and is written to the disk.
NOTHING_BUT_TRAINING = (
    f"trainer.evaluate_every={ENDLESS}",
    f"trainer.checkpoint_every={ENDLESS}",
    "trainer.pictures_every=0",
)


def config_overrides(job: Job, logger: str) -> list[str]:
    """The arguments of `python run.py` for a job; the job's own overrides come last and win."""
    name, column = DATASETS[job.column.model], job.column
    overrides = [
        f"experiment={name}_tutorial",
        f"logger={logger}",
        f"trainer.batch_size={column.batch}",
        f"trainer.precision={column.precision}",
        f"trainer.device={job.device}",
        f"trainer.epochs={job.epochs}",
        f"dataset.root='{job.root}'",
        f"dataset.val_size={job.spare}",
    ]
    if job.epochs == ENDLESS:
        overrides += NOTHING_BUT_TRAINING
    if job.synthetic:
        overrides.append(f"dataset._target_=benchmarks.data.synthetic_{name}")
    return [*overrides, *job.overrides]
