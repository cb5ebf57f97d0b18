"""AdagradClassifier with scikit-learn: pipeline, grid search, `partial_fit` and `sparsify`.

Run: python examples/sklearn_pipeline.py        (needs scikit-learn: pip install 'adagrad_nb[sklearn]')
"""

import pathlib
import time

import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from adagrad_nb import AdagradClassifier, load_svmlight

DATA = pathlib.Path(__file__).parent / "data"


def main():
    """Predict whether an income exceeds 50,000 dollars."""
    X, y = load_svmlight(DATA / "a9a.xz")
    X_test, y_test = load_svmlight(DATA / "a9a.t.xz", n_features=X.shape[1])

    def show(name, model):
        loss = log_loss(y_test, model.predict_proba(X_test))
        print(f"{name:32} test log-loss {loss:.4f}, accuracy {model.score(X_test, y_test):.4f}")

    for passes in (1, 10):
        model = AdagradClassifier(max_iter=passes, random_state=0).fit(X, y)
        show(f"Adagrad, {passes} passes", model)
    curve = ", ".join(f"{loss:.4f}" for loss in model.loss_curve_)
    print(f"    mean loss of each pass: {curve}")
    show(
        "scikit-learn's SGD, 10 passes", SGDClassifier(loss="log_loss", max_iter=10, tol=None, random_state=0).fit(X, y)
    )

    pipeline = make_pipeline(MaxAbsScaler(), AdagradClassifier(penalty="l1", max_iter=3, random_state=0))
    grid = {"adagradclassifier__alpha": [1e-5, 1e-4, 1e-3], "adagradclassifier__lr": ["auto", 0.5]}
    start = time.perf_counter()
    search = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=3).fit(X, y)
    best_model = search.best_estimator_[-1]
    print(
        f"grid search, 19 fits in {time.perf_counter() - start:.1f} s: alpha {best_model.alpha:g}, lr {best_model.lr}"
    )
    show("best model of the grid", search.best_estimator_)

    daily = AdagradClassifier(penalty="l1", alpha=3e-3)
    for day in np.array_split(np.arange(y.size), 30):
        daily.partial_fit(X[day], y[day], classes=[-1, 1])
    show("one batch a day, strong L1", daily.sparsify())
    first, last = daily.loss_curve_[0], daily.loss_curve_[-1]
    print(f"    {daily.coef_.nnz} of {daily.n_features_in_} weights are non-zero; loss on day 1 {first:.4f}, on day 30 "
          f"{last:.4f}")  # fmt: skip


if __name__ == "__main__":
    main()
