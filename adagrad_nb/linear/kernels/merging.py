"""Kernels that merge the results of several workers that started from the same weights.

From (w0, G0) worker k reached (w_k, G_k).  Accumulators are sums over updates and add: G = G0 + sum of G_k - G0.  Two
merged weights are computed:

* The average is w0 + sum of a_k (w_k - w0) with fractions a_k = (G_k - G0) / (G - G0) [1]_.  It is safe, but slow where
  the workers learnt different things about the same weight.
* The sum is w0 + sum of c_k (w_k - w0), where c_k is the step size at G divided by that at G_k.  Each change is as
  short as if the worker had known the gradients of the others.  It keeps up with a single worker on sparse data, and
  overshoots where all workers changed the same correlated weights.

The blend is average + b (sum - average) with one b in [0, 0.9] for all weights, which minimises the loss of a sample of
rows; predictions are linear in b.  On text, b = 1 in every round ended one run in four with a test loss 2 to 7 % above
that of one worker; with a tenth of the average none did.

With several outputs, each is merged by itself, and the blend has the same b for all.

.. [1] A. Agarwal, O. Chapelle, M. Dudík, J. Langford, "A Reliable Effective Terascale Linear Learning System", JMLR 15
   (2014) 1111-1133, equation 2; here with the growth of each worker's accumulators, without the common start.
"""

import math
from typing import Any, NamedTuple

from numba import types

from ...compiler.jit import add_tuples, bind, cast_like, field_type, jit, jitable, load, store, subtract_tuples
from ...records.dual_averaging import is_dual_averaging
from ...records.losses import slope
from ...records.multiclass_losses import is_multi_output_loss
from ...records.penalties import prox
from ...records.rules import preconditioner
from .lazy import catch_up, caught_up, dual_averaging_solution, set_last_update, time_at
from .multi_rows import loss_and_gradient

BLOCK_COORDINATES = 1024  # coordinates whose parts of seven arrays stay in the first cache
MAX_BLEND = 0.9  # b at most


class WorkerResults(NamedTuple):
    """Results of workers that started from the same weights, and the workspace of the merge.

    Row k of the first five arrays belongs to worker k, which made `n_updates[k]` updates.  `average`,
    `sum_minus_average` and `growth` (of the accumulators) have one entry for each coordinate.  `bias_ends` holds the
    first two for the intercept, and `sample_scores[:, j]` the scores of sampled row j by each.  With several outputs,
    `loss_derivative` takes ``sample_scores[:, j]`` of all outputs, and two more of them as workspace.
    """

    w: Any
    s: Any
    last_update: Any
    bias: Any
    bias_s: Any
    n_updates: Any
    average: Any
    sum_minus_average: Any
    growth: Any
    bias_ends: Any
    sample_scores: Any


@jitable
def divide_by_preconditioner(rule, weighted_sum, s):
    """Divide a sum of preconditioned changes by the preconditioner of all; return it unchanged where that is zero."""
    scale = preconditioner(rule, s)
    return weighted_sum / scale if scale > 0 else weighted_sum


def slice_arrays(arrays, low, high):
    """Return the same slice of each array of a tuple."""
    return tuple(array[low:high] for array in arrays)


@bind(slice_arrays)
def _overload_slice_arrays(arrays, low, high):
    if len(arrays) == 0:
        return lambda arrays, low, high: ()
    return lambda arrays, low, high: (arrays[0][low:high],) + slice_arrays(arrays[1:], low, high)


@jitable
def finish_block(rule, w, s, average, sum_minus_average, growth, n_workers):
    """Turn sums over workers into the average, sum minus average, and accumulators."""
    fraction = cast_like(1, w) / cast_like(n_workers, w)
    for i in range(w.shape[0]):
        store(s, i, add_tuples(load(s, i), load(growth, i)))
    for i in range(w.shape[0]):
        sum_minus_average[i] = divide_by_preconditioner(rule, sum_minus_average[i], load(s, i))
    for i in range(w.shape[0]):
        first_growth = load(growth, i)[0]
        # Where no accumulator has grown, for lack of digits or of gradients, every worker counts alike.
        average[i] = average[i] / first_growth if first_growth > 0 else sum_minus_average[i] * fraction
    for i in range(w.shape[0]):
        sum_minus_average[i] -= average[i]
        average[i] += w[i]


@jitable
def start_block(rule, w, s, wk, sk, average, sum_minus_average, growth):
    """Start the sums with the result of one worker."""
    for i in range(w.shape[0]):
        store(growth, i, subtract_tuples(load(sk, i), load(s, i)))
    for i in range(w.shape[0]):
        average[i] = (load(sk, i)[0] - load(s, i)[0]) * (wk[i] - w[i])
    for i in range(w.shape[0]):
        sum_minus_average[i] = preconditioner(rule, load(sk, i)) * (wk[i] - w[i])


@jitable
def add_block(rule, w, s, wk, sk, average, sum_minus_average, growth):
    """Add the result of another worker to the sums."""
    for i in range(w.shape[0]):
        store(growth, i, add_tuples(load(growth, i), subtract_tuples(load(sk, i), load(s, i))))
    for i in range(w.shape[0]):
        average[i] += (load(sk, i)[0] - load(s, i)[0]) * (wk[i] - w[i])
    for i in range(w.shape[0]):
        sum_minus_average[i] += preconditioner(rule, load(sk, i)) * (wk[i] - w[i])


@jitable
def merge_plain(spec, weights, results, t, low, high):
    """Set the average, sum minus average, and merged accumulators of the coordinates low, …, high - 1.

    A loop over many arrays does not vectorise, because they may overlap.  So there are many small loops, over blocks
    that stay in the cache.
    """
    rule, n_workers = spec.update.rule, results.n_updates.shape[0]
    for first in range(low, high, BLOCK_COORDINATES):
        end = min(first + BLOCK_COORDINATES, high)
        w, s, growth = (
            weights.w[first:end],
            slice_arrays(weights.s, first, end),
            slice_arrays(results.growth, first, end),
        )
        average, sum_minus_average = results.average[first:end], results.sum_minus_average[first:end]
        start_block(
            rule,
            w,
            s,
            results.w[0][first:end],
            slice_arrays(load(results.s, 0), first, end),
            average,
            sum_minus_average,
            growth,
        )
        for k in range(1, n_workers):
            wk, sk = results.w[k][first:end], slice_arrays(load(results.s, k), first, end)
            add_block(rule, w, s, wk, sk, average, sum_minus_average, growth)
        finish_block(rule, w, s, average, sum_minus_average, growth, n_workers)


@jitable
def lazy_terms(spec, start, x, s0, sk, n):
    """Return the terms of a worker that moved a weight from `start` to x in n updates; terms of workers add.

    With the growth g of the first accumulator and the change d of the weight, they are g d, d times the preconditioner,
    g squared, g n, n, 1, and whether x is not zero.
    """
    growth, step, one = sk[0] - s0[0], x - start, type(x)(1)
    weighted, updates = preconditioner(spec.update.rule, sk) * step, type(x)(n)
    nonzero = one if x != 0 else one - one
    return growth * step, weighted, growth * growth, growth * updates, updates, one, nonzero


@jitable
def finish_lazy(spec, start, si, growth, terms, t, n, i):
    """Return the average and the sum minus average of coordinate i after n updates since update t.

    With fractions a_k the average makes sum a_k**2 of the progress of all workers in sequence, but only sum a_k n_k of
    their n penalty steps.  The missing penalty steps are added, so that loss and penalty stay in balance.
    """
    average, weighted_sum, square_sum, n_by_growth, _, _, n_nonzero = terms
    x = start + average / growth
    missing = int(n * (square_sum / growth / growth) - n_by_growth / growth + 0.5)
    if missing > 0:
        x = catch_up(spec.lazy, spec, x, si, time_at(spec.lazy, t), time_at(spec.lazy, t + missing), i)
    if not n_nonzero > 0:
        return start - start, start - start
    return x, start + divide_by_preconditioner(spec.update.rule, weighted_sum, si) - x


@jitable
def merge_lazy(spec, weights, results, t, low, high):
    """Merge like `merge_plain` under a penalty that changes coordinates without gradient.

    A coordinate that no worker updated keeps its value.
    """
    w, s, last_update, _, _ = weights
    n_workers = results.n_updates.shape[0]
    n = 0
    for k in range(n_workers):
        n += results.n_updates[k]
    for i in range(low, high):
        results.average[i] = w[i]
        results.sum_minus_average[i] = 0
        s0 = load(s, i)
        growth = subtract_tuples(s0, s0)
        for k in range(n_workers):
            growth = add_tuples(growth, subtract_tuples(load(results.s, (k, i)), s0))
        if not growth[0] > 0:
            continue
        si = add_tuples(s0, growth)
        start = caught_up(spec, w[i], s0, last_update, i, t)
        terms = lazy_terms(spec, start, start, s0, s0, 0)
        terms = subtract_tuples(terms, terms)
        for k in range(n_workers):
            sk, x, first, end = (
                load(results.s, (k, i)),
                results.w[k, i],
                results.last_update[k, i],
                time_at(spec.lazy, t + results.n_updates[k]),
            )
            if first < end:
                x = catch_up(spec.lazy, spec, x, sk, first, end, i)
            terms = add_tuples(terms, lazy_terms(spec, start, x, s0, sk, results.n_updates[k]))
        results.average[i], results.sum_minus_average[i] = finish_lazy(spec, start, si, growth[0], terms, t, n, i)
        store(s, i, si)
        set_last_update(spec.lazy, spec, last_update, i, t + n)


@jitable
def merge_dual_averaging(spec, weights, results, t, low, high):
    """Merge for dual averaging: accumulators add, and the weights follow from them."""
    w, s = weights.w, weights.s
    n = 0
    for k in range(results.n_updates.shape[0]):
        n += results.n_updates[k]
    for i in range(low, high):
        s0 = load(s, i)
        si = s0
        for k in range(results.n_updates.shape[0]):
            si = add_tuples(si, subtract_tuples(load(results.s, (k, i)), s0))
        store(s, i, si)
        results.average[i] = dual_averaging_solution(spec.update, spec.schedule, w[i], si, i, t + n)
        results.sum_minus_average[i] = 0


@jitable
def merge_bias_plain(spec, weights, results, t):
    """Return (average, sum minus average, merged accumulators) of the intercept."""
    rule, n_workers = spec.bias_update.rule, results.n_updates.shape[0]
    start, s0 = weights.bias[0], load(weights.bias_s, 0)
    growth = subtract_tuples(s0, s0)
    mean = weighted_sum = start - start
    for k in range(n_workers):
        sk = load(results.bias_s, (k, 0))
        step = results.bias[k, 0] - start
        growth = add_tuples(growth, subtract_tuples(sk, s0))
        mean += (sk[0] - s0[0]) * step
        weighted_sum += preconditioner(rule, sk) * step
    si = add_tuples(s0, growth)
    weighted_sum = divide_by_preconditioner(rule, weighted_sum, si)
    mean = mean / growth[0] if growth[0] > 0 else weighted_sum / cast_like(n_workers, weights.w)
    return start + mean, weighted_sum - mean, si


@jitable
def merge_bias_dual_averaging(spec, weights, results, t):
    """Return (average, zero, merged accumulators) of the intercept for dual averaging."""
    s0 = load(weights.bias_s, 0)
    si, n = s0, 0
    for k in range(results.n_updates.shape[0]):
        si = add_tuples(si, subtract_tuples(load(results.bias_s, (k, 0)), s0))
        n += results.n_updates[k]
    x = weights.bias[0]
    return dual_averaging_solution(spec.bias_update, spec.schedule, x, si, 0, t + n), x - x, si


def _choose_merge(is_dual, has_last_update):
    """Return the functions that merge coordinates and the intercept."""
    if is_dual:
        return merge_dual_averaging, merge_bias_dual_averaging
    return (merge_lazy if has_last_update else merge_plain), merge_bias_plain


def merge_range(spec, weights, results, t, low, high):
    """Merge the coordinates low, …, high - 1 of results that started at update t."""
    function, _ = _choose_merge(is_dual_averaging(spec.update.rule), not isinstance(weights.last_update, tuple))
    function(spec, weights, results, t, low, high)


def merge_bias(spec, weights, results, t):
    """Return (average, sum minus average, merged accumulators) of the intercept."""
    _, function = _choose_merge(is_dual_averaging(spec.update.rule), False)
    return function(spec, weights, results, t)


@bind(merge_range)
def _overload_merge_range(spec, weights, results, t, low, high):
    rule = field_type(field_type(spec, "update"), "rule").instance_class
    function, _ = _choose_merge(is_dual_averaging(rule), isinstance(field_type(weights, "last_update"), types.Array))
    return lambda spec, weights, results, t, low, high: function(spec, weights, results, t, low, high)


@bind(merge_bias)
def _overload_merge_bias(spec, weights, results, t):
    rule = field_type(field_type(spec, "update"), "rule").instance_class
    _, function = _choose_merge(is_dual_averaging(rule), False)
    return lambda spec, weights, results, t: function(spec, weights, results, t)


@jitable
def blend_coordinate(spec, results, b, i):
    """Return the blend at coordinate i, projected onto the bounds of the penalty by a step of size zero."""
    x = results.average[i] + b * results.sum_minus_average[i]
    return prox(spec.update.penalty, x, x - x, i)


@jitable
def predict_sample(rows, results, first, end, stride, low, high):
    """sample_scores[:, j] = score of row first + j stride by the average and its change, for j = low, …, high - 1"""
    for j in range(low, high):
        r = rows.order[first + j * stride]
        p, q = results.bias_ends[0], results.bias_ends[1]
        if rows.weight[r] != 0:  # others have not been looked at, and may be anything
            for k in range(rows.indptr[r], rows.indptr[r + 1]):
                i, x = rows.indices[k], rows.data[k]
                p += results.average[i] * x
                q += results.sum_minus_average[i] * x
        results.sample_scores[0, j] = p
        results.sample_scores[1, j] = q


@jitable
def _loss_derivative_of_one(spec, rows, results, b, first, stride, count):
    """Return the derivative of the loss of one output."""
    total = 0.0
    for j in range(count):
        r = rows.order[first + j * stride]
        h = rows.weight[r]
        if h != 0:
            p, q = results.sample_scores[0, j], results.sample_scores[1, j]
            total += h * slope(spec.loss, rows.y[r], p + b * q) * q
    return total


@jitable
def _loss_derivative_of_several(spec, rows, results, b, first, stride, count):
    """Return the derivative of the loss of several outputs."""
    scores, total = results.sample_scores, 0.0
    p, z, loss_sums = scores[0, -1], scores[1, -1], scores[0, -2]
    for j in range(count):
        r = rows.order[first + j * stride]
        h = rows.weight[r]
        if h != 0:
            for c in range(p.shape[0]):
                p[c] = scores[0, j, c] + b * scores[1, j, c]
            loss_and_gradient(spec.loss, rows.y[r], p, z, h, loss_sums)
            for c in range(p.shape[0]):
                total += z[c] * scores[1, j, c]
    return total


def _choose_loss_derivative(loss):
    return _loss_derivative_of_several if is_multi_output_loss(loss) else _loss_derivative_of_one


def loss_derivative(spec, rows, results, b, first, stride, count):
    """Return the derivative of the loss of the sample by b."""
    return _choose_loss_derivative(spec.loss)(spec, rows, results, b, first, stride, count)


@bind(loss_derivative)
def _overload_loss_derivative(spec, rows, results, b, first, stride, count):
    function = _choose_loss_derivative(field_type(spec, "loss").instance_class)
    return lambda spec, rows, results, b, first, stride, count: function(spec, rows, results, b, first, stride, count)


@jitable
def find_blend(spec, rows, results, first, stride, count):
    """Return the b in [0, MAX_BLEND] that minimises the loss of the sample; 0 if its scores are not finite."""
    zero = results.bias_ends[0] - results.bias_ends[0]
    low, high = zero, cast_like(MAX_BLEND, results.sample_scores)
    at_high = loss_derivative(spec, rows, results, high, first, stride, count)
    if at_high < 0 and math.isfinite(at_high):
        return high  # the most frequent case
    at_low = loss_derivative(spec, rows, results, low, first, stride, count)
    if not (at_low < 0 and math.isfinite(at_low) and math.isfinite(at_high)):
        return zero
    b = low
    for _ in range(6):  # false position; an end that stays counts half, so that both close in
        b = low + (high - low) * cast_like(at_low / (at_low - at_high), results.sample_scores)
        at_b = loss_derivative(spec, rows, results, b, first, stride, count)
        if at_b < 0:
            low, at_low = b, at_b
            at_high /= 2
        else:
            high, at_high = b, at_b
            at_low /= 2
    return b


# --- sums over learners ----------------------------------------------------------------------------------------------


@jitable
def plain_terms(spec, start, trained, i, t, n):
    """Return the terms of `merge_plain` for one worker; terms of workers add."""
    s0, sk, step = load(start.s, i), load(trained.s, i), trained.w[i] - start.w[i]
    return (sk[0] - s0[0]) * step, preconditioner(spec.update.rule, sk) * step


@jitable
def lazy_terms_of(spec, start, trained, i, t, n):
    """Return the terms of `merge_lazy` for one worker that made n updates."""
    s0, sk, x = load(start.s, i), load(trained.s, i), trained.w[i]
    first, end = trained.last_update[i], time_at(spec.lazy, t + n)
    if first < end:
        x = catch_up(spec.lazy, spec, x, sk, first, end, i)
    return lazy_terms(spec, caught_up(spec, start.w[i], s0, start.last_update, i, t), x, s0, sk, n)


@jitable
def no_terms(spec, start, trained, i, t, n):
    """Return (): dual averaging needs the growth of the accumulators only."""
    return ()


@jitable
def finish_plain(spec, weights, terms, si, growth, i, span):
    """Return the average and the sum minus average of a coordinate from the sums of `plain_terms`."""
    _, _, n_workers = span
    weighted_sum = divide_by_preconditioner(spec.update.rule, terms[1], si)
    mean = terms[0] / growth[0] if growth[0] > 0 else weighted_sum / cast_like(n_workers, weights.w)
    return weights.w[i] + mean, weighted_sum - mean


@jitable
def finish_lazy_sums(spec, weights, terms, si, growth, i, span):
    """Return the average and the sum minus average of a coordinate from the sums of `lazy_terms`.

    The workers that did not update it made the other penalty steps, each the same number of them.
    """
    t, n, n_workers = span
    s0 = load(weights.s, i)
    if not growth[0] > 0:
        x = caught_up(spec, weights.w[i], s0, weights.last_update, i, t)
        x = catch_up(spec.lazy, spec, x, s0, time_at(spec.lazy, t), time_at(spec.lazy, t + n), i) if n > 0 else x
        return x, x - x
    start = caught_up(spec, weights.w[i], s0, weights.last_update, i, t)
    n_others = n_workers - int(terms[5] + 0.5)
    if n_others > 0:
        steps = int((n - terms[4]) / n_others + 0.5)
        x = start
        if steps > 0:
            x = catch_up(spec.lazy, spec, x, s0, time_at(spec.lazy, t), time_at(spec.lazy, t + steps), i)
        others = lazy_terms(spec, start, x, s0, s0, 0)
        a, weighted_sum, b, c, d, e, n_nonzero = terms
        count = type(x)(n_others)
        terms = a, weighted_sum + count * others[1], b, c, d, e, n_nonzero + count * others[6]
    return finish_lazy(spec, start, si, growth[0], terms, t, n, i)


@jitable
def finish_dual_averaging(spec, weights, terms, si, growth, i, span):
    """Return the weight that follows from the accumulators, and zero."""
    t, n, _ = span
    x = dual_averaging_solution(spec.update, spec.schedule, weights.w[i], si, i, t + n)
    return x, x - x


def _choose_sums(is_dual, has_last_update):
    """Return the functions that compute and finish the sums over workers."""
    if is_dual:
        return no_terms, finish_dual_averaging
    return (lazy_terms_of, finish_lazy_sums) if has_last_update else (plain_terms, finish_plain)


def count_terms(rule, has_last_update):
    """Return the number of terms of a coordinate."""
    return {no_terms: 0, plain_terms: 2, lazy_terms_of: 7}[_choose_sums(is_dual_averaging(rule), has_last_update)[0]]


def change_terms(spec, start, trained, i, t, n):
    """Return the terms of coordinate i for one worker, besides the growth of its accumulators."""
    function, _ = _choose_sums(is_dual_averaging(spec.update.rule), not isinstance(start.last_update, tuple))
    return function(spec, start, trained, i, t, n)


def finish_terms(spec, weights, terms, si, growth, i, span):
    """Return the average and the sum minus average of coordinate i from the sums over all workers."""
    _, function = _choose_sums(is_dual_averaging(spec.update.rule), not isinstance(weights.last_update, tuple))
    return function(spec, weights, terms, si, growth, i, span)


def _choose_sums_by_type(spec, weights):
    rule = field_type(field_type(spec, "update"), "rule").instance_class
    return _choose_sums(is_dual_averaging(rule), isinstance(field_type(weights, "last_update"), types.Array))


@bind(change_terms)
def _overload_change_terms(spec, start, trained, i, t, n):
    function, _ = _choose_sums_by_type(spec, start)
    return lambda spec, start, trained, i, t, n: function(spec, start, trained, i, t, n)


@bind(finish_terms)
def _overload_finish_terms(spec, weights, terms, si, growth, i, span):
    _, function = _choose_sums_by_type(spec, weights)
    return lambda spec, weights, terms, si, growth, i, span: function(spec, weights, terms, si, growth, i, span)


@jit
def sum_changes(spec, start, trained, columns, span, growth, terms):
    """growth[:][j], terms[:][j] = those of coordinate columns[j] for a worker that made n updates, span = t, n"""
    t, n = span
    for j in range(columns.shape[0]):
        i = columns[j]
        store(growth, j, subtract_tuples(load(trained.s, i), load(start.s, i)))
        store(terms, j, change_terms(spec, start, trained, i, t, n))


@jit
def add_at_columns(all_columns, columns, values, totals):
    """totals[:, p] += values[:, k] with all_columns[p] = columns[k]; both lists increase"""
    p = 0
    for k in range(columns.shape[0]):
        while all_columns[p] != columns[k]:
            p += 1
        for row in range(values.shape[0]):
            totals[row, p] += values[row, k]


@jit
def finish_sums(spec, weights, results, columns, terms, t):
    """average[j], sum_minus_average[j], G = merged results of coordinate columns[j]; `growth` becomes G"""
    n_workers, n = results.n_updates.shape[0], 0
    for k in range(n_workers):
        n += results.n_updates[k]
    for j in range(columns.shape[0]):
        i, growth = columns[j], load(results.growth, j)
        si = add_tuples(load(weights.s, i), growth)
        average, sum_minus_average = finish_terms(spec, weights, load(terms, j), si, growth, i, (t, n, n_workers))
        results.average[j] = average
        results.sum_minus_average[j] = sum_minus_average
        store(results.growth, j, si)
    average, sum_minus_average, s = merge_bias(spec, weights, results, t)
    results.bias_ends[0] = average
    results.bias_ends[1] = sum_minus_average
    store(weights.bias_s, 0, s)


@jit
def predict_rows(rows, results):
    """sample_scores[:, j] = score of row j by the average and its change, for all rows"""
    predict_sample(rows, results, 0, rows.order.shape[0], 1, 0, rows.order.shape[0])


@jit
def choose_blend(spec, rows, results):
    """Return the b that minimises the loss of the rows."""
    return find_blend(spec, rows, results, 0, 1, rows.order.shape[0])


@jit
def blend_columns(spec, results, columns, b):
    """average[j] = blend of coordinate columns[j]"""
    for j in range(columns.shape[0]):
        x = results.average[j] + b * results.sum_minus_average[j]
        results.average[j] = prox(spec.update.penalty, x, x - x, columns[j])
