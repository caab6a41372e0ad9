import os, sys, tempfile, time
from pathlib import Path
from contest import LOAD, SERVER, own, ours, files
from rate import event_requests, paced, written
from rivals.page import capture
files()
kind, conns, depth, secs = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
mults = [float(x) for x in sys.argv[5:]]
with tempfile.TemporaryDirectory(prefix="marquee-bench-", dir="/var/tmp") as f:
    f = Path(f)
    if kind == "pages":
        c = ours(str(f/"data"), sample=True, traffic="false")
    else:
        c, token = own(f/"data")
    with c.running() as r:
        if kind == "pages":
            p = capture(r.get, "/campaigns/1/")
            reqs = [f"GET /campaigns/1/ HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {p.cookie}={v}\r\n\r\n".encode() for v in p.values]
        else:
            size = 100 if kind == "lines" else 1
            reqs = event_requests(token, size, 2000 if size > 1 else 50000)
        path = written(f/"r", reqs)
        base = {"pages": 32, "lines": 32, "single": 256}[kind]
        paced(r, path, 3e5, 1, connections=conns, patience=.01)
        cap = paced(r, path, 3e5, 3, connections=conns, patience=.01).rate
        print(kind, "capacity", round(cap))
        for m in mults:
            cpu = r.cpu()
            q = paced(r, path, cap*m, secs, connections=conns, patience=.05, depth=depth)
            print(f"x{m} rate {q.rate:.0f} = {q.rate/cap:.2f} cpu {(r.cpu()-cpu)/secs:.2f} due {q.due} taken {q.taken} ref {q.refused} oth {q.other} unsent {q.unsent} broken {q.broken} noans {q.no_answer} late {q.late*1e3:.1f}ms p50 {q.p50*1e3:.1f} p99 {q.p99*1e3:.1f} max {q.max*1e3:.0f} refp99 {q.refused_p99*1e3:.1f} {q.taken_in} rss {r.rss()>>20}", flush=True)
