"""The common corruptions of Hendrycks & Dietterich, by the code they were published with.

    .peers/bin/python tests/peers/corruptions.py changes --data ../shared/data/cifar10
    .peers/bin/python tests/peers/corruptions.py pixels
    .peers/bin/python tests/peers/corruptions.py accuracy MODEL.onnx --data D --ours OURS.npz
    .peers/bin/python tests/peers/corruptions.py speed --data D

`changes` and `pixels` write the goldens of `models/src/corruption/`: the mean absolute change of a
pixel by each corruption at each severity, and whole images where nothing is drawn at random.
`accuracy` compares a classifier on our corrupted images with it on the original's. `speed` gives
milliseconds an image on one core.

The functions follow `ImageNet-C/create_c/make_{cifar,tinyimagenet,imagenet}_c.py` of
<https://github.com/hendrycks/robustness> (Apache-2.0), one function for the three sizes with their
tables beside each other. Motion blur is that of the package `imagecorruptions`, cut to whole
numbers, for ImageMagick 6.9.11 gives the same (998 of 1,000 values equal, the others one apart).
The photographs of frost are the package's, read once.
"""

import argparse
import functools
import io
import json
import time
from pathlib import Path

import cv2
import imagecorruptions.corruptions as package
import numpy as np
import skimage as sk
from PIL import Image
from scipy.ndimage import map_coordinates
from scipy.ndimage import zoom as scizoom
from skimage.filters import gaussian

cv2.setNumThreads(1)
# The package reads a photograph anew for each image.
cv2.imread = functools.cache(cv2.imread)
# What the package calls by names that NumPy 2 and scikit-image have given up.
np.float_ = np.float64
package.gaussian = lambda x, multichannel=False, **options: gaussian(
    x, channel_axis=-1 if multichannel else None, **options
)
FOLDER = Path(__file__).resolve().parents[2] / "models" / "src" / "corruption"
STANDARD = (
    "gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur zoom_blur snow "
    "frost fog brightness contrast elastic_transform pixelate jpeg_compression"
).split()
EXTRA = "speckle_noise gaussian_blur spatter saturate".split()
ALL = STANDARD + EXTRA
# How many times as often as the others those are drawn that are drawn for an image as a whole, and so vary
# most, at 32, 64 and 224 pixels.
WHOLE = {
    "frost": (60, 60, 120),
    "fog": (10, 40, 40),
    "motion_blur": (6, 24, 24),
    "spatter": (6, 24, 60),
    "elastic_transform": (6, 24, 72),
}
FIXED = "defocus_blur zoom_blur brightness contrast pixelate jpeg_compression gaussian_blur saturate".split()


def scale(x):
    """0 for CIFAR's parameters, 1 for Tiny-ImageNet's, 2 for ImageNet's."""
    return 0 if max(x.shape) <= 32 else 1 if max(x.shape) <= 64 else 2


# The parameters of the three sizes at the five severities.
TABLES = {
    "gaussian_noise": ([0.04, 0.06, 0.08, 0.09, 0.10], [0.04, 0.08, 0.12, 0.15, 0.18], [0.08, 0.12, 0.18, 0.26, 0.38]),
    "shot_noise": ([500, 250, 100, 75, 50], [250, 100, 50, 30, 15], [60, 25, 12, 5, 3]),
    "impulse_noise": ([0.01, 0.02, 0.03, 0.05, 0.07], [0.01, 0.02, 0.05, 0.08, 0.14], [0.03, 0.06, 0.09, 0.17, 0.27]),
    "speckle_noise": ([0.06, 0.1, 0.12, 0.16, 0.2], [0.15, 0.2, 0.25, 0.3, 0.35], [0.15, 0.2, 0.35, 0.45, 0.6]),
    "gaussian_blur": ([0.4, 0.6, 0.7, 0.8, 1], [0.5, 0.75, 1, 1.25, 1.5], [1, 2, 3, 4, 6]),
    "glass_blur": (
        [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        [(0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)],
        [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    ),
    "defocus_blur": (
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        [(0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)],
        [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)],
    ),
    "motion_blur": (
        [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        [(10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)],
        [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)],
    ),
    "zoom_blur": (
        [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
        [(1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)],
        [(1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)],
    ),
    "fog": (
        [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        [(0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)],
        [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)],
    ),
    "frost": (
        [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
        [(1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)],
        [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)],
    ),
    "snow": (
        [(0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
         (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8)],
        [(0.1, 0.2, 1, 0.6, 8, 3, 0.8), (0.1, 0.2, 1, 0.5, 10, 4, 0.8), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
         (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6)],
        [(0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
         (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55)],
    ),
    "spatter": (
        [(0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0), (0.65, 0.3, 1, 0.69, 0.5, 0),
         (0.65, 0.1, 0.7, 0.69, 0.6, 1), (0.65, 0.1, 0.5, 0.68, 0.6, 1)],
        [(0.62, 0.1, 0.7, 0.7, 0.6, 0), (0.65, 0.1, 0.8, 0.7, 0.6, 0), (0.65, 0.3, 1, 0.69, 0.6, 0),
         (0.65, 0.1, 0.7, 0.68, 0.6, 1), (0.65, 0.1, 0.5, 0.67, 0.6, 1)],
        [(0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0), (0.65, 0.3, 2, 0.68, 0.5, 0),
         (0.65, 0.3, 1, 0.65, 1.5, 1), (0.67, 0.4, 1, 0.65, 1.5, 1)],
    ),
    "contrast": ([0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05], [0.4, 0.3, 0.2, 0.1, 0.05]),
    "brightness": ([0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, 0.3, 0.4, 0.5]),
    "saturate": (
        [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)],
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)],
    ),
    "jpeg_compression": ([80, 65, 58, 50, 40], [65, 58, 50, 40, 25], [25, 18, 15, 10, 7]),
    "pixelate": ([0.95, 0.9, 0.85, 0.75, 0.65], [0.9, 0.8, 0.7, 0.6, 0.5], [0.6, 0.5, 0.4, 0.3, 0.25]),
    # Displacement, its smoothing and the shift of the corners, in pixels.
    "elastic_transform": (
        [(0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)],
        [(0, 0, 5.12), (3.2, 19.2, 3.84), (6.4, 5.12, 3.84), (6.4, 1.92, 1.92), (10.24, 1.92, 1.28)],
        [(488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)],
    ),
}


def gaussian_noise(x, c):
    x = x / 255.0
    return np.clip(x + np.random.normal(size=x.shape, scale=c), 0, 1) * 255


def shot_noise(x, c):
    return np.clip(np.random.poisson(x / 255.0 * c) / c, 0, 1) * 255


def impulse_noise(x, c):
    return np.clip(sk.util.random_noise(x / 255.0, mode="s&p", amount=c), 0, 1) * 255


def speckle_noise(x, c):
    x = x / 255.0
    return np.clip(x + x * np.random.normal(size=x.shape, scale=c), 0, 1) * 255


def gaussian_blur(x, c):
    return np.clip(gaussian(x / 255.0, sigma=c, channel_axis=-1), 0, 1) * 255


def glass_blur(x, c):
    x = np.uint8(gaussian(x / 255.0, sigma=c[0], channel_axis=-1) * 255)
    for _ in range(c[2]):
        for h in range(x.shape[0] - c[1], c[1], -1):
            for w in range(x.shape[1] - c[1], c[1], -1):
                dx, dy = np.random.randint(-c[1], c[1], size=(2,))
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
    return np.clip(gaussian(x / 255.0, sigma=c[0], channel_axis=-1), 0, 1) * 255


def defocus_blur(x, c):
    x = x / 255.0
    kernel = package.disk(radius=c[0], alias_blur=c[1])
    channels = [cv2.filter2D(x[:, :, d], -1, kernel) for d in range(3)]
    return np.clip(np.array(channels).transpose((1, 2, 0)), 0, 1) * 255


def motion_blur(x, c, angle=None):
    angle = np.random.uniform(-45, 45) if angle is None else angle
    return np.clip(package._motion_blur(x, radius=c[0], sigma=c[1], angle=angle), 0, 255)


def clipped_zoom(img, factor):
    h = img.shape[0]
    ch = int(np.ceil(h / factor))
    top = (h - ch) // 2
    img = scizoom(img[top : top + ch, top : top + ch], (factor, factor, 1), order=1)
    trim_top = (img.shape[0] - h) // 2
    return img[trim_top : trim_top + h, trim_top : trim_top + h]


def zoom_blur(x, c):
    factors = np.arange(1, *c)
    x = (x / 255.0).astype(np.float32)
    out = np.zeros_like(x)
    for factor in factors:
        out += clipped_zoom(x, factor)
    x = (x + out) / (len(factors) + 1)
    return np.clip(x, 0, 1) * 255


def fog(x, c):
    side = package.next_power_of_2(max(x.shape[:2]))
    x = x / 255.0
    most = x.max()
    x += c[0] * package.plasma_fractal(mapsize=side, wibbledecay=c[1])[: x.shape[0], : x.shape[1]][..., np.newaxis]
    return np.clip(x * most / (most + c[0]), 0, 1) * 255


def photographs(size=(0.2, 0.3, 1)):
    """The five photographs that are drawn from, at the resolution of each size."""
    folder = Path(package.__file__).parent / "frost"
    names = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")
    files = [cv2.imread(str(folder / name)) for name in names]
    return [[cv2.resize(file, (0, 0), fx=f, fy=f) if f != 1 else file for file in files] for f in size]


PHOTOGRAPHS = photographs()


def frost(x, c):
    size = x.shape[0]
    photograph = PHOTOGRAPHS[scale(x)][np.random.randint(5)]
    row, column = (np.random.randint(0, photograph.shape[axis] - size) for axis in (0, 1))
    crop = photograph[row : row + size, column : column + size][..., [2, 1, 0]]
    return np.clip(c[0] * x + c[1] * crop, 0, 255)


def snow(x, c):
    x = np.float32(x) / np.float32(255)
    layer = np.random.normal(size=x.shape[:2], loc=c[0], scale=c[1])
    layer = clipped_zoom(layer[..., np.newaxis], c[2]).squeeze()
    layer[layer < c[3]] = 0
    layer = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
    layer = package._motion_blur(layer, radius=c[4], sigma=c[5], angle=np.random.uniform(-135, -45))
    layer = np.uint8(layer)[..., np.newaxis] / 255.0
    grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., np.newaxis]
    x = c[6] * x + (1 - c[6]) * np.maximum(x, grey * 1.5 + 0.5)
    return np.clip(x + layer + np.rot90(layer, k=2), 0, 1) * 255


def spatter(x, c, layer=None):
    x = np.float32(x) / np.float32(255)
    layer = np.random.normal(size=x.shape[:2], loc=c[0], scale=c[1]) if layer is None else layer
    layer = gaussian(layer, sigma=c[2])
    layer[layer < c[3]] = 0
    if c[5] == 0:
        layer = (layer * 255).astype(np.uint8)
        dist = 255 - cv2.Canny(layer, 50, 150)
        dist = cv2.distanceTransform(dist, cv2.DIST_L2, 5)
        _, dist = cv2.threshold(dist, 20, 20, cv2.THRESH_TRUNC)
        dist = cv2.blur(dist, (3, 3)).astype(np.uint8)
        dist = cv2.equalizeHist(dist)
        dist = cv2.filter2D(dist, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32))
        dist = cv2.blur(dist, (3, 3)).astype(np.float32)
        m = layer * dist
        m = (m / m.max() * c[4])[..., np.newaxis]
        return np.clip(x + m * (np.array([175, 238, 238]) / 255.0), 0, 1) * 255
    m = gaussian((layer > c[3]).astype(np.float32), sigma=c[4])
    m[m < 0.8] = 0
    m = m[..., np.newaxis]
    return np.clip(x * (1 - m) + m * (np.array([63, 42, 20]) / 255.0), 0, 1) * 255


def contrast(x, c):
    x = x / 255.0
    means = np.mean(x, axis=(0, 1), keepdims=True)
    return np.clip((x - means) * c + means, 0, 1) * 255


def brightness(x, c):
    x = sk.color.rgb2hsv(x / 255.0)
    x[:, :, 2] = np.clip(x[:, :, 2] + c, 0, 1)
    return np.clip(sk.color.hsv2rgb(x), 0, 1) * 255


def saturate(x, c):
    x = sk.color.rgb2hsv(x / 255.0)
    x[:, :, 1] = np.clip(x[:, :, 1] * c[0] + c[1], 0, 1)
    return np.clip(sk.color.hsv2rgb(x), 0, 1) * 255


def jpeg_compression(x, c):
    file = io.BytesIO()
    Image.fromarray(x).save(file, "JPEG", quality=c)
    return np.asarray(Image.open(file))


def pixelate(x, c):
    h, w = x.shape[:2]
    small = Image.fromarray(x).resize((int(w * c), int(h * c)), Image.BOX)
    return np.asarray(small.resize((w, h), Image.BOX))


def elastic_transform(x, c):
    image = np.float32(x) / np.float32(255)
    shape = image.shape
    centre = np.float32(shape[:2]) // 2
    side = min(shape[:2]) // 3
    before = np.float32([centre + side, [centre[0] + side, centre[1] - side], centre - side])
    after = before + np.random.uniform(-c[2], c[2], size=before.shape).astype(np.float32)
    affine = cv2.getAffineTransform(before, after)
    image = cv2.warpAffine(image, affine, shape[1::-1], borderMode=cv2.BORDER_REFLECT_101)
    dx, dy = (
        (gaussian(np.random.uniform(-1, 1, size=shape[:2]), c[1], mode="reflect", truncate=3) * c[0]).astype(np.float32)
        for _ in range(2)
    )
    x, y, z = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]), np.arange(3))
    indices = (y + dy[..., np.newaxis]).ravel(), (x + dx[..., np.newaxis]).ravel(), z.ravel()
    return np.clip(map_coordinates(image, indices, order=1, mode="reflect").reshape(shape), 0, 1) * 255


def corrupt(name, x, severity, table=None, **drawn):
    """The image `x`, uint8 H×W×3, corrupted."""
    table = scale(x) if table is None else table
    return np.uint8(globals()[name](x, TABLES[name][table][severity - 1], **drawn))


def cifar10(folder, limit):
    """The first `limit` test images, uint8 N×H×W×3, and their labels."""
    import pyarrow.parquet

    (path,) = Path(folder).rglob("test-*.parquet")
    table = pyarrow.parquet.read_table(path, columns=["img", "label"]).slice(0, limit)
    pictures = [Image.open(io.BytesIO(row["bytes"])) for row in table["img"].to_pylist()]
    return np.stack([np.asarray(picture.convert("RGB")) for picture in pictures]), np.array(table["label"].to_pylist())


def enlarged(images, side):
    """The images at a multiple of their size, each pixel repeated."""
    times = side // images.shape[1]
    return images.repeat(times, axis=1).repeat(times, axis=2)


def by_package(name, x, severity):
    """By `imagecorruptions`, whose parameters are ImageNet's; its elastic transform is another."""
    if name == "elastic_transform":
        return corrupt(name, x, severity)
    return np.uint8(getattr(package, name)(Image.fromarray(x), severity))


def mean_change(name, severity, images, repeats):
    """The mean over all images, pixels and repeats, and the standard error of it."""
    function = corrupt if images.shape[1] < 224 else by_package
    changes = [
        np.abs(function(name, x, severity).astype(np.int16) - x).mean() for _ in range(repeats) for x in images
    ]
    # Of an image's draws only: the images are the same for both sides.
    per_image = np.array(changes).reshape(repeats, len(images))
    error = np.sqrt(per_image.var(axis=0, ddof=1).mean() / per_image.size) if repeats > 1 else 0.0
    return float(per_image.mean()), float(error)


def changes(arguments):
    """Writes `goldens/changes.json`: name → size → five [mean, standard error].

    At 32 pixels over 200 images, at 64 over the first 20 and at 224, by the package, over the first
    4, enlarged.
    """
    np.random.seed(0)
    images, _ = cifar10(arguments.data, 200)
    sizes = {"32": (images, 8), "64": (enlarged(images[:20], 64), 4), "224": (enlarged(images[:4], 224), 6)}
    path = FOLDER / "goldens" / "changes.json"
    result = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.names.split(",") if arguments.names else ALL:
        rows = result.setdefault(name, {})
        for (size, (pictures, repeats)), more in zip(sizes.items(), WHOLE.get(name, (1, 1, 1))):
            if size not in arguments.sizes.split(","):
                continue
            # Glass blur is a Python loop over pixels.
            repeats = 1 if name in FIXED else 2 if name == "glass_blur" else repeats * more
            found = [mean_change(name, severity, pictures, repeats) for severity in range(1, 6)]
            rows[size] = [[round(value, 4) for value in row] for row in found]
            print(name, size, rows[size], flush=True)
    text = ",\n".join(f'  "{name}": {json.dumps(rows)}' for name, rows in result.items())
    path.write_text("{\n" + text + "\n}\n")


def random_bytes(seed, count):
    """A linear congruential generator's high bytes, which the tests in Rust draw as well."""
    values = []
    for _ in range(count):
        seed = (seed * 1664525 + 1013904223) % 2**32
        values.append(seed >> 24)
    return np.array(values)


def picture(side=20):
    """Slopes, edges and noise in three channels."""
    c, y, x = np.meshgrid(np.arange(3), np.arange(side), np.arange(side), indexing="ij")
    slope = (9 * x + 5 * y * (c + 1) + 30 * c) % 256
    return ((3 * slope + random_bytes(1, slope.size).reshape(slope.shape)) // 4).astype(np.uint8).transpose(1, 2, 0)


def liquid(side=20):
    """What `spatter` would draw."""
    y, x = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    noise = random_bytes(2, side * side).reshape(side, side) / 255.0
    return 0.55 + 0.2 * ((x // 5 + y // 5) % 2) + 0.2 * (noise - 0.5)


def pixels(arguments):
    """Writes `goldens/pixels.npy`: for each of `FIXED`, motion blur at 30° and spatter of `liquid`,
    CIFAR's parameters at severities 1 to 5 and ImageNet's at 1 and 5, the image corrupted."""
    image = picture()
    result = []
    for name in [*FIXED, "motion_blur", "spatter"]:
        for table, severity in [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (2, 1), (2, 5)]:
            if name == "motion_blur":
                # The package stops at ways longer than the image, which ImageMagick does not.
                padded = np.pad(image, ((50, 50), (50, 50), (0, 0)), "edge")
                out = corrupt(name, padded, severity, table, angle=30.0)[50:-50, 50:-50]
            elif name == "spatter":
                out = corrupt(name, image, severity, table, layer=liquid())
            else:
                out = corrupt(name, image, severity, table)
            result.append(out)
    shape = (len(FIXED) + 2, 7, *image.shape)
    np.save(FOLDER / "goldens" / "pixels.npy", np.stack(result).reshape(shape))


def correct(session, images, labels):
    """Whether each image, uint8 N×H×W×3, is classified correctly."""
    batches = range(0, len(images), 250)
    name = session.get_inputs()[0].name
    verdicts = []
    for start in batches:
        x = images[start : start + 250].transpose(0, 3, 1, 2).astype(np.float32) / 255
        verdicts.append(session.run(None, {name: x})[0].argmax(axis=1) == labels[start : start + 250])
    return np.concatenate(verdicts)


def accuracy(arguments):
    """Prints a classifier's accuracy on the original's corruptions and on ours, in percent."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(arguments.model, options, providers=["CPUExecutionProvider"])
    np.random.seed(0)
    ours = json.loads(Path(arguments.ours).read_text())["corruptions"]
    images, labels = cifar10(arguments.data, ours["n"])
    worst, rows = 0.0, ours["rows"]
    for row in rows:
        name, severity = row["corruption"], row["severity"]
        repeats = 1 if name in FIXED or name == "glass_blur" else arguments.repeats
        theirs = [
            correct(session, np.stack([corrupt(name, x, severity) for x in images]), labels).mean()
            for _ in range(repeats)
        ]
        difference = (row["accuracy"]["fraction"] - np.mean(theirs)) * 100
        worst = max(worst, abs(difference))
        print(f"{name:18} {severity} original {np.mean(theirs) * 100:6.2f} ours {row['fraction'] * 100:6.2f} difference {difference:+5.2f}", flush=True)
    print(f"largest difference {worst:.2f} points")


def speed(arguments):
    """Prints milliseconds an image as JSON, averaged over the severities: name → size → time."""
    images, _ = cifar10(arguments.data, 20)
    result = {}
    for name in ALL:
        result[name] = {}
        for size, pictures in {"32": images, "64": enlarged(images, 64)[:4], "224": enlarged(images[:1], 224)}.items():
            if size not in arguments.sizes.split(","):
                continue
            corrupt(name, pictures[0], 1)
            start = time.perf_counter()
            for severity in range(1, 6):
                for x in pictures:
                    corrupt(name, x, severity)
            result[name][size] = (time.perf_counter() - start) / (5 * len(pictures)) * 1e3
    print(json.dumps(result))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for command in (changes, pixels, accuracy, speed):
        sub = commands.add_parser(command.__name__, help=command.__doc__.splitlines()[0])
        sub.set_defaults(run=command)
        sub.add_argument("--data", default="../shared/data/cifar10")
        if command is accuracy:
            sub.add_argument("model")
            sub.add_argument("--ours", required=True, help="what `rift-runtime audit --corruptions all --json` wrote")
            sub.add_argument("--repeats", type=int, default=3)
        if command is changes:
            sub.add_argument("--names", help="only these corruptions, separated by commas")
        if command in (changes, speed):
            sub.add_argument("--sizes", default="32,64,224")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
