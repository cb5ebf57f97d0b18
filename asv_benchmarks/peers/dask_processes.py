"""One pass over text-like rows in 16 partitions on Dask clusters of this machine: two worker processes against one.

The clusters take turns.  The script prints the time, the CPU time of the busiest worker, the test loss, the bytes, and
the share of each kind of task, and the median ratios of the pairs.  The ratio of the CPU times does not depend on other
programs.
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
    import numpy as np
    from distributed import Client, LocalCluster

    from adagrad_nb import fit_linear

    n_rows, growths, n_runs = (100_000, (1,), 1) if quick else (4_000_000, (1, 4, None), 5)
    test, results = make_partition(10**5, 50_000)[0], {}
    options = {"threads_per_worker": 1, "memory_limit": None, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=1, **options) as cluster_of_one, Client(cluster_of_one) as one,
        LocalCluster(n_workers=2, **options) as cluster_of_two, Client(cluster_of_two) as two,
    ):  # fmt: skip
        data = {client: put_rows(client, n_rows) for client in (one, two)}
        for growth in growths:
            results[growth] = np.array(
                [
                    [measure(client, data[client], growth, test, run) for client in (one, two)]
                    for run in range(-1, n_runs)
                ]
            )[1:]  # the first pair compiles
    for growth, runs in results.items():
        seconds, cpu = np.median(runs[:, 0] / runs[:, 1], axis=0)
        print(f"{name_of(growth)}: speed-up {seconds:.2f}, by CPU time {cpu:.2f}; seconds and CPU of one, of two:")
        print(np.median(runs, axis=0).round(2).tolist())
    if not quick:
        chunks = [chunk for k in range(N_PARTITIONS) for chunk in make_partition(k, n_rows // N_PARTITIONS)]
        fit_linear(chunks[0], lr=0.5)
        start = time.perf_counter(), time.process_time()
        model = fit_linear(chunks, lr=0.5)
        print(
            f"fit_linear in this process: {time.perf_counter() - start[0]:.2f} s, CPU "
            f"{time.process_time() - start[1]:.2f} s, test loss {model.mean_loss(test.X, test.y):.4f}"
        )


def name_of(growth):
    """Return the name of a length of the rounds."""
    return "default rounds" if growth is None else f"rounds of t/{growth} rows"


def put_rows(client, n_rows):
    """Return a bag of the chunks, which are in the memory of the workers."""
    import dask.bag as db
    from dask import delayed
    from distributed import wait

    futures = client.map(make_partition, range(N_PARTITIONS), n_rows=n_rows // N_PARTITIONS)
    wait(futures)
    return db.from_delayed([delayed(future) for future in futures])


def measure(client, data, growth, test, run):
    """Return (seconds, CPU seconds of the busiest worker) of a pass; print its shares in the first run."""
    from distributed import get_task_stream

    from adagrad_nb.dask import fit_linear

    rounds, before = [], client.run(time.process_time)
    with get_task_stream(client) as stream:
        model = fit_linear(client, data, lr=0.5, round_growth=growth, callback=rounds.append)
    after = client.run(time.process_time)
    if run == 0:
        print(
            f"{name_of(growth)}: {len(rounds)}, test loss {model.mean_loss(test.X, test.y):.4f}, "
            f"{sum(r.bytes_sent for r in rounds) / 1e6:.0f} MB to the merges, "
            f"{sum(r.bytes_merged for r in rounds) / 1e6:.0f} MB back"
        )
        print_shares(stream, len(before), rounds[-1].seconds)
    return rounds[-1].seconds, max(after[worker] - before[worker] for worker in before)


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
