from bench.figures import percentile


def told(m):
    p = {q: round(percentile(m.seconds, q) * 1000, 1) for q in (50, 95, 99)}
    d = dict(m.__dict__)
    for k in ("seconds", "steps", "samples"):
        d.pop(k, None)
    for k in ("all_in", "answer", "later", "idle", "cpu"):
        if k in d:
            d[k] = {n: round(v, 1) for n, v in d[k].items() if v > 0.05}
    return p, round(len(m.seconds) / m.elapsed, 1), d
