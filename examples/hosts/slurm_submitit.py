"""One meta-training on several hosts, submitted to Slurm from Python by submitit; without Slurm on this machine.

    pip install submitit
    python examples/hosts/slurm_submitit.py --nodes 4 --partition PARTITION
    python examples/hosts/slurm_submitit.py --tasks 2        # two processes here

After a preemption or its time limit Slurm starts the job again, which goes on from the last checkpoint.
"""

import argparse

import submitit

FIRST_PORT, PORTS = 20_000, 12_000  # below those that Linux gives out by itself (from 32 768 on)


class Train:
    """What each process does; submitit keeps it by pickle."""

    def __init__(self, out: str, meta_steps: int) -> None:
        self.out, self.meta_steps = out, meta_steps

    def __call__(self) -> str:
        """Meta-trains with the other processes."""
        import mtnets  # here, since JAX must not have started before the processes meet

        job = submitit.JobEnvironment()
        port = FIRST_PORT + int(job.job_id.split("_")[0]) % PORTS
        mtnets.join_processes(f"{job.hostnames[0]}:{port}", job.num_tasks, job.global_rank)
        tasks, network = mtnets.tasks.sinusoid(shots=10), mtnets.models.mlp(1, 40, 40, 1)
        options = {"meta_steps": self.meta_steps, "meta_batch": 8, "out": self.out, "resume": True}
        learner = mtnets.meta_train(network, mtnets.mt_net(0.01), tasks, **options)
        return f"process {job.global_rank}: validation {learner.record['validation']}"

    def __submitit_checkpoint__(self) -> submitit.helpers.DelayedSubmission:
        """The same again, which resumes."""
        return submitit.helpers.DelayedSubmission(self)


def main() -> None:
    """Submits the job and waits for it."""
    parser = argparse.ArgumentParser(description="Meta-trains in several processes.")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=1, help="processes on each node")
    parser.add_argument("--partition", help="of Slurm")
    parser.add_argument("--meta-steps", type=int, default=10_000)
    parser.add_argument("--out", default="runs/hosts", help="folder, which the hosts share")
    parser.add_argument("--logs", default="runs/logs/%j", help="folder for what submitit keeps, which the hosts share")
    options = parser.parse_args()
    executor = submitit.AutoExecutor(folder=options.logs)
    executor.update_parameters(
        nodes=options.nodes, tasks_per_node=options.tasks, cpus_per_task=8, timeout_min=24 * 60, name="mtnets"
    )
    if options.partition:
        executor.update_parameters(slurm_partition=options.partition)
    job = executor.submit(Train(options.out, options.meta_steps))
    print(f"job {job.job_id}")
    print("\n".join(job.results()))


if __name__ == "__main__":
    main()
