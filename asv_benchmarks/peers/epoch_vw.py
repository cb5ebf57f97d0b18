"""One logistic pass over text-like rows: `fit_linear` against Vowpal Wabbit reading its own binary cache."""

import os
import tempfile

import numpy as np
import pairs


def main():
    quick = pairs.options(__doc__).quick
    vowpalwabbit = pairs.need("vowpalwabbit")
    from benchmarks.common import text_like

    from adagrad_nb import fit_linear

    X, y = text_like(20_000 if quick else 200_000)
    X = X.astype(np.float32)
    pairs.header("vowpalwabbit", ours=1, vw="1 learns, 1 reads the cache")
    print(f"{X.shape[0]} rows, {X.shape[1]} features, {X.nnz / X.shape[0]:.1f} stored values a row")
    with tempfile.TemporaryDirectory() as folder:
        text, cache = os.path.join(folder, "rows.vw"), os.path.join(folder, "rows.cache")
        write(text, X, y)
        command = (
            f"--adaptive --noconstant -l 0.5 --loss_function logistic -b 18 --quiet -d {text} --cache_file {cache}"
        )
        vowpalwabbit.Workspace(command + " -k").finish()  # reads the text, writes the cache
        os.truncate(text, 0)  # from here on only the cache can be what is read

        def vw():
            workspace = vowpalwabbit.Workspace(command)  # the whole pass
            loss = workspace.get_sum_loss() / workspace.get_weighted_examples()
            workspace.finish()
            return loss

        def ours():
            return fit_linear(X, y, intercept=False).progressive_loss

        losses = ours(), vw()
        timings = pairs.interleave(ours, vw, 3 if quick else 7, pause=0.05)
    ratio = pairs.report("float32", timings, X.shape[0] * 1e-6, "M rows/s", rate=True)
    print(f"progressive loss: ours {losses[0]:.6f}, peer {losses[1]:.6f}")
    assert abs(losses[0] - losses[1]) < 1e-3, "the two did not learn the same"
    pairs.verdict(("our rows/s / Vowpal Wabbit's", ratio, ">=", 2.5))


def write(path, X, y):
    """Rows as Vowpal Wabbit's text; a name that is a number is the feature's index."""
    ends = X.indptr.tolist()
    words = [f"{i}:{v:.8g}" for i, v in zip(X.indices.tolist(), X.data.tolist(), strict=True)]
    with open(path, "w") as file:
        for row, label in enumerate(y.tolist()):
            file.write(f"{label:.0f} | {' '.join(words[ends[row] : ends[row + 1]])}\n")


if __name__ == "__main__":
    main()
