"""Exports Keras' families with random weights by tf2onnx, and the gradients that TensorFlow finds.

    tests/peers/setup.sh keras
    .peers-keras/bin/python tests/peers/export_keras.py OUT [--opset 17] [--only Xception,…]

Writes what `export_torchvision.py` does, for `compare_gradients.py`. The files are as TensorFlow's users
have them: images N×H×W×C, padding that is wider at one end, a softmax at the end, before which the
gradient is taken. BatchNorm's statistics and scales are moved away from where they are initialised. As
there, images are drawn until TensorFlow's own float32 finds the gradient of float64.
"""

import argparse
import os
import pathlib

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402
from tensorflow.python.framework.convert_to_constants import (  # noqa: E402
    convert_variables_to_constants_v2 as frozen,
)

# The families with the side of their images. ConvNeXt is not among them: tf2onnx cannot write it.
FAMILIES = {
    "DenseNet121": 64,
    "EfficientNetB0": 96,
    "EfficientNetV2B0": 96,
    "InceptionResNetV2": 96,
    "MobileNet": 96,
    "MobileNetV2": 96,
    "MobileNetV3Small": 96,
    "NASNetMobile": 96,
    "ResNet50V2": 96,
    "Xception": 96,
}
CLASSES = 20
SEEDS = 20
AGREEMENT = 1e-5


def build(name, side):
    """The network of `name` that ends in a softmax, its weights those of a seed."""
    tf.keras.utils.set_random_seed(0)
    network = getattr(tf.keras.applications, name)(weights=None, input_shape=(side, side, 3), classes=CLASSES)
    random = np.random.default_rng(0)
    spread = {"moving_mean": (-0.2, 0.2), "moving_variance": (0.5, 1.5), "gamma": (0.6, 1.4)}
    for weight in network.weights:
        if weight.path.rpartition("/")[2] in spread:
            weight.assign(random.uniform(*spread[weight.path.rpartition("/")[2]], weight.shape))
    return network


def logits_of(network):
    """The same network without the softmax."""
    last = network.layers[-1]
    last.activation = tf.keras.activations.linear
    return tf.keras.Model(network.input, last(last.input))


def gradient(logits, x, cotangent):
    """The product of the cotangent with the Jacobian at `x`."""
    image = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(image)
        product = tf.reduce_sum(logits(image, training=False) * tf.cast(cotangent, image.dtype))
    return tape.gradient(product, image).numpy()


def draw(name, side):
    """An image whose gradient does not hang on rounding, or the best of those drawn."""
    single = logits_of(build(name, side))
    tf.keras.config.set_floatx("float64")
    tf.keras.config.set_dtype_policy("float64")
    double = logits_of(build(name, side))
    tf.keras.config.set_floatx("float32")
    tf.keras.config.set_dtype_policy("float32")
    double.set_weights(single.get_weights())
    best, smallest = {}, float("inf")
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        x = random.random((1, side, side, 3), dtype=np.float32)
        cotangent = random.standard_normal((1, CLASSES), dtype=np.float32)
        expected = gradient(double, x.astype(np.float64), cotangent)
        found = gradient(single, x, cotangent)
        error = np.abs(found - expected).max() / np.abs(expected).max()
        if error < smallest:
            smallest = error
            best = {"x": x, "cotangent": cotangent, "gradient": expected, "gradient_float32": found, "seed": seed}
        if error <= AGREEMENT:
            break
    return best


def export(network, side, path, opset):
    """The network as an ONNX file of any number of images."""
    signature = tf.TensorSpec((None, side, side, 3), tf.float32, name="image")
    function = tf.function(lambda image: network(image, training=False), input_signature=[signature])
    graph = frozen(function.get_concrete_function())
    tf2onnx.convert.from_graph_def(
        graph.graph.as_graph_def(), input_names=[graph.inputs[0].name], output_names=[graph.outputs[0].name],
        opset=opset, output_path=str(path),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--opset", type=int, default=17)
    parser.add_argument("--only", help="names, separated by commas")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only.split(",") if arguments.only else FAMILIES:
        side = FAMILIES[name]
        np.savez(arguments.out / f"{name}.npz", **draw(name, side))
        export(build(name, side), side, arguments.out / f"{name}.onnx", arguments.opset)
        print(name, flush=True)


if __name__ == "__main__":
    main()
