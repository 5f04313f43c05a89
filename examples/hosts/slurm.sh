#!/usr/bin/env bash
# One meta-training on four hosts, a process on each, under Slurm:  sbatch slurm.sh
# After an end of any kind the same command goes on from the last checkpoint; Slurm itself repeats it after a failure of a
# host. Wanted is a folder that the hosts share, for the environment and for what process 0 writes.
#SBATCH --job-name=mtnets
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# For GPUs: as many tasks per node as GPUs, of which JAX takes one for each task.
##SBATCH --ntasks-per-node=8
##SBATCH --gpus-per-node=8
set -euo pipefail

source .venv/bin/activate # of the folder that the job is submitted from

# a process that ends with an error ends the others itself, so that each can say why
exec srun --kill-on-bad-exit=0 mtnets train omniglot --root data --ways 20 --shots 1 --meta-batch 32 --meta-steps 15000 \
    --out runs/omniglot --resume --devices 8 --coordinator auto
