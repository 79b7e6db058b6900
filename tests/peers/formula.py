"""Numbers from a closed formula, the same here and in `tests/src/golden.rs`.

Networks of millions of weights need no file then: both sides compute the weights, and only what
PyTorch makes of them is stored.
"""

import numpy as np


def uniform(stream, shape):
    """Numbers in [-1, 1), float64: element `i` is a hash of `i` and `stream`, exactly.

    The hash is `lowbias32` of Wellons' hash prospector.
    """
    count = int(np.prod(shape))
    h = np.arange(count, dtype=np.uint64) + np.uint64(stream * 0x9E3779B9 % 2**32)
    mask = np.uint64(0xFFFFFFFF)
    h &= mask
    h ^= h >> np.uint64(16)
    h = h * np.uint64(0x7FEB352D) & mask
    h ^= h >> np.uint64(15)
    h = h * np.uint64(0x846CA68B) & mask
    h ^= h >> np.uint64(16)
    return (h.astype(np.float64) / 2.0**31 - 1.0).reshape(shape)


def parameter(index, name, shape):
    """The parameter or buffer at position `index` among those of its network, float32."""
    u = uniform(index + 1, shape)
    suffix = name.rsplit(".", 1)[1]
    if len(shape) > 1:
        # He's variance, 2 / fan_in, so that activations neither grow nor die.
        values = u * np.sqrt(6.0 / np.prod(shape[1:]))
    elif suffix == "weight":
        values = 1.0 + 0.25 * u
    elif suffix == "running_var":
        values = 1.0 + 0.5 * u
    else:
        values = 0.1 * u
    return values.astype(np.float32)


def images(seed, shape):
    """Images of noise, float32 in [0, 1)."""
    return (0.5 + 0.5 * uniform(2**31 + seed, shape)).astype(np.float32)
