"""The demo's last word: what RiFT changed, what the device serves, and how to go on.

Reads the files that the programs wrote: rift/rift.json, bundle/card.json and audit.json.
"""

import json
import sys
from pathlib import Path


def accuracy(fraction, interval, n):
    lower, upper = interval["lower"] * 100, interval["upper"] * 100
    return f"{fraction * 100:6.2f} %  ({lower:.2f} to {upper:.2f}, n {n})"


def counted(entry):
    return accuracy(entry["fraction"], entry["interval"], entry["n"])


def attack(spec):
    return f"PGD-{spec['steps']}, {spec['norm']} {spec['eps']}"


def main():
    out, data, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    rift = json.loads((out / "rift" / "rift.json").read_text())
    audit = json.loads((out / "audit.json").read_text())
    card = json.loads((out / "bundle" / "card.json").read_text())
    before, after = rift["result"]["before"], rift["result"]["after"]
    served_attack = audit["attacks"][0]
    clean = accuracy(audit["clean_accuracy"], audit["clean_interval"], audit["n"])
    robust = accuracy(audit["robust_accuracy"], audit["interval"], audit["n"])
    rows = [
        (f"{rift['split']} images", "clean", f"robust, {attack(rift['threat'])}"),
        ("before RiFT", counted(before["clean"]), counted(before["robust"])),
        ("after RiFT", counted(after["clean"]), counted(after["robust"])),
        (f"as served, {served_attack['settings']['steps']} steps", clean, robust),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    rule = "+".join("-" * (width + 2) for width in widths)
    print(rule)
    for number, row in enumerate(rows):
        print("|".join(f" {cell:<{width}} " for cell, width in zip(row, widths)))
        if number == 0:
            print(rule)
    print(rule)
    module = rift["module"]
    print(f" module chosen  {module['module']} (criticality {module['mrc']:.4f})")
    print(f" alpha chosen   {rift['alpha']:g}, on the validation images")
    print(f" network        {card['arch']['name']}, input {card['arch']['input']}, seed {rift['seed']}")
    print(f" bundle         {out / 'bundle'}")
    print(f" pipeline took  {seconds // 60} min {seconds % 60} s")
    print("\nClassify a picture of yours, or audit again, harder:\n")
    print(f"  target/release/rift-runtime classify {out / 'bundle'} PICTURE.png")
    print(f"  target/release/rift-runtime audit {out / 'bundle'} --data {data} --steps 50 --restarts 2")


if __name__ == "__main__":
    main()
