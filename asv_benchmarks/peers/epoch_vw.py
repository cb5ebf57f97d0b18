"""One logistic pass: `fit_linear` against Vowpal Wabbit, which reads its binary cache.

Text-like rows are learnt with plain Adagrad steps and with Vowpal Wabbit's default steps.  Rows with 40 features drawn
uniformly from 2^24 are learnt with plain Adagrad steps.
"""

import os
import tempfile

import numpy as np
import pairs

WIDE_BITS = 24


def main():
    quick = pairs.parse_options(__doc__).quick
    vowpalwabbit = pairs.import_peer("vowpalwabbit")
    from benchmarks.common import even_rows, text_like

    from adagrad_nb import Adagrad, fit_linear

    def compare(name, X, y, bits, flags="", **options):
        """Print both speeds and losses; return the ratio of the speeds."""
        print(f"{X.shape[0]} rows, {X.shape[1]} features, {X.nnz / X.shape[0]:.1f} stored values a row")
        with tempfile.TemporaryDirectory() as folder:
            text, cache = os.path.join(folder, "rows.vw"), os.path.join(folder, "rows.cache")
            write(text, X, y)
            command = (
                f"--adaptive {flags} --noconstant -l 0.5 --loss_function logistic -b {bits} --quiet -d {text} "
                f"--cache_file {cache}"
            )
            vowpalwabbit.Workspace(command + " -k").finish()  # reads the text and writes the cache
            os.truncate(text, 0)  # the next runs can read the cache only

            def vw():
                workspace = vowpalwabbit.Workspace(command)  # runs the whole pass
                loss = workspace.get_sum_loss() / workspace.get_weighted_examples()
                workspace.finish()
                return loss

            def ours():
                return fit_linear(X, y, lr=0.5, intercept=False, **options).progressive_loss

            losses = ours(), vw()
            timings = pairs.time_alternately(ours, vw, 3 if quick else 7, pause=0.05)
        ratio = pairs.print_timings(name, timings, X.shape[0] * 1e-6, "M rows/s", rate=True)
        print(f"progressive loss: ours {losses[0]:.6f}, peer {losses[1]:.6f}")
        # With scaled steps ours may reach a lower loss, because it limits the effect of tiny first values.
        assert losses[0] < losses[1] + 1e-3, "our progressive loss is higher"
        assert flags or losses[0] > losses[1] - 1e-3, "the progressive losses differ"
        return ratio

    pairs.print_versions("vowpalwabbit", ours=1, vw="1 for learning, 1 for reading the cache")
    X, y = text_like(20_000 if quick else 200_000)
    X = X.astype(np.float32)
    plain = compare("float32", X, y, 18)
    scaled = compare(
        "float32, normalised and invariant", X, y, 18, "--normalized --invariant", rule=Adagrad(0.0), normalized=True,
        invariant=True,
    )  # fmt: skip
    X, y = even_rows(20_000 if quick else 200_000, 2**WIDE_BITS)
    wide = compare(f"float32, 2^{WIDE_BITS} features", X, y, WIDE_BITS)
    pairs.print_targets(
        ("our rows/s / Vowpal Wabbit's", plain, ">=", 2.5),
        ("with its default steps", scaled, ">=", 1),
        (f"with 2^{WIDE_BITS} features", wide, ">=", 2.5),
    )


def write(path, X, y):
    """Write rows as Vowpal Wabbit text.  A numeric feature name is the index of the feature."""
    indptr = X.indptr.tolist()
    features = [f"{i}:{v:.8g}" for i, v in zip(X.indices.tolist(), X.data.tolist(), strict=True)]
    with open(path, "w") as file:
        for row, label in enumerate(y.tolist()):
            file.write(f"{label:.8g} | {' '.join(features[indptr[row] : indptr[row + 1]])}\n")


if __name__ == "__main__":
    main()
