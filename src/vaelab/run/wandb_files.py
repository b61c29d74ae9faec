"""What W&B and vaelab keep of W&B in the directories of runs and sweeps."""

UNREACHABLE = ".wandb_unreachable"  # in the directory of a sweep: a job has asked for W&B's server in vain
