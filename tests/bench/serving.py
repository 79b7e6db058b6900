"""Latency and throughput of `rift-runtime serve`, beside the bare session and beside MLServer.

    python3 tests/bench/serving.py [BUNDLE] [--rounds 3] [--seconds 5] [--json P]

Every round measures all of them one after the other, in an order that alternates, and a ratio is taken
within a round, so a machine that is shared favours nobody. The bare session is `rift-runtime bench`:
one image on one thread, and the best of several batch sizes on all threads. Servers are asked over
loopback by `rift-runtime bench --url`, which itself takes part of the same cores: one client for the
latency, 32 for the throughput, one image a request. MLServer knows tensors in JSON only, so Rift is
measured with these too, and MLServer once as it comes and once with its adaptive batching. It runs in
the virtual environment that `tests/peers/setup-serving.sh` makes; without it, that is said.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench import PROGRAMS, ROOT, call, export, spread

PEERS = ROOT / ".peers-serving" / "bin"
BATCHES = "1,4,8,16,32"
# Milliseconds that a request may take beyond the bare session, and the least ratios.
TARGETS = {"added": 0.4, "session": 0.85, "peer": 3.0}


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(command, port, log):
    """A server, from when it is ready until the block ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "peers")}
    with open(log, "wb") as out:
        process = subprocess.Popen([str(p) for p in command], stdout=out, stderr=out, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(1200):
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                urllib.request.urlopen(f"{url}/v2/health/ready").close()
                break
            if process.poll() is not None:
                sys.exit(f"error: {' '.join(map(str, command))}\n{Path(log).read_text()}")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()


def rift(model, arguments, folder):
    """The server of ours."""
    port = free_port()
    command = [PROGRAMS / "rift-runtime", "serve", f"model={model}", "--listen", f"127.0.0.1:{port}"]
    return running([*command, "--threads", arguments.threads], port, folder / "rift.log")


def mlserver(model, arguments, folder, batching):
    """MLServer with the same file, and its adaptive batching if that is asked for."""
    ports = [free_port() for _ in range(3)]
    names = ("http_port", "grpc_port", "metrics_port")
    settings = {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **dict(zip(names, ports))}
    [height, width] = arguments.size
    image = {"name": "input", "datatype": "FP32", "shape": [-1, 3, height, width]}
    parameters = {"uri": str(model / "model.onnx"), "extra": {"threads": arguments.threads}}
    described = {
        "name": "model",
        "implementation": "mlserver_model.OnnxClassifier",
        "inputs": [image],
        "parameters": parameters,
    }
    if batching:
        described |= {"max_batch_size": 16, "max_batch_time": 0.002}
    place = folder / ("batching" if batching else "plain")
    place.mkdir(exist_ok=True)
    (place / "settings.json").write_text(json.dumps(settings))
    (place / "model-settings.json").write_text(json.dumps(described))
    return running([PEERS / "mlserver", "start", place], ports[0], folder / "mlserver.log")


def asked(url, arguments, folder, tensors):
    """The runs of one and of 32 clients."""
    path = folder / "load.json"
    command = [PROGRAMS / "rift-runtime", "bench", "--url", url, "--model", "model"]
    command += ["--clients", "1,32", "--duration", arguments.seconds, "--tensors", tensors]
    call([*command, "--json", path])
    return json.loads(path.read_text())["runs"]


def figures(runs):
    """Latency of one client and throughput of 32."""
    one, many = runs
    statuses = {status for run in runs for status in run["statuses"]}
    if statuses != {"200"}:
        sys.exit(f"error: statuses {sorted(statuses)}, expected only 200")
    return {"p50": one["latency"]["p50"], "rate": many["requests_per_second"]}


def session(model, arguments, folder):
    """Latency and best throughput of the bare session."""
    path = folder / "session.json"
    common = [PROGRAMS / "rift-runtime", "bench", model, "--quiet", "--repetitions", "3"]
    call([*common, "--threads", "1", "--batch-size", "1", "--json", path])
    p50 = json.loads(path.read_text())["runs"][0]["latency"]["p50"]
    call([*common, "--threads", arguments.threads, "--batch-size", BATCHES, "--json", path])
    runs = json.loads(path.read_text())["runs"]
    best = max(runs, key=lambda run: run["forward"]["median"])
    return {"p50": p50, "rate": best["forward"]["median"], "batch": best["batch_size"]}


def one_round(model, arguments, folder, backwards):
    """Everything, measured once."""

    def ours():
        with rift(model, arguments, folder) as url:
            return {t: figures(asked(url, arguments, folder, t)) for t in ("binary", "json")}

    def peer(batching):
        with mlserver(model, arguments, folder, batching) as url:
            return figures(asked(url, arguments, folder, "json"))

    jobs = [("session", lambda: session(model, arguments, folder)), ("rift", ours)]
    if PEERS.exists():
        jobs += [("mlserver", lambda: peer(False)), ("mlserver batching", lambda: peer(True))]
    found = {name: job() for name, job in (jobs[::-1] if backwards else jobs)}
    return {**found, "load": os.getloadavg()[0]}


def report(rounds):
    """Prints a row a comparison."""

    def row(name, values, target, is_met):
        met = "met" if is_met(statistics.median(values), target) else "missed"
        print(f"{name:<62} {spread(values, 2):>24}  target {target}: {met}")

    def at_least(value, target):
        return value >= target

    for name, of, digits in (("p50, ms", "p50", 3), ("images per second", "rate", 1)):
        columns = {"session": [r["session"][of] for r in rounds]}
        for tensors in ("binary", "json"):
            columns[f"rift, {tensors}"] = [r["rift"][tensors][of] for r in rounds]
        for peer in ("mlserver", "mlserver batching"):
            if peer in rounds[0]:
                columns[peer] = [r[peer][of] for r in rounds]
        for who, values in columns.items():
            print(f"{name:<18} {who:<18} {spread(values, digits)}")
    print()
    binary = [r["rift"]["binary"] for r in rounds]
    added = [b["p50"] - r["session"]["p50"] for b, r in zip(binary, rounds)]
    row("p50 of one client beyond the session's, ms", added, TARGETS["added"], lambda v, t: v <= t)
    ratios = [b["rate"] / r["session"]["rate"] for b, r in zip(binary, rounds)]
    row("throughput of 32 clients / best batched session", ratios, TARGETS["session"], at_least)
    if "mlserver" not in rounds[0]:
        return
    for tensors in ("binary", "json"):
        of = [r["rift"][tensors] for r in rounds]
        peers = [(r["mlserver"], r["mlserver batching"]) for r in rounds]
        faster = [min(p["p50"] for p in pair) / o["p50"] for o, pair in zip(of, peers)]
        row(f"MLServer's best p50 / Rift's, {tensors}", faster, TARGETS["peer"], at_least)
        more = [o["rate"] / max(p["rate"] for p in pair) for o, pair in zip(of, peers)]
        row(f"Rift's throughput / MLServer's best, {tensors}", more, TARGETS["peer"], at_least)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="a bundle [default: ResNet-20 for CIFAR-10]")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement of a server")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not PEERS.exists():
        print("skipped: MLServer beside it, for there is no .peers-serving: tests/peers/setup-serving.sh makes it")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = (arguments.bundle or export("resnet20", folder)).resolve()
        info = json.loads((model / "card.json").read_text())
        arguments.size = info["arch"]["input"][1:]
        count = range(arguments.rounds)
        rounds = [one_round(model, arguments, folder, i % 2 == 1) for i in count]
    loads = [r["load"] for r in rounds]
    print(
        f"{arguments.threads} threads, {arguments.seconds} s each; median (lowest to highest) of {arguments.rounds} "
        f"rounds; load of the machine, one minute's mean: {spread(loads, 1)}\n"
    )
    report(rounds)
    if arguments.json:
        arguments.json.write_text(json.dumps(rounds, indent=1))


if __name__ == "__main__":
    main()
