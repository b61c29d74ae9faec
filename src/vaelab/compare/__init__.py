"""Many runs beside each other: tables, a page, a W&B workspace."""
