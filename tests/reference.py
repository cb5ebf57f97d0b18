"""The formulas of the papers in slow float64 loops, independent of the package.

Sources, by the names used below:

Duchi 2011
    J. Duchi, E. Hazan, Y. Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization",
    JMLR 12, 2121-2159.
McMahan 2013
    H. B. McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013.
Zou 2005
    H. Zou, T. Hastie, "Regularization and variable selection via the elastic net", JRSS B 67, 301-320.
Parikh 2014
    N. Parikh, S. Boyd, "Proximal Algorithms", Foundations and Trends in Optimization 1, 127-239.
Loshchilov 2017, 2019
    I. Loshchilov, F. Hutter, "SGDR", ICLR 2017; "Decoupled Weight Decay Regularization", ICLR 2019.
Pascanu 2013
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", ICML, algorithm 1.
Polyak 1992
    B. Polyak, A. Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim. 30.
Zeiler 2012
    M. Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv:1212.5701.
Hastie 2009
    T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd ed., section 4.4.
Cortes 1995
    C. Cortes, V. Vapnik, "Support-Vector Networks", Machine Learning 20, 273-297.
Zhang 2004
    T. Zhang, "Solving Large Scale Linear Prediction Problems Using Stochastic Gradient Descent Algorithms", ICML.
Shalev-Shwartz 2013
    S. Shalev-Shwartz, T. Zhang, "Stochastic Dual Coordinate Ascent Methods for Regularized Loss Minimization",
    JMLR 14, 567-599.
Huber 1964
    P. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 73-101.
Koenker 1978
    R. Koenker, G. Bassett, "Regression Quantiles", Econometrica 46, 33-50.
McCullagh 1989
    P. McCullagh, J. Nelder, "Generalized Linear Models", 2nd ed.
"""

import math

import numpy as np

# --- rules -------------------------------------------------------------------------------------------------------


def adagrad(x, g, G, lr, eps=1e-10, inside=False):
    """Duchi 2011, figure 1 with a diagonal matrix H = delta I + diag(s), and its variant with delta in the root.

    Returns x, G and the step size of the proximal step, lr / H.
    """
    G = G + g * g
    H = math.sqrt(G + eps) if inside else math.sqrt(G) + eps
    if H == 0.0:  # no gradient has ever been seen: the paper's pseudo-inverse
        return x, G, 0.0
    return x - lr * g / H, G, lr / H


def momentum_adagrad(x, g, s, lr, momentum=0.9, eps=0.0):
    """jax.example_libraries.optimizers.adagrad: s is (G, m)."""
    G = s[0] + g * g
    H = math.sqrt(G + eps)
    m = (1.0 - momentum) * (g / H if H > 0.0 else 0.0) + momentum * s[1]
    return x - lr * m, (G, m), (lr / H if H > 0.0 else 0.0)


def adadelta(x, g, s, lr, rho=0.9, eps=1e-6):
    """Zeiler 2012, algorithm 1, with a rate: s is (E[g^2], E[dx^2])."""
    E = rho * s[0] + (1.0 - rho) * g**2
    dx = -math.sqrt(s[1] + eps) / math.sqrt(E + eps) * g
    D = rho * s[1] + (1.0 - rho) * dx**2
    return x + lr * dx, (E, D), lr * math.sqrt(D + eps) / math.sqrt(E + eps)


def rda(x, g, s, lr, eps=0.0, initial=0.0):
    """Duchi 2011, figure 1, primal-dual subgradient update with a diagonal matrix: s is (G, z), z the sum of gradients.

    The step size is that of one update; after t updates, the argmin uses t times it.
    """
    G, z = s[0] + g * g, s[1] + g
    H = math.sqrt(G) + eps
    if z == 0.0 and G == initial:  # no gradient has ever been seen
        return x, (G, z), lr / H if H > 0.0 else 0.0
    return -lr * z / H, (G, z), lr / H


def ftrl(x, g, s, lr, beta=1.0, l1=0.0, l2=0.0):
    """McMahan 2013, algorithm 1, with z times the rate: s is (n, z).  The first z makes x the solution."""
    n, z = s
    if n == 0.0:
        z = -x * (beta + lr * l2) - np.sign(x) * lr * l1
    sigma = math.sqrt(n + g * g) - math.sqrt(n)
    z, n = z + lr * g - sigma * x, n + g * g
    H = beta + math.sqrt(n) + lr * l2
    if n == 0.0:
        return x, (n, z), lr / H if H > 0.0 else 0.0
    return (0.0 if abs(z) <= lr * l1 else -(z - np.sign(z) * lr * l1) / H), (n, z), lr / H


# --- penalties: value and proximal step --------------------------------------------------------------------------


def no_penalty(x):
    """No penalty."""
    return 0.0


def no_prox(x, w):
    """No penalty."""
    return x


def l1(x, strength):
    """Duchi 2011, section 5.1."""
    return strength * abs(x)


def l1_prox(x, w, strength):
    """Duchi 2011, section 5.1: sign(x) [|x| - w strength]_+."""
    return math.copysign(max(abs(x) - w * strength, 0.0), x)


def l2(x, strength):
    """Half the square."""
    return 0.5 * strength * x**2


def l2_prox(x, w, strength):
    """Parikh 2014, section 6.1.1."""
    return x / (1.0 + w * strength)


def elastic_net(x, first, second):
    """Zou 2005, section 2.1, with half the square."""
    return first * abs(x) + 0.5 * second * x**2


def elastic_net_prox(x, w, first, second):
    """Parikh 2014, section 6.5: soft threshold, then scale."""
    return l1_prox(x, w, first) / (1.0 + w * second)


def box(x, lower, upper):
    """The indicator of an interval."""
    return 0.0 if lower <= x <= upper else math.inf


def box_prox(x, w, lower, upper):
    """Parikh 2014, section 6.2: the projection."""
    return min(max(x, lower), upper)


# --- losses ------------------------------------------------------------------------------------------------------


def logistic(y, p):
    """Hastie 2009, for targets -1 and 1, in extended precision."""
    margin = np.longdouble(y) * np.longdouble(p)
    return float(np.log1p(np.exp(-margin)) if margin > -40 else -margin + np.log1p(np.exp(margin)))


def logistic_slope(y, p):
    """-y / (1 + exp(y p)), in extended precision."""
    margin = np.longdouble(y) * np.longdouble(p)
    return float(-np.longdouble(y) / (1 + np.exp(min(margin, np.longdouble(11000)))))


def logistic_link(p):
    """Hastie 2009: the probability of y = 1."""
    return float(1 / (1 + np.exp(-np.longdouble(p)))) if p > -11000 else 0.0


def squared(y, p):
    """Half the squared error."""
    return 0.5 * (p - y) ** 2


def squared_slope(y, p):
    """p - y."""
    return p - y


def hinge(y, p):
    """Cortes 1995: the slack of a row whose margin should be 1."""
    return max(0.0, 1.0 - y * p)


def hinge_slope(y, p):
    """0 at the kink."""
    return -y if y * p < 1.0 else 0.0


def squared_hinge(y, p):
    """The square of the hinge loss."""
    return hinge(y, p) ** 2


def squared_hinge_slope(y, p):
    """2 h h' by the chain rule."""
    return 2.0 * hinge(y, p) * hinge_slope(y, p)


def smooth_hinge(y, p, gamma=1.0):
    """Shalev-Shwartz 2013, section 3: max over a in [0, 1] of a (1 - y p) - gamma a^2 / 2, the hinge's smoothing."""
    a = min(max((1.0 - y * p) / gamma, 0.0), 1.0)
    return a * (1.0 - y * p) - gamma * a**2 / 2.0


def smooth_hinge_slope(y, p, gamma=1.0):
    """Danskin: -y times the a of the maximum."""
    return -y * min(max((1.0 - y * p) / gamma, 0.0), 1.0)


def modified_huber(y, p):
    """Zhang 2004, section 2."""
    if y * p < -1.0:
        return -4.0 * y * p
    return max(0.0, 1.0 - y * p) ** 2


def modified_huber_slope(y, p):
    """Zhang 2004, section 2."""
    if y * p < -1.0:
        return -4.0 * y
    return -2.0 * y * max(0.0, 1.0 - y * p)


def modified_huber_link(p):
    """Zhang 2004, section 3: (1 + clip(p)) / 2."""
    return (1.0 + min(max(p, -1.0), 1.0)) / 2.0


def perceptron(y, p):
    """Hastie 2009, section 4.5.1: the distance of a row on the wrong side."""
    return max(0.0, -y * p)


def perceptron_slope(y, p):
    """At the kink, the slope of the wrong side."""
    return -y if y * p <= 0.0 else 0.0


def huber(y, p, delta=1.0):
    """Huber 1964, equation 3.1 ff.: rho(t)."""
    t = p - y
    return t**2 / 2.0 if abs(t) <= delta else delta * abs(t) - delta**2 / 2.0


def huber_slope(y, p, delta=1.0):
    """Huber 1964: psi(t)."""
    return min(max(p - y, -delta), delta)


def absolute(y, p):
    """The absolute error."""
    return abs(y - p)


def absolute_slope(y, p):
    """The sign, 0 at the kink."""
    return float(np.sign(p - y))


def epsilon_insensitive(y, p, epsilon=0.1):
    """Cortes' slack on either side of a tube around y."""
    return max(0.0, y - p - epsilon) + max(0.0, p - y - epsilon)


def epsilon_insensitive_slope(y, p, epsilon=0.1):
    """0 at the kinks."""
    return float(p - y > epsilon) - float(y - p > epsilon)


def squared_epsilon_insensitive(y, p, epsilon=0.1):
    """The square of the slack."""
    return epsilon_insensitive(y, p, epsilon) ** 2


def squared_epsilon_insensitive_slope(y, p, epsilon=0.1):
    """By the chain rule."""
    return 2.0 * epsilon_insensitive(y, p, epsilon) * epsilon_insensitive_slope(y, p, epsilon)


def quantile(y, p, tau=0.5):
    """Koenker 1978, equation 3.1: weights tau above and 1 - tau below."""
    return tau * abs(y - p) if y >= p else (1.0 - tau) * abs(y - p)


def quantile_slope(y, p, tau=0.5):
    """0 at the kink."""
    return 0.0 if y == p else (-tau if y > p else 1.0 - tau)


def poisson(y, p):
    """McCullagh 1989, chapter 6: minus the log-likelihood of y at mean mu = exp(p), but for log y!."""
    mu = math.exp(p)
    return mu - y * math.log(mu)


def poisson_slope(y, p):
    """McCullagh 1989, section 2.2: mu - y for the canonical link."""
    return math.exp(p) - y


# --- schedules ---------------------------------------------------------------------------------------------------


def inverse_time(t, lr, decay):
    """Keras' InverseTimeDecay, PyTorch's lr_decay."""
    return lr / (1.0 + decay * t)


def inverse_sqrt(t, lr, decay):
    """Duchi 2011, section 1.1: the rate of plain online gradient descent."""
    return lr * (1.0 + decay * t) ** -0.5


def exponential(t, lr, rate, steps):
    """Keras' ExponentialDecay."""
    return lr * math.exp(math.log(rate) * t / steps)


def cosine(t, lr, steps, final):
    """Loshchilov 2017, equation 5, one period."""
    return final + 0.5 * (lr - final) * (1.0 + math.cos(math.pi * min(t, steps) / steps))


def polynomial(t, lr, steps, final, power, cycle=False):
    """Keras' PolynomialDecay."""
    if cycle:
        steps = steps * max(math.ceil(t / steps), 1)
    return (lr - final) * (1.0 - min(t, steps) / steps) ** power + final


def cosine_restarts(t, lr, steps, stretch, shrink, final):
    """Loshchilov 2017, equation 5 with T_i growing by `stretch`; the amplitude as in Keras' CosineDecayRestarts."""
    period, height = steps, lr - final
    while t >= period:
        t, period, height = t - period, period * stretch, height * shrink
    return final + 0.5 * height * (1.0 + math.cos(math.pi * t / period))


def cosine_wave(t, lr, steps, final, power):
    """PyTorch's CosineAnnealingLR in closed form; the power as in optax' cosine_decay_schedule."""
    return final + (lr - final) * (0.5 + 0.5 * math.cos(t / steps * math.pi)) ** power


def cyclic(t, lr, peak, up, down, shrink, decay):
    """Smith 2017: a triangle wave; its height as in PyTorch's CyclicLR, "triangular2" and "exp_range"."""
    height, position = peak - lr, t
    while position >= up + down:
        position, height = position - up - down, height * shrink
    return lr + height * decay**t * min(position / up, (up + down - position) / down)


def one_cycle(t, peak, steps, rise, div, final_div, linear):
    """Smith and Topin 2018, with the constants of PyTorch's OneCycleLR."""
    points = [(0, peak / div), (rise * steps, peak), (steps, peak / div / final_div)]
    for (begin, low), (end, high) in zip(points, points[1:], strict=False):
        if begin <= t < end:
            part = (t - begin) / (end - begin)
            return low + (high - low) * (part if linear else math.sin(math.pi * part / 2) ** 2)
    return points[-1][1]


def piecewise(t, boundaries, values):
    """The value of the last boundary up to t."""
    reached_values = [value for boundary, value in zip(boundaries, values[1:], strict=True) if boundary <= t]
    return reached_values[-1] if reached_values else values[0]


# --- transforms of a whole gradient ------------------------------------------------------------------------------


def rescale(x, g, lr, by):
    """A multiple of the gradient."""
    return x, [by * gi for gi in g]


def clip_value(x, g, lr, bound):
    """Each entry within [-bound, bound]."""
    return x, [min(max(gi, -bound), bound) for gi in g]


def clip_norm(x, g, lr, bound):
    """Pascanu 2013, algorithm 1."""
    norm = math.sqrt(math.fsum(gi * gi for gi in g))
    return x, [gi * bound / norm for gi in g] if norm > bound else g


def clip_rms(x, g, lr, bound):
    """Shazeer 2018, section 6: g / max(1, RMS(g) / bound)."""
    rms = math.sqrt(math.fsum(gi * gi for gi in g) / len(g))
    return x, [gi / max(1.0, rms / bound) for gi in g]


def adaptive_clip(x, g, lr, ratio, eps):
    """Brock 2021, equation 3, for one unit."""
    norm = math.sqrt(math.fsum(gi * gi for gi in g))
    limit = ratio * max(math.sqrt(math.fsum(xi * xi for xi in x)), eps)
    return x, [limit * gi / norm for gi in g] if norm > limit else g


def l2_decay(x, g, lr, strength):
    """Loshchilov 2019, algorithm 1: the decay is part of the gradient."""
    return x, [gi + strength * xi for xi, gi in zip(x, g, strict=True)]


def decoupled_decay(x, g, lr, strength):
    """Loshchilov 2019, algorithm 1, decoupled, times the rate as in Keras."""
    return [xi - lr * strength * xi for xi in x], g


# --- the whole step ----------------------------------------------------------------------------------------------


def of_adagrad(x, g, s, lr, **options):
    """`adagrad` with its accumulator in a tuple, like the other rules."""
    x, G, step_size = adagrad(x, g, s[0], lr, **options)
    return x, (G,), step_size


def steps(x, gradients, lr, *, rule=of_adagrad, first=(0.0,), transforms=(), prox=no_prox, dual=False):
    """Update a vector by several gradients: Duchi 2011, figure 1, composite mirror descent.

    `rule` is a function (x, g, s, lr) -> (x, s, step size) of numbers and a tuple of accumulators, whose initial values
    are `first`.  `transforms` are functions (x, g, lr) -> (x, g) of lists, and `prox` is a function (x, w) -> x.  `lr`
    has one number for each update.  With `dual`, the step size of the penalty is that of all updates so far.
    Returns x and the accumulators as arrays.
    """
    x = [float(xi) for xi in x]
    s = [first] * len(x)
    for t, (g, rate) in enumerate(zip(gradients, lr, strict=True)):
        g = [float(gi) for gi in g]
        for transform in transforms:
            x, g = transform(x, g, rate)
        for i in range(len(x)):
            x_new, s[i], step_size = rule(x[i], g[i], s[i], rate)
            x[i] = prox(x_new, (t + 1) * step_size if dual else step_size)
    return np.array(x), np.array(s).T


def moving_means(iterates, momentum):
    """Keras' use_ema: the first iterate, then momentum times the old mean plus 1 - momentum times the new iterate."""
    means_so_far = [iterates[0]]
    for x in iterates[1:]:
        means_so_far.append(momentum * means_so_far[-1] + (1.0 - momentum) * x)
    return means_so_far


def means(iterates, start=0):
    """Polyak 1992: after each update, the mean of the iterates from update `start` on."""
    return [np.mean(iterates[min(t, start) : t + 1] if t >= start else iterates[t : t + 1], axis=0)
            for t in range(len(iterates))]  # fmt: skip


# --- whole arrays --------------------------------------------------------------------------------------------------


def row_adagrad(x, g, h, lr, eps, inside=False):
    """MXNet's GroupAdaGrad, FBGEMM's rowwise_adagrad: the mean square of a row enters the accumulator of the row."""
    h = h + (g**2).mean(axis=1)
    root = np.sqrt(h + eps) if inside else np.sqrt(h) + eps
    return x - lr * g / root[:, None], h


def modulus_adagrad(x, g, G, lr, eps):
    """optax, scale_by_rss, for complex numbers: |g|^2 enters the accumulator; where it is zero, x is unchanged."""
    G = G + g.real**2 + g.imag**2
    return x - lr * np.where(G > 0, g / np.sqrt(np.where(G > 0, G + eps, 1)), 0), G


def split_adagrad(x, g, G, lr, eps):
    """PyTorch, torch.optim.Adagrad, for complex numbers: separate accumulators of real and imaginary parts."""
    real, imag = G.real + g.real**2, G.imag + g.imag**2
    return x - lr * (g.real / (np.sqrt(real) + eps) + 1j * g.imag / (np.sqrt(imag) + eps)), real + 1j * imag


def listed_adagrad(x, where, values, G, lr, eps, duplicates):
    """A sparse gradient with duplicate indices, treated by one of the four rules of other libraries."""
    x, G = x.copy(), G.copy()
    if duplicates == "sequential":
        for i, g in zip(where, values, strict=True):
            G[i] += g**2
            x[i] -= lr * g / (np.sqrt(G[i]) + eps)
        return x, G
    for i in sorted(set(where)):
        gradients = [g for j, g in zip(where, values, strict=True) if j == i]
        total = sum(gradients) / (len(gradients) if duplicates == "mean" else 1)
        G[i] += sum(g**2 for g in gradients) if duplicates == "simultaneous" else total**2
        x[i] -= lr * total / (np.sqrt(G[i]) + eps)
    return x, G
