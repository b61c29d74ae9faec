"""One row as a whole process, `python -m benchmarks.alone JOB`: trains its epochs and prints the test loss."""

import json
import sys

import torch

from benchmarks.data import dataset
from benchmarks.job import LATENT_DIM, Job, UnavailableError, job_from_json
from benchmarks.rows import make_row
from vaelab.ops import generator, unit_interval

BATCH = 500


@torch.no_grad()
def mean_test_loss(row, job: Job) -> float:
    """Nats per test image, with the noise that vaelab's own evaluation draws."""
    images, total = dataset(job).test().images, 0.0
    for index, batch in enumerate(images.split(BATCH)):
        noise = generator(0, "evaluate", index, job.device)
        eps = torch.randn(1, len(batch), LATENT_DIM, generator=noise, device=job.device)[0]
        total += row.loss(unit_interval(batch.to(job.device)), eps).item() * len(batch)
    return total / len(images)


def main() -> None:
    job = job_from_json(sys.argv[1])
    try:
        row = make_row(job)
        row.train(lambda images: None)
        print(json.dumps({"test_loss": mean_test_loss(row, job)}))
    except UnavailableError as error:
        print(json.dumps({"unavailable": str(error)}))


if __name__ == "__main__":
    main()
