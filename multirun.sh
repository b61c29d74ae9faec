#!/usr/bin/env bash
# The sweeps of docs/sweeps.md: ./multirun.sh NAME [overrides ...]
#   latent   six latent sizes
#   beta     five weights of the KL term
#   lr       four learning rates with two seeds
# Further overrides go to every job: ./multirun.sh latent dataset=digits trainer.epochs=5
set -euo pipefail
cd "$(dirname "$0")"

python=python
[ -x .venv/bin/python ] && python=.venv/bin/python

name=${1:-}
case "$name" in
    latent) sweep=(latent=d2,d8,d16,d32,d64,d128) ;;
    beta) sweep=(objective.beta=0.25,0.5,1,2,4) ;;
    lr) sweep=(optimizer.lr=1e-4,3e-4,1e-3,3e-3 seed=0,1) ;;
    *)
        sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
esac
shift
exec "$python" run.py -m "${sweep[@]}" "$@"
