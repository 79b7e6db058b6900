"""Reads the event files of a training with TensorBoard itself, or makes the golden of their format.

    .peers/bin/python tests/peers/tensorboard_events.py RUN
    .peers/bin/python tests/peers/tensorboard_events.py --golden trainer/src/record/tensorboard/golden.tfevents

It prints a JSON object: for each tag the steps and values that TensorBoard shows.
"""

import json
import sys
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


def read(run):
    """What TensorBoard shows of a run: nothing is thinned out."""
    accumulator = EventAccumulator(str(run), size_guidance={"scalars": 0, "tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()
    if tags["scalars"]:
        return {
            tag: [[event.step, event.value] for event in accumulator.Scalars(tag)]
            for tag in sorted(tags["scalars"])
        }
    # Newer versions turn plain scalars into tensors while they read.
    return {
        tag: [[event.step, event.tensor_proto.float_val[0]] for event in accumulator.Tensors(tag)]
        for tag in sorted(tags["tensors"])
    }


def golden(path):
    """Scalars at two steps and a restart, as TensorBoard's writer puts them."""
    with tempfile.TemporaryDirectory() as folder:
        writer = EventFileWriter(folder)
        for step, value in [(16, 2.5), (17, 0.0)]:
            summary = Summary(value=[Summary.Value(tag="train/loss", simple_value=value)])
            writer.add_event(Event(wall_time=1.5 + step, step=step, summary=summary))
        log = SessionLog(status=SessionLog.START)
        writer.add_event(Event(wall_time=20.0, step=18, session_log=log))
        writer.close()
        (file,) = Path(folder).iterdir()
        path.write_bytes(file.read_bytes())


if __name__ == "__main__":
    if sys.argv[1] == "--golden":
        golden(Path(sys.argv[2]))
    else:
        print(json.dumps(read(Path(sys.argv[1]))))
