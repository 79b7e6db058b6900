"""Latency and throughput of `rift-runtime serve`, beside the bare session, MLServer and KServe's server.

The bare session is `rift-runtime bench`: one image on one thread, and the best of several batch sizes on
all threads. Servers are asked over loopback by `rift-runtime bench --url`, which itself takes part of the
same cores: one client for the latency, 32 for the throughput, one image a request. Rift is measured with
all threads for a lone request (`--intra-op-threads`), as the peers' sessions have them; its latency also as
it comes, with one, which is what is held against the bare session. MLServer knows
tensors in JSON only, so Rift is measured with these too, and MLServer once as it comes and once with
its adaptive batching, of which the better counts. KServe's Python server knows both kinds of tensor.
"""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from measure import Case, Problem, pairs
from networks import architecture
from programs import PEERS
from row import Aim, Row, figure, versus

BATCHES = "1,4,8,16,32"
TENSORS = ("binary", "json")
# Milliseconds that a request may take beyond the bare session, and the least ratios.
BEYOND, OF_SESSION, OF_PEER = Aim(0.4, at_most=True), Aim(0.85), Aim(3)


def cases(bench):
    """ResNet-20, the size of model that a device serves."""
    a = bench.arguments
    bundle = bench.networks.bundle("resnet20").resolve()
    jobs = {
        "bare session": lambda: session(bench, bundle),
        "rift": lambda: asked(bench, rift(bench, bundle, a.threads), TENSORS),
        "rift, one thread a request": lambda: asked(bench, rift(bench, bundle, 1), TENSORS),
    }
    if python := bench.peers.get("serving", "MLServer beside the server"):
        for name, more in MLSERVER.items():
            jobs[name] = lambda more=more: asked(bench, mlserver(bench, python, bundle, more), ("json",))
    if kserve := bench.peers.get("kserve", "KServe's Python server beside the server"):
        jobs["KServe"] = lambda: asked(bench, kserve_server(bench, kserve, bundle), TENSORS)
    name = f"serving resnet20, {a.threads} threads"
    yield Case(name, jobs, lambda rounds: rows(bench, rounds))


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command, port, log):
    """A server, from when it is ready until the block ends."""
    environment = {**os.environ, "PYTHONPATH": str(PEERS)}
    with open(log, "wb") as out:
        process = subprocess.Popen([str(p) for p in command], stdout=out, stderr=out, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{url}/v2/health/ready").close()
                break
            if process.poll() is not None:
                said = Path(log).read_text().strip().splitlines() or ["nothing"]
                raise Problem(f"the server ended with {process.returncode}: {said[-1]}")
            time.sleep(0.1)
        else:
            raise Problem("the server was not ready in two minutes")
        yield url
    finally:
        process.terminate()
        process.wait()


def rift(bench, bundle, together):
    """The server of ours; `together` threads compute a lone request."""
    port = free_port()
    command = [bench.runtime, "serve", f"model={bundle}", "--listen", f"127.0.0.1:{port}"]
    command += ["--threads", bench.arguments.threads, "--intra-op-threads", together]
    return running(command, port, bench.folder / "rift.log")


# MLServer as it comes, and with its adaptive batching.
MLSERVER = {"MLServer": {}, "MLServer, batching": {"max_batch_size": 16, "max_batch_time": 0.002}}


def mlserver(bench, python, bundle, batching):
    """MLServer with the same file."""
    ports = [free_port() for _ in range(3)]
    names = ("http_port", "grpc_port", "metrics_port")
    settings = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **dict(zip(names, ports))}
    image = {"name": "input", "datatype": "FP32", "shape": [-1, *architecture(bundle)["input"]]}
    extra = {"threads": bench.arguments.threads}
    described = {
        "name": "model",
        "implementation": "mlserver_model.OnnxClassifier",
        "inputs": [image],
        "parameters": {"uri": str(bundle / "model.onnx"), "extra": extra},
        **batching,
    }
    place = bench.folder / ("batching" if batching else "plain")
    place.mkdir(exist_ok=True)
    (place / "settings.json").write_text(json.dumps(settings))
    (place / "model-settings.json").write_text(json.dumps(described))
    return running([python.with_name("mlserver"), "start", place], ports[0], bench.folder / "mlserver.log")


def kserve_server(bench, python, bundle):
    """KServe's Python server with the same file."""
    port = free_port()
    command = [python, PEERS / "kserve_model.py", bundle / "model.onnx", "--port", port]
    return running([*command, "--threads", bench.arguments.threads], port, bench.folder / "kserve.log")


def asked(bench, server, kinds):
    """Latency of one client and throughput of 32, for each kind of tensor."""
    seconds = bench.arguments.seconds or (1 if bench.arguments.quick else 4)
    found = {}
    with server as url:
        for kind in kinds:
            command = [bench.runtime, "bench", "--url", url, "--model", "model", "--tensors", kind]
            # A server's first answers cost what later ones do not.
            bench.programs.json([*command, "--clients", "4", "--duration", "1"])
            one, many = bench.programs.json([*command, "--clients", "1,32", "--duration", seconds])["runs"]
            statuses = {status for run in (one, many) for status in run["statuses"]}
            if statuses != {"200"}:
                raise Problem(f"statuses {sorted(statuses)}, expected only 200")
            found[f"p50, {kind}"] = one["latency"]["p50"]
            found[f"rate, {kind}"] = many["requests_per_second"]
    return found


def session(bench, bundle):
    """Latency and best throughput of the bare session."""
    common = [bench.runtime, "bench", bundle, "--quiet", "--repetitions", "2" if bench.arguments.quick else "3"]
    [one] = bench.programs.json([*common, "--threads", "1", "--batch-size", "1"])["runs"]
    runs = bench.programs.json([*common, "--threads", bench.arguments.threads, "--batch-size", BATCHES])["runs"]
    best = max(runs, key=lambda run: run["forward"]["median"])
    return {"p50": one["latency"]["p50"], "rate": best["forward"]["median"], "batch": best["batch_size"]}


def rows(bench, rounds):
    """What the server adds to the session, and a row for each peer, kind of tensor and figure."""
    group = "serving resnet20"
    binary = ("rift, one thread a request", "p50, binary"), ("bare session", "p50")
    ours, bare = pairs(rounds, *binary)
    found = []
    if ours:
        beyond = [o - b for o, b in zip(ours, bare)]
        what = "p50 of 1 client, one thread, beyond the bare session's"
        found.append(Row(group, what, "ms", beyond, f"bare session {figure(bare)}", aim=BEYOND))
    columns = ("rift", "rate, binary"), ("bare session", "rate")
    rates = pairs(rounds, *columns)[0]
    share = bench.floor.share("resnet20", 1, rates) if bench.floor else []
    what = "32 clients beside the best batches"
    found += versus(group, what, "images/s", rounds, *columns, aim=OF_SESSION, share=share)
    rounds = [{**r, "MLServer, best": best_of([r.get(name) for name in MLSERVER])} for r in rounds]
    for peer, theirs in (("MLServer, best", {k: "json" for k in TENSORS}), ("KServe", {k: k for k in TENSORS})):
        for kind in TENSORS:
            other = "" if theirs[kind] == kind else f" against {theirs[kind]}"
            for what, key, unit in (("p50 of 1 client", "p50", "ms"), ("32 clients", "rate", "images/s")):
                columns = ("rift", f"{key}, {kind}"), (peer, f"{key}, {theirs[kind]}")
                found += versus(group, f"{what}, {kind}{other}", unit, rounds, *columns, aim=OF_PEER)
    return found


def best_of(columns):
    """The better of several programs in each figure."""
    figures = [c for c in columns if c and "problem" not in c]
    keys = {key for c in figures for key in c}
    return {k: (min if k.startswith("p50") else max)(c[k] for c in figures) for k in keys}
