"""The table from which `models/src/corruption/frost.rs` makes frost, measured on the photographs.

    .peers/bin/python tests/peers/frost_texture.py

For each of the photographs that the original draws from (the second and the third are one): the
levels of red, green and blue at standard normal scores −3, −2.5, … 3, over random crops of the
three sizes, and the variances by which lattice noise of 1, 2, 4, … 256 pixels must be added up for
the correlations of the photograph's normal scores at distances of 1 to 200 pixels (non-negative
least squares). Prints Rust.
"""

import numpy as np
from scipy.optimize import nnls
from scipy.stats import norm, rankdata

import corruptions

SCORES = np.arange(-3, 3.01, 0.5)
SPACINGS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
LAGS = np.unique(np.round(np.geomspace(1, 200, 24)).astype(int))
SIZES = ((0, 32), (1, 64), (2, 224))


def lattice_correlation(distance):
    """Of linearly interpolated lattice noise of unit variance, averaged over the lattice's offset."""
    offset = (np.arange(400) + 0.5) / 400

    def weights(u):
        frac = u - np.floor(u)
        return np.floor(u), np.stack([1 - frac, frac]) / np.sqrt((1 - frac) ** 2 + frac**2)

    (i, a), (j, b) = weights(offset), weights(offset + distance)
    total = 0
    for m in (0, 1):
        for n in (0, 1):
            total = total + a[m] * b[n] * (i + m == j + n)
    return float(np.mean(total))


def levels(index, rng):
    """Quantiles of the channels over random crops of the three sizes."""
    values = []
    for table, size in SIZES:
        photograph = corruptions.PHOTOGRAPHS[table][index]
        for _ in range(1500):
            row, column = (rng.integers(0, photograph.shape[axis] - size) for axis in (0, 1))
            crop = photograph[row : row + size, column : column + size, ::-1].reshape(-1, 3)
            values.append(crop[rng.integers(0, len(crop), 200)])
    return np.quantile(np.concatenate(values), norm.cdf(SCORES), axis=0).T


def variances(index):
    """Of the noise at each spacing, by the correlations of the normal scores of grey."""
    grey = corruptions.PHOTOGRAPHS[2][index].mean(axis=2) + np.random.uniform(0, 1e-3, corruptions.PHOTOGRAPHS[2][index].shape[:2])
    score = norm.ppf((rankdata(grey) - 0.5) / grey.size).reshape(grey.shape)
    found = [(np.mean(score[:-h] * score[h:]) + np.mean(score[:, :-h] * score[:, h:])) / 2 for h in LAGS]
    basis = np.array([[lattice_correlation(h / spacing) for spacing in SPACINGS] for h in LAGS])
    # The sum of all is the variance.
    basis, found = np.vstack([basis, 10 * np.ones(len(SPACINGS))]), np.append(found, 10)
    solution, residual = nnls(basis, found)
    return solution / solution.sum(), residual


def main():
    rng = np.random.default_rng(0)
    np.random.seed(0)
    for index, weight in ((0, 1), (1, 2), (3, 1), (4, 1)):
        found, residual = variances(index)
        print(f"    // frost{index + 1}: residual of the correlations {residual:.3f}")
        print(f"    Texture {{\n        weight: {weight},\n        levels: [")
        for channel in levels(index, rng):
            print("            [" + ", ".join(f"{v:.1f}" for v in channel) + "],")
        print("        ],\n        variances: [" + ", ".join(f"{v:.3f}" for v in found) + "],\n    },")


if __name__ == "__main__":
    main()
