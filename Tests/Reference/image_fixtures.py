#!/usr/bin/env python3
"""Makes Tests/Fixtures/images with Pillow 12: small files of every kind that is read, and what Pillow makes of them.

    python image_fixtures.py [OUTDIR]

`expected.json`: for each file its pixels as RGB and as grey, upright; for `resized/…` one image in other sizes with each
of Pillow's filters (Pillow 13 goes along columns first where that is cheaper, which rounds otherwise); for `prepared`
what transformers' ViT preprocessing gives. Bytes are base64.
"""

import base64
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

OUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "Fixtures/images"
WIDTH, HEIGHT = 23, 17


def picture(channels):
    """Smooth with a little noise and some hard edges, so that every step of a decoder shows."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    planes = [128 + 100 * np.sin(x / (3 + c) + c) * np.cos(y / (4 - c / 2)) for c in range(channels)]
    pixels = np.stack(planes, -1) + random.normal(0, 6, (HEIGHT, WIDTH, channels))
    pixels[5:9, 4:12] = [255, 0, 40, 180][:channels]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def encoded(array):
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rgb, grey = Image.fromarray(picture(3)), Image.fromarray(picture(1)[..., 0])
    alpha = Image.fromarray(picture(4))
    palette = rgb.quantize(16)
    deep = Image.fromarray(picture(1)[..., 0].astype(np.uint16) * 257 - 60)
    files = {
        "rgb.png": (rgb, {}), "grey.png": (grey, {}), "alpha.png": (alpha, {}),
        "grey-alpha.png": (alpha.convert("LA"), {}), "palette.png": (palette, {}),
        "palette-transparent.png": (palette, {"transparency": 3}), "bits.png": (grey.convert("1"), {}),
        "grey-transparent.png": (grey, {"transparency": 255}),
        "rgb.jpg": (rgb, {"quality": 90, "subsampling": 0}), "rgb-420.jpg": (rgb, {"quality": 75, "subsampling": 2}),
        "rgb-422.jpg": (rgb, {"quality": 75, "subsampling": 1}), "progressive.jpg": (rgb, {"progressive": True}),
        "grey.jpg": (grey, {}), "inks.jpg": (rgb.convert("CMYK"), {"quality": 92}),
    }
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files[f"turned-{orientation}.jpg"] = (rgb, {"exif": exif, "quality": 90, "subsampling": 0})
    exif = Image.Exif()
    exif[0x0112] = 6
    files["turned-6.png"] = (rgb, {"exif": exif})
    expected = {}
    for name, (image, options) in files.items():
        image.save(OUT / name, **options)
        read = ImageOps.exif_transpose(Image.open(OUT / name))
        expected[name] = {"width": read.width, "height": read.height, "rgb": encoded(np.asarray(read.convert("RGB"))),
                          "grey": encoded(np.asarray(read.convert("RGB").convert("L")))}
    # Pillow opens it with 16 bits, and has no conversion that keeps its look.
    deep.save(OUT / "grey-16.png")
    upper = (np.asarray(deep) >> 8).astype(np.uint8)
    expected["grey-16.png"] = {"width": WIDTH, "height": HEIGHT, "grey": encoded(upper),
                               "rgb": encoded(np.stack([upper] * 3, -1))}
    for name in ("rgb.png", "grey.png"):
        image = Image.open(OUT / name)
        for width, height in [(7, 5), (46, 34), (50, 6), (23, 40), (9, 17), (23, 17), (1, 1)]:
            for resample in range(6):
                expected[f"resized/{name}/{width}/{height}/{resample}"] = {
                    "width": width, "height": height,
                    name.removesuffix(".png"): encoded(np.asarray(image.resize((width, height), resample)))}
    pixels = np.asarray(rgb.resize((16, 16), Image.BICUBIC)).astype(np.float64) * 0.00392156862745098
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    prepared = ((pixels - mean) / deviation).transpose(2, 0, 1).astype(np.float32)
    expected["prepared"] = {"width": 16, "height": 16, "floats": encoded(prepared)}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in expected.items())
    (OUT / "expected.json").write_text("{\n" + lines + "\n}\n")
    print(f"{len(files) + 1} files, {len(expected)} expectations in {OUT}")


if __name__ == "__main__":
    main()
