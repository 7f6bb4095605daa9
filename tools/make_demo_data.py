"""Makes the recordings of the demo: handwritten digits before a simulated event camera.

    pip install scikit-learn
    python tools/make_demo_data.py build/demo

The digits are the 1797 images of 8 x 8 pixels that scikit-learn bundles: the test part of
"Optical Recognition of Handwritten Digits", E. Alpaydin, C. Kaynak, UCI Machine Learning
Repository (1998), CC BY 4.0. Each is enlarged, moved in three saccades before a sensor of 34 x 34
pixels (`edgespike.events.simulator`) and so turned into ON and OFF events, with noise.

One image in five is held out. Written are

- `edgespike/data/digits_recordings.zip`: 100 recordings of held-out images, ten of each class, in the
  layout of N-MNIST (`Test/<label>/<number of the image>.bin`);
- `edgespike/data/digits_calibration.npz`: event counts `x` and labels `y` of 200 images that are not
  held out;
- `FOLDER/counts.npz`: event counts of all recordings, for `tools/train_demo.py`.

Equal versions of NumPy, SciPy and scikit-learn write equal files.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from edgespike.data import DEMO_EVENTS, demo_counts
from edgespike.events import Camera, encode_nmnist, rebase, saccade_frames, simulate_dvs

DATA = Path(__file__).resolve().parents[1] / "edgespike" / "data"
CAMERA = Camera(threshold_on=0.35, threshold_off=0.35, mismatch=0.1, refractory_us=1_000, noise_hz=0.5)
BACKGROUND = 0.4  # intensity of the paper; ink adds up to 1
RESOLUTION_US = 100  # of the time stamps
TRAINING_RECORDINGS = 3  # of one image, each with a place, size and motion of its own
SHIPPED, CALIBRATION = 100, 200
SEED = 2


def record(image: NDArray[np.float64], seed: int) -> NDArray[Any]:
    """A recording of one digit (8 x 8, ink 0 to 16), its size, place and motion drawn by the seed."""
    rng = np.random.default_rng(seed)
    ink = zoom(image / 16, rng.uniform(2.4, 3.1), order=3).clip(0, 1)
    frames, times = saccade_frames(
        BACKGROUND + ink,
        DEMO_EVENTS.height,
        DEMO_EVENTS.width,
        saccade_us=DEMO_EVENTS.window_us // 3,
        amplitude=rng.uniform(3, 5),
        offset=tuple(rng.uniform(-2, 2, 2)),
    )
    events = simulate_dvs(frames, times, CAMERA, seed=seed)
    events["t"] -= events["t"] % RESOLUTION_US
    order = np.lexsort((events["x"], events["y"], events["p"], events["t"]))  # as a row by row readout
    return rebase(events[order])


def counts(recordings: list[NDArray[Any]]) -> NDArray[np.uint8]:
    return np.stack([demo_counts(events) for events in recordings]).astype(np.uint8)


def write_recordings(path: Path, recordings: list[tuple[int, int, NDArray[Any]]]) -> None:
    """A zip archive with a fixed date, so that equal recordings make an equal file."""
    with zipfile.ZipFile(path, "w") as archive:
        for label, number, events in recordings:
            member = zipfile.ZipInfo(f"Test/{label}/{number:05}.bin", (2026, 1, 1, 0, 0, 0))
            archive.writestr(member, encode_nmnist(events), zipfile.ZIP_DEFLATED, 9)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="where counts.npz goes")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    training, test = train_test_split(
        np.arange(len(digits.images)), test_size=0.2, random_state=SEED, stratify=digits.target
    )
    held_out = [record(digits.images[i], int(i)) for i in track(test, "held-out images")]
    seen = [
        record(digits.images[i], int(i) + 10_000 * repetition)
        for repetition in range(1, TRAINING_RECORDINGS + 1)
        for i in track(training, f"training images, {repetition} of {TRAINING_RECORDINGS}")
    ]
    y_test, y_train = digits.target[test], np.tile(digits.target[training], TRAINING_RECORDINGS)
    x_test, x_train = counts(held_out), counts(seen)
    np.savez_compressed(folder / "counts.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)

    shipped = [k for k in range(len(test)) if np.sum(y_test[:k] == y_test[k]) < SHIPPED // 10]
    write_recordings(
        DATA / "digits_recordings.zip", [(int(y_test[k]), int(test[k]), held_out[k]) for k in shipped]
    )
    np.savez_compressed(
        DATA / "digits_calibration.npz", x=x_train[:CALIBRATION], y=y_train[:CALIBRATION].astype(np.uint8)
    )
    events = np.mean([len(events) for events in held_out])
    print(f"{len(x_train)} recordings for training, {len(x_test)} held out, {events:.0f} events in each")
    for path in sorted(DATA.glob("digits*")):
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
