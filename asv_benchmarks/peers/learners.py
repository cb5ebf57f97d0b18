"""Test loss against the number of learners, simulated on one machine, and a model of the time on a cluster.

The rounds, the tree and the merge are those of `adagrad_nb.dask`.  The losses are relative to that of one learner:

- "default": the rounds of ``adagrad_nb.dask.fit_linear``, which begin when they are long enough;
- "rounds": rounds of the same length that begin after at most a quarter of the rows;
- "one merge": each learner makes one pass over its rows, and the results are averaged once, as in the first step of
  Agarwal et al. (2014);
- "L-BFGS": ten evaluations of the gradient on all rows, from the model of "one merge", as in their second step.

Then it prints the predicted times for 10^9 rows of 75 values with 2^24 features.  With FOLDER it takes the data set
`kddcup99_10_percent.gz` too.
"""

import math
import pathlib

import pairs
from benchmarks.common import A9A, text_like

QUICK, LEARNERS = (1, 4), (1, 2, 4, 8, 16, 64, 256, 1024)
MAX_SERIAL = 0.25  # of the rows, so that small data sets have rounds
MAX_SHARES = 60_000  # of a simulation, each of which takes a millisecond


class Cluster:
    """Assumptions of the model of the time; each is a property of the machines or was measured on one core."""

    nodes = (1, 2, 10, 100, 1000)
    n_rows, n_values, n_features = 10**9, 75, 2**24
    n_learners = None  # one for each machine
    itemsize = 4  # float32
    seconds_per_row_read = 600 / 700e6  # 8 bytes of svmlight text a value, at 700 MB/s
    seconds_per_value = 5e-9  # training; 2.4 to 10 ns, depending on the caches
    seconds_per_feature = 20e-9  # copy of a model, collection of the change, and its part of the merge
    seconds_per_share = 2e-3  # checks and objects of a learner
    seconds_per_add = 4e-9  # of one feature of one child in a node of the tree
    bandwidth = 1.25e9  # bytes a second of one machine: 10 Gbit/s
    latency = 2e-3  # seconds from the end of a task to the start of the next one on another machine
    seconds_per_task = 0.5e-3  # of Dask's scheduler
    zipf_share = 0.5  # of the features that the rows of a round touch, relative to as many different ones as values


class Processes(Cluster):
    """The same model for the processes and rows of ``dask_processes.py``, which measures them."""

    nodes = (1, 2)
    n_rows, n_values, n_features = 4 * 10**6, 41, 47_000
    n_learners = 16
    seconds_per_row_read = 0.0  # the rows are in memory


def main():
    options = pairs.parse_options(__doc__, folder="more data sets", picture=True)
    from adagrad_nb.linear import rounds

    results = {}
    for name, data in data_sets(options).items():
        learners = QUICK if options.quick else LEARNERS
        results[name] = simulate(name, data, [k for k in learners if k * 8 <= data[1].size])
    print_times(rounds, Cluster, (10, 64, None))
    print_times(rounds, Processes, (1, 4))
    if options.picture:
        draw(results, options.picture)


def data_sets(options):
    """Return {name: (X, y, X of the test rows, y of the test rows)}."""
    import numpy as np

    from adagrad_nb import load_svmlight, load_vw, read_csv

    data = A9A.parent
    sets = {
        "a9a": (*load_svmlight(A9A, n_features=123), *load_svmlight(A9A.with_name("a9a.t.xz"), n_features=123)),
    }
    if options.quick:
        return sets
    train, test = (data / f"rcv1_small{part}.vw.xz" for part in (".dat", "_test.data"))
    sets["RCV1 sample"] = (*load_vw(train, n_features=47_153)[:2], *load_vw(test, n_features=47_153)[:2])
    folder = pathlib.Path(options.folder) if options.folder else None
    if folder and (folder / "kddcup99_10_percent.gz").exists():
        sets["KDD-99"] = kdd(np, read_csv, folder / "kddcup99_10_percent.gz")
    n = 2_000_000
    X, y = text_like(n + 50_000, mean_nnz=36)
    X = X.astype(np.float32)
    sets["text-like"] = X[:n], y[:n], X[n:], y[n:]
    return sets


def kdd(np, read_csv, path):
    """Return the rows of KDD-99, shuffled: normal or attack, a fifth of them for the test."""
    import scipy.sparse as sp

    chunks = list(read_csv(path, header=False, label=41))
    width = max(chunk.X.shape[1] for chunk in chunks)
    parts = [sp.csr_array((c.X.data, c.X.indices, c.X.indptr), shape=(c.X.shape[0], width)) for c in chunks]
    X = sp.csr_array(sp.vstack(parts))
    y = np.concatenate([np.where(np.char.startswith(chunk.y, "normal"), -1.0, 1.0) for chunk in chunks])
    scale = abs(X).max(axis=0).toarray().ravel()
    X = sp.csr_array(X @ sp.diags_array(1 / np.maximum(scale, 1e-30)))
    order = np.random.default_rng(0).permutation(y.size)
    X, y, n = X[order], y[order], y.size * 4 // 5
    return X[:n], y[:n], X[n:], y[n:]


def simulate(name, data, learners):
    """Print and return the relative test losses for each number of learners."""
    import numpy as np

    from adagrad_nb import fit_linear
    from adagrad_nb.dask.fit import plan_of
    from adagrad_nb.linear import dispatch, rounds

    X, y, X_test, y_test = data
    one = fit_linear(X, y, lr=0.5)
    base = one.mean_loss(X_test, y_test)
    untrained = fit_linear(X[:0], y[:0], lr=0.5, classes=np.unique(y))
    covering = dispatch.count_covering_rows(*X.shape, X.nnz)
    print(f"\n{name}: {y.size} rows, {X.shape[1]} features; test loss of one learner {base:.4f}")
    print("learners  default  rounds  one merge, average  with L-BFGS  (relative losses)  rounds, serial share")
    table = []
    for n_learners in learners:
        cuts = np.linspace(0, y.size, n_learners + 1).astype(int)
        parts = [rounds.Partition(str(k), X[a:b], y[a:b]) for k, (a, b) in enumerate(zip(cuts, cuts[1:], strict=False))]
        sizes = np.diff(cuts).tolist()
        growth = rounds.default_round_growth(n_learners)
        n_serial = min(dispatch.count_serial_updates(covering, growth), int(MAX_SERIAL * y.size))
        default = train(rounds, untrained, parts, list(plan_of(sizes, 1, X.nnz, untrained, None)))
        plan = list(rounds.plan_rounds(sizes, 1, n_serial, growth, 2**62))
        model = train(rounds, untrained, parts, plan)
        whole = rounds.Round(0, tuple(rounds.Share(k, 0, n) for k, n in enumerate(sizes)))
        merged = merge_once(rounds, untrained, parts, whole)
        refined = refine(merged, X, y, 10)
        losses = [math.nan if m is None else m.mean_loss(X_test, y_test) for m in (default, model, merged)]
        losses.append(refined_loss(one, refined, X_test, y_test))
        table.append((n_learners, *(loss / base for loss in losses)))
        serial = sum(part.n_rows for part in plan if len(part.shares) == 1) / y.size
        losses = "{:8d}  {:7.4f}  {:6.4f}  {:18.4f}  {:11.4f}".format(*table[-1])
        print(losses, f"{len(plan):8d}, {serial:.2f}", flush=True)
    return table


def train(rounds, model, parts, plan):
    """Return the model after the rounds of a plan, or None if they have too many shares."""
    if sum(len(part.shares) for part in plan) > MAX_SHARES:
        return None
    for part in plan:
        model = rounds.train_round(model, parts, part)
    return model


def merge_once(rounds, start, parts, plan):
    """Return the average of learners that trained on all their rows."""
    changes = [rounds.learn_share(start, parts[share.partition], share, 0, plan.n_rows) for share in plan.shares]
    change = rounds.add_in_tree(changes, start.n_features)
    return rounds.apply_merged(start, rounds.merge_change(start, change, rule="average"))


def refine(model, X, y, n_evaluations):
    """Return (coef, intercept) after some evaluations of L-BFGS on the mean logistic loss, with a small ridge."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit

    ridge, X = 0.1 / y.size, X.astype(np.float64)

    def loss(x):
        margin = y * (X @ x[:-1] + x[-1])
        slope = -y * expit(-margin) / y.size
        value = np.logaddexp(0, -margin).mean() + ridge / 2 * x[:-1] @ x[:-1]
        return value, np.append(X.T @ slope + ridge * x[:-1], slope.sum())

    start = np.append(model.coef, model.intercept).astype(np.float64)
    return minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxfun": n_evaluations}).x


def refined_loss(model, x, X, y):
    """Return the test loss of weights and an intercept."""
    return model.loss_of_scores(y, X @ x[:-1] + x[-1])


def print_times(rounds, c, growths):
    """Print the predicted seconds for each number of nodes."""
    print(f"\nPredicted time of one pass over {c.n_rows:.0e} rows of {c.n_values} values, {c.n_features} features")
    names = ["one merge" if growth is None else f"rounds of t/{growth} rows" for growth in growths]
    print("nodes  " + "   ".join(f"{name:>28}" for name in names) + "  (seconds, rounds, speed-up)")
    ones = [predict(rounds, c, 1, growth)[0] for growth in growths]
    for n in c.nodes:
        cells = []
        for growth, one in zip(growths, ones, strict=True):
            seconds, count = predict(rounds, c, n, growth)
            cells.append(f"{seconds:10.1f} {count:8d} {one / seconds:8.1f}x")
        print(f"{n:5d}  " + "   ".join(cells))


def predict(rounds, c, n_nodes, growth):
    """Return the predicted seconds of a pass on `n_nodes` machines, and the number of rounds."""
    row, seconds = c.n_values * c.seconds_per_value, c.n_rows * c.seconds_per_row_read / n_nodes
    n_learners = c.n_learners or n_nodes
    if n_learners == 1:
        return seconds + c.n_rows * row, 1
    t = count = 0
    if growth is not None:
        t = int(growth * 1.2 * c.n_features / c.n_values)  # serial
        seconds += t * row
    while t < c.n_rows:
        n = c.n_rows - t if growth is None else min(t // growth + 1, c.n_rows - t)
        own_learners = n_learners / n_nodes
        seconds += n / n_nodes * row + own_learners * (c.n_features * c.seconds_per_feature + c.seconds_per_share)
        n_sums, n_tasks, remote = n_learners, n_learners + 2, 1 - 1 / n_nodes
        while n_sums > 1:
            children, features = min(rounds.FAN_IN, n_sums), touched_features(c, n / n_sums)
            n_sums = math.ceil(n_sums / rounds.FAN_IN)
            size = features * 3 * c.itemsize + (4 * features if features < c.n_features else 0)
            one_sum = children * (remote * size / c.bandwidth + features * c.seconds_per_add)
            seconds += math.ceil(n_sums / n_nodes) * one_sum + c.latency
            n_tasks += n_sums
        size = touched_features(c, n) * 2 * c.itemsize
        seconds += size / c.bandwidth * math.log2(n_nodes) + c.latency  # from machine to machine
        seconds += c.seconds_per_task * n_tasks
        t += n
        count += 1
    return seconds, count


def touched_features(c, n_rows):
    """Return the number of features of so many rows."""
    return c.n_features * (1 - math.exp(-c.zipf_share * n_rows * c.n_values / c.n_features))


def draw(results, path):
    """Draw the relative losses against the number of learners."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for name, table in results.items():
        for ax, column in zip(axes, (2, 3), strict=True):
            ax.plot([row[0] for row in table], [row[column] for row in table], marker="o", ms=3, label=name)
    for ax, title in zip(axes, ("rounds", "one merge"), strict=True):
        ax.set(xscale="log", xlabel="learners", title=title, ylim=(0.9, 1.4))
        ax.axhline(1.01, color="0.7", lw=0.8)
    axes[0].set_ylabel("test loss / that of one learner")
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
