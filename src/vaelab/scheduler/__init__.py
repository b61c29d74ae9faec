"""The learning rate schedules, one a file: from (step, total steps) to a factor of the learning rate."""
