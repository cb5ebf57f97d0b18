"""One dense float32 Adagrad step: `update(out=)` against torch.optim.Adagrad."""

import statistics

import pairs


def main():
    arguments = pairs.parse_options(__doc__, threads=True)
    quick = arguments.quick
    torch = pairs.import_peer("torch")
    import numba
    import numpy as np

    from adagrad_nb import init, update

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    pairs.print_versions("torch", ours=numba.config.NUMBA_NUM_THREADS, torch=torch.get_num_threads())
    rng = np.random.default_rng(0)
    targets = []
    for n, calls, target in ((10**3, 3000, 6), (10**5, 100, 2), (10**7, 5, 1)):
        start, g = rng.standard_normal(n, "float32"), rng.standard_normal(n, "float32")
        calls = max(calls // 5, 1) if quick else calls
        for kind in ("fused", "foreach", "plain"):
            x = start.copy()
            state = init(x, lr=0.01)
            parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
            parameter.grad = torch.from_numpy(g.copy())
            settings = {"fused": {"fused": True}, "foreach": {"foreach": True}, "plain": {"foreach": False}}[kind]
            optimizer = torch.optim.Adagrad([parameter], lr=0.01, **settings)
            ours = pairs.repeat(lambda x=x, g=g, state=state: update(x, g, state, out=(x, state)), calls)
            peer = pairs.repeat(optimizer.step, calls)
            ours(), peer()
            difference = np.abs(x - parameter.detach().numpy()).max()
            assert difference < 1e-5, f"the results differ: {difference}"
            count = (3 if quick else 11) if kind == "fused" else 3
            timings = pairs.time_alternately(ours, peer, count, pause=0.02)
            ratio = pairs.print_timings(f"n = {n:.0e}, torch {kind}", timings, calls * 1e-6, "us")
            if kind == "fused":
                targets.append((f"n = {n:.0e}: fused torch's time / ours", ratio, ">=", target))
                gigabytes = 5 * 4 * n * calls / 1e9  # x, g, G read, x, G written
                rates = [gigabytes / statistics.median(times) for times in timings]
                print(f"{'':34s} ours {rates[0]:.3g} GB/s, peer {rates[1]:.3g} GB/s")
    pairs.print_targets(*targets)


if __name__ == "__main__":
    main()
