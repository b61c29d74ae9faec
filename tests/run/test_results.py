"""The table at the end of a run says of each row what it is measured in."""

from vaelab.run.results import show_results


def test_each_row_has_its_own_unit_and_the_head_has_none(tmp_path, capfd):
    figures = {"elbo": -100.0, "bits_per_dim": 0.18, "psnr": 21.5, "penalty": 3.0}
    metrics = {f"{split}/{name}": value for split in ("train", "val") for name, value in figures.items()}
    summary = {"metrics": metrics, "best_epoch": 3, "images_per_second": None, "seconds": 1.0}
    show_results(tmp_path, summary, pages=[])
    head, _, *rows = (line.split() for line in capfd.readouterr().out.splitlines() if line.strip())
    assert " ".join(head) == "metric train, last epoch validation, epoch 3 unit"
    assert rows[:4] == [
        ["ELBO", "-100.00", "-100.00", "nats", "per", "image"],
        ["bits/dim", "0.1800", "0.1800", "bits"],
        ["PSNR", "21.50", "21.50", "dB"],
        ["penalty", "3.00", "3.00"],
    ]
