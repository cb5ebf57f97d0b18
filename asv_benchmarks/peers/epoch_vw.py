"""One logistic pass, `fit_linear` against Vowpal Wabbit reading its own binary cache: over text-like rows by the plain
Adagrad step and by its default step, and over rows of 40 features drawn evenly from 2^24."""

import os
import tempfile

import numpy as np
import pairs

WIDE = 24


def main():
    quick = pairs.options(__doc__).quick
    vowpalwabbit = pairs.need("vowpalwabbit")
    from benchmarks.common import even_rows, text_like

    from adagrad_nb import Adagrad, fit_linear

    def compare(name, X, y, bits, flags="", **options):
        """The ratio of the speeds."""
        print(f"{X.shape[0]} rows, {X.shape[1]} features, {X.nnz / X.shape[0]:.1f} stored values a row")
        with tempfile.TemporaryDirectory() as folder:
            text, cache = os.path.join(folder, "rows.vw"), os.path.join(folder, "rows.cache")
            write(text, X, y)
            command = (
                f"--adaptive {flags} --noconstant -l 0.5 --loss_function logistic -b {bits} --quiet -d {text} "
                f"--cache_file {cache}"
            )
            vowpalwabbit.Workspace(command + " -k").finish()  # reads the text, writes the cache
            os.truncate(text, 0)  # from here on only the cache can be what is read

            def vw():
                workspace = vowpalwabbit.Workspace(command)  # the whole pass
                loss = workspace.get_sum_loss() / workspace.get_weighted_examples()
                workspace.finish()
                return loss

            def ours():
                return fit_linear(X, y, intercept=False, **options).progressive_loss

            losses = ours(), vw()
            timings = pairs.interleave(ours, vw, 3 if quick else 7, pause=0.05)
        ratio = pairs.report(name, timings, X.shape[0] * 1e-6, "M rows/s", rate=True)
        print(f"progressive loss: ours {losses[0]:.6f}, peer {losses[1]:.6f}")
        # By scaled steps ours may learn better: it limits what tiny first values of a feature can do.
        assert losses[0] < losses[1] + 1e-3, "ours learnt less"
        assert flags or losses[0] > losses[1] - 1e-3, "the two did not learn the same"
        return ratio

    pairs.header("vowpalwabbit", ours=1, vw="1 learns, 1 reads the cache")
    X, y = text_like(20_000 if quick else 200_000)
    X = X.astype(np.float32)
    plain = compare("float32", X, y, 18)
    scaled = compare(
        "float32, normalised and invariant", X, y, 18, "--normalized --invariant", rule=Adagrad(0.0), normalized=True,
        invariant=True,
    )  # fmt: skip
    X, y = even_rows(20_000 if quick else 200_000, 2**WIDE)
    wide = compare(f"float32, 2^{WIDE} features", X, y, WIDE)
    pairs.verdict(
        ("our rows/s / Vowpal Wabbit's", plain, ">=", 2.5),
        ("by its default step", scaled, ">=", 1),
        (f"with 2^{WIDE} features", wide, ">=", 2.5),
    )


def write(path, X, y):
    """Rows as Vowpal Wabbit's text; a name that is a number is the feature's index."""
    ends = X.indptr.tolist()
    words = [f"{i}:{v:.8g}" for i, v in zip(X.indices.tolist(), X.data.tolist(), strict=True)]
    with open(path, "w") as file:
        for row, label in enumerate(y.tolist()):
            file.write(f"{label:.0f} | {' '.join(words[ends[row] : ends[row + 1]])}\n")


if __name__ == "__main__":
    main()
