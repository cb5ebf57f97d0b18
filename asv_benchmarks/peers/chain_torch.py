"""One step of 20 arrays with clip by global norm, L2 decay, schedule and EMA: against PyTorch and optax."""

import pairs

ARRAYS, LR, DECAY, BOUND, MOMENTUM = 20, 0.1, 1e-3, 1.0, 0.99


def main():
    quick = pairs.parse_options(__doc__).quick
    torch, jax, optax = pairs.import_peer("torch"), pairs.import_peer("jax"), pairs.import_peer("optax")
    import numba
    import numpy as np

    from adagrad_nb import EMA, Adagrad, ClipGlobalNorm, InverseTime, L2Decay, init, update

    pairs.print_versions("torch", "jax", "optax", ours=numba.config.NUMBA_NUM_THREADS, torch=torch.get_num_threads())
    rng = np.random.default_rng(0)
    targets = []
    for n, calls, target in ((50, 400, 5), (50_000, 20, 1)):
        start = {f"p{k}": rng.standard_normal(n, "float32") for k in range(ARRAYS)}
        g = {name: rng.standard_normal(n, "float32") for name in start}
        calls = max(calls // 5, 1) if quick else calls

        x = {name: array.copy() for name, array in start.items()}
        state = init(
            x, Adagrad(1e-7), lr=InverseTime(LR, 0.01), transforms=(ClipGlobalNorm(BOUND), L2Decay(DECAY)),
            average=EMA(MOMENTUM),
        )  # fmt: skip

        def ours(x=x, g=g, state=state):
            update(x, g, state, out=(x, state))

        parameters = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in start.values()]
        for parameter, array in zip(parameters, g.values(), strict=True):
            parameter.grad = torch.from_numpy(array.copy())  # clipping it once makes further clipping a no-op
        optimizer = torch.optim.Adagrad(parameters, lr=LR, lr_decay=0.01, weight_decay=DECAY, eps=1e-7, foreach=True)
        means = [parameter.detach().clone() for parameter in parameters]

        def with_torch(parameters=parameters, optimizer=optimizer, means=means):
            # torch.optim adds the decay to a copy of .grad, so the clipped gradient does not change.
            torch.nn.utils.clip_grad_norm_(parameters, BOUND, foreach=True)
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(means, parameters, 1 - MOMENTUM)

        chain = optax.chain(
            optax.clip_by_global_norm(BOUND), optax.add_decayed_weights(DECAY),
            optax.adagrad(lambda t: LR / (1 + 0.01 * t), initial_accumulator_value=0.0, eps=1e-14),
        )  # fmt: skip

        @jax.jit
        def step(x, g, optimizer_state, mean, chain=chain):
            change, optimizer_state = chain.update(g, optimizer_state, x)
            x = optax.apply_updates(x, change)
            return x, optimizer_state, optax.incremental_update(x, mean, 1 - MOMENTUM)

        y, dg = ({name: jax.numpy.asarray(array) for name, array in tree.items()} for tree in (start, g))
        jax_state = [(y, chain.init(y), y)]

        def with_optax(jax_state=jax_state, step=step, dg=dg):
            x, optimizer_state, mean = jax_state[0]
            jax_state[0] = step(x, dg, optimizer_state, mean)
            jax.block_until_ready(jax_state[0])

        for _ in range(3):
            ours(), with_torch(), with_optax()
        for name, parameter in zip(x, parameters, strict=True):
            for expected in (parameter.detach().numpy(), np.asarray(jax_state[0][0][name])):
                # If gradient and decay nearly cancel, the first step is lr times the sign of a rounding error.
                difference = np.quantile(np.abs(x[name] - expected), 0.99)
                assert difference < 1e-3, f"the results differ: {difference}"
        count = 3 if quick else 11
        for peer, run in (("torch", with_torch), ("optax", with_optax)):
            timings = pairs.time_alternately(pairs.repeat(ours, calls), pairs.repeat(run, calls), count, pause=0.02)
            ratio = pairs.print_timings(f"{ARRAYS} x {n:,}, {peer}", timings, calls * 1e-6, "us")
            if peer == "torch" or n > 1000:
                targets.append(
                    (f"{ARRAYS} x {n:,}: {peer}'s time / ours", ratio, ">=", target if peer == "torch" else 1)
                )
    pairs.print_targets(*targets)


if __name__ == "__main__":
    main()
