"""Train a variational autoencoder: python run.py [group=option] [key=value] ..., see python run.py --help."""

from pathlib import Path

from vaelab.cli.launch import main

if __name__ == "__main__":
    main(Path(__file__).resolve().parent / "conf")
