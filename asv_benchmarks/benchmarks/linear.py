"""`fit_linear`: time and progressive loss of one pass over text-like rows and rows with millions of features."""

from adagrad_nb import L1, L2, ElasticNet, fit_linear, sweep

from .common import SIZES, even_rows, median_seconds, text_like

PENALTIES = {"none": None, "L1": L1(1e-5), "L2": L2(1e-5), "ElasticNet": ElasticNet(1e-5, 1e-5)}


class Epoch:
    """One logistic pass in file order.  The tracked loss shows whether a faster pass still learns as much."""

    params = [["float32", "float64"], list(PENALTIES)]
    param_names = ["dtype", "penalty"]
    timeout = 300

    def setup_cache(self):
        return text_like(SIZES["rows"])

    def setup(self, data, dtype, penalty):
        X, self.y = data
        self.X = X.astype(dtype)
        self.penalty = PENALTIES[penalty]
        fit_linear(self.X[:100], self.y[:100], penalty=self.penalty, lr=0.5)  # compiles, or loads from the disk cache

    def epoch(self):
        return fit_linear(self.X, self.y, penalty=self.penalty, lr=0.5)

    def time_epoch(self, data, dtype, penalty):
        self.epoch()

    def track_us_per_row(self, data, dtype, penalty):
        self.epoch()
        return 1e6 * median_seconds(self.epoch) / self.X.shape[0]

    track_us_per_row.unit = "us"

    def track_progressive_loss(self, data, dtype, penalty):
        return self.epoch().progressive_loss

    track_progressive_loss.unit = "mean loss"


class Wide(Epoch):
    """The same with millions of features: every stored value fetches cache lines from memory."""

    params = [["float32", "float64"], ["none", "L1"]]

    def setup_cache(self):
        return even_rows(SIZES["rows"], SIZES["features"])


class Scaled:
    """One pass over text-like rows with normalised steps, invariant steps, both, or a search for the learning rate."""

    params = [["normalized", "invariant", "normalized invariant", "search"]]
    param_names = ["steps"]
    timeout = 300
    setup_cache = Epoch.setup_cache

    def setup(self, data, steps):
        self.X, self.y = data
        self.options = {"lr": "auto"} if steps == "search" else {"lr": 0.5} | dict.fromkeys(steps.split(), True)
        fit_linear(self.X[:100], self.y[:100], **self.options)

    def time_epoch(self, data, steps):
        fit_linear(self.X, self.y, **self.options)

    def track_progressive_loss(self, data, steps):
        return fit_linear(self.X, self.y, **self.options).progressive_loss

    track_progressive_loss.unit = "mean loss"


class Sweep:
    """Eight learning rates and four strengths of L1 in passes of eight models."""

    grid = {"lr": [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.2, 1.6], "penalty": [1e-6, 1e-5, 1e-4, 1e-3]}
    timeout = 300

    def setup_cache(self):
        return text_like(SIZES["rows"] // 10)

    def setup(self, data):
        X, y = data
        self.lone_options = [cell.options for cell in sweep(X[:100], y[:100], self.grid)]  # compiles
        fit_linear(X[:100], y[:100], **self.lone_options[0])

    def time_sweep(self, data):
        sweep(*data, self.grid)

    def track_part_of_lone_trainings(self, data):
        lone = median_seconds(lambda: [fit_linear(*data, **options) for options in self.lone_options])
        return median_seconds(lambda: sweep(*data, self.grid)) / lone

    track_part_of_lone_trainings.unit = "of the time"


class Predict:
    """Decision values of the same rows."""

    params = [["float32", "float64"]]
    param_names = ["dtype"]
    setup_cache = Epoch.setup_cache

    def setup(self, data, dtype):
        X, y = data
        self.X = X.astype(dtype)
        self.model = fit_linear(self.X[:1000], y[:1000], lr=0.5)
        self.model.decision_function(self.X[:100])

    def time_decision_function(self, data, dtype):
        self.model.decision_function(self.X)
