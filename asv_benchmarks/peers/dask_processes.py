"""One pass over text-like rows in 16 partitions on a Dask cluster of this machine: two worker processes against one.

One of the two processes is retired for the second half of the measurement, so that both have the same rows.  The script
prints the time, the CPU time of the busiest worker, the test loss, the bytes, and the share of each kind of task.  The
ratio of the CPU times does not depend on other programs.
"""

import collections
import time

import pairs

N_PARTITIONS = 16


def make_partition(seed, n_rows):
    """Return a chunk of text-like rows whose labels follow the same noisy linear model in all partitions."""
    import numpy as np
    from benchmarks.common import text_like

    from adagrad_nb import Chunk

    X, _ = text_like(n_rows, mean_nnz=36, seed=seed)
    w = 2 * np.random.default_rng(10**6).normal(size=X.shape[1])
    y = np.sign(X @ w + np.random.default_rng([seed, 1]).normal(size=n_rows))
    return [Chunk(X.astype(np.float32), y)]


def main():
    quick = pairs.parse_options(__doc__).quick
    import dask
    import dask.bag as db
    import numpy as np
    from distributed import Client, LocalCluster, wait

    from adagrad_nb import fit_linear

    n_rows, growths, n_runs = (100_000, (1,), 1) if quick else (4_000_000, (1, 4), 3)
    test = make_partition(10**5, 50_000)[0]
    options = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": None, "dashboard_address": ":0"}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        parts = [dask.delayed(make_partition)(k, n_rows // N_PARTITIONS) for k in range(N_PARTITIONS)]
        futures = client.compute(parts)
        wait(futures)
        data, results = db.from_delayed([dask.delayed(future) for future in futures]), {}
        for n_workers in (2, 1):
            if n_workers == 1:
                client.retire_workers([next(iter(client.scheduler_info()["workers"]))])
            for growth in growths:
                run = measure(client, data, growth, n_runs, test)
                results[growth, n_workers] = run
                print(f"t/{growth}, {n_workers} workers: {np.median(run, axis=0).round(2)} s, CPU s of the busiest")
    for growth in growths:
        one, two = (np.median(results[growth, n], axis=0) for n in (1, 2))
        print(f"rounds of t/{growth} rows: speed-up {one[0] / two[0]:.2f}, by CPU time {one[1] / two[1]:.2f}")
    if not quick:
        chunks = [chunk for k in range(N_PARTITIONS) for chunk in make_partition(k, n_rows // N_PARTITIONS)]
        fit_linear(chunks[0], lr=0.5)
        start = time.perf_counter(), time.process_time()
        model = fit_linear(chunks, lr=0.5)
        print(
            f"fit_linear in this process: {time.perf_counter() - start[0]:.2f} s, CPU "
            f"{time.process_time() - start[1]:.2f} s, test loss {model.mean_loss(test.X, test.y):.4f}"
        )


def measure(client, data, growth, n_runs, test):
    """Return (seconds, CPU seconds of the busiest worker) of each run, after one that compiles."""
    from distributed import get_task_stream

    from adagrad_nb.dask import fit_linear

    runs = []
    for run in range(n_runs + 1):
        rounds, before = [], client.run(time.process_time)
        with get_task_stream(client) as stream:
            model = fit_linear(client, data, lr=0.5, round_growth=growth, callback=rounds.append)
        after = client.run(time.process_time)
        cpu = max(after[worker] - before[worker] for worker in before)
        if run:
            runs.append((rounds[-1].seconds, cpu))
        else:
            print(
                f"t/{growth}: {len(rounds)} rounds, test loss {model.mean_loss(test.X, test.y):.4f}, "
                f"{sum(r.bytes_sent for r in rounds) / 1e6:.0f} MB to the merges, "
                f"{sum(r.bytes_merged for r in rounds) / 1e6:.0f} MB back"
            )
    print_shares(stream, len(before), rounds[-1].seconds)
    return runs


def print_shares(stream, n_workers, seconds):
    """Print the share of each kind of task in the time of the workers."""
    totals = collections.Counter()
    for task in stream.data:
        kind = str(task["key"]).removeprefix("adagrad-").split("-")[0]
        for part in task["startstops"]:
            totals[kind if part["action"] == "compute" else part["action"]] += part["stop"] - part["start"]
    shares = ", ".join(f"{kind} {total / seconds / n_workers:.0%}" for kind, total in totals.most_common(8))
    print(f"  {n_workers} workers, {seconds:.2f} s: {shares}; the rest is the scheduler and waiting")


if __name__ == "__main__":
    main()
