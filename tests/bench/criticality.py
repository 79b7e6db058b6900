"""What the criticality of all modules costs, beside the reference's way: the whole network in every pass."""

from measure import Case
from row import Aim, versus

AIM = 2.5


def cases(bench):
    """Both ways are in the trainer, which takes turns by itself."""
    a = bench.arguments
    images = a.criticality or (4 if a.quick else 16)
    arch = "resnet20" if a.quick else "resnet18"
    command = [a.program, "bench-criticality", "--arch", arch, "--device", a.device, "--quiet"]
    command += ["--limit", images, "--batch-size", images, "--threads", a.threads, "--repeat", "1"]
    # The figures of one run, by program.
    names = ("rift", "the reference's way")

    def job():
        found = bench.programs.json(command)
        return {
            **dict(zip(names, (found["seconds"][0], found["reference_seconds"][0]))),
            "modules": found["modules"],
        }

    def rows(rounds):
        both = [{n: {"seconds": r["rift"][n]} for n in names} for r in rounds if names[0] in r["rift"]]
        modules = both and rounds[0]["rift"]["modules"]
        what = f"all {modules} modules, {images} images"
        columns = [(name, "seconds") for name in names]
        return versus(f"criticality {arch}", what, "s", both, *columns, aim=None if a.quick else Aim(AIM))

    yield Case(f"criticality {arch}, {images} images", {"rift": job}, rows)
