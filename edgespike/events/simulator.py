"""A small simulator of an event camera (dynamic vision sensor, DVS).

Every pixel remembers a log intensity R and compares it with what it sees, L = ln(intensity):

    while L - R >= theta_on:   send ON  (p = 1),  R += theta_on
    while R - L >= theta_off:  send OFF (p = 0),  R -= theta_off

The thresholds differ from pixel to pixel (normal distribution around the nominal value). Between
two frames L is taken to change linearly, which gives each event its time. For the refractory time
after an event a pixel sends nothing. Besides, each pixel sends noise events at a constant rate,
ON or OFF alike. The pixel model is that of Lichtsteiner, Posch, Delbruck, "A 128x128 120 dB 15 us
latency asynchronous temporal contrast vision sensor" (2008); interpolation between frames as in
Rebecq, Gehrig, Scaramuzza, "ESIM: an open event camera simulator" (2018); mismatch and noise as
in Hu, Liu, Delbruck, "v2e: from video frames to realistic DVS events" (2021), without v2e's
bandwidth limit and leak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgespike.errors import DataError, UsageError
from edgespike.events.arrays import EVENT, make_events


@dataclass(frozen=True)
class Camera:
    """Properties of the simulated sensor.

    ``threshold_on``, ``threshold_off``: change of ln(intensity) that makes an event.
    ``mismatch``: standard deviation of a pixel's thresholds, as a fraction of them.
    ``refractory_us``: microseconds that a pixel rests after an event.
    ``noise_hz``: noise events of one pixel in a second.
    """

    threshold_on: float = 0.25
    threshold_off: float = 0.25
    mismatch: float = 0.1
    refractory_us: int = 1000
    noise_hz: float = 1.0

    def __post_init__(self) -> None:
        if not (self.threshold_on > 0 and self.threshold_off > 0):
            raise UsageError("thresholds of the simulated camera must be greater than 0")
        if self.mismatch < 0 or self.refractory_us < 0 or self.noise_hz < 0:
            raise UsageError("mismatch, refractory_us and noise_hz of a camera cannot be negative")


def simulate_dvs(
    frames: ArrayLike, times_us: ArrayLike, camera: Camera | None = None, *, seed: int = 0
) -> NDArray[Any]:
    """The events of a camera that sees a sequence of frames.

    Args:
        frames: (N, height, width) intensities, greater than 0, N at least 2.
        times_us: N times in microseconds, increasing, the first at least 0.
        camera: properties of the sensor; default ``Camera()``.
        seed: the same seed and frames give the same events.

    Returns:
        array of dtype ``EVENT``, sorted by time; p is 1 for ON, 0 for OFF.

    Raises:
        DataError: frames or times are not as described.
    """
    intensity, times = np.asarray(frames, np.float64), np.asarray(times_us, np.int64)
    if intensity.ndim != 3 or len(intensity) < 2 or times.shape != intensity.shape[:1]:
        raise DataError(f"need N >= 2 frames and N times, got {intensity.shape} and {times.shape}")
    if not (np.isfinite(intensity).all() and (intensity > 0).all() and (np.diff(times) > 0).all()):
        raise DataError("intensities must be greater than 0, and times must increase")
    # Rounded, so that machines whose logarithms differ in the last bit make the same events.
    log_frames = np.round(np.log(intensity), 9).reshape(len(intensity), -1)
    pixels = _Pixels(log_frames[0], camera or Camera(), np.random.default_rng(seed))
    for number in range(1, len(times)):
        pixels.see(log_frames[number - 1], log_frames[number], int(times[number - 1]), int(times[number]))
    return pixels.events(width=intensity.shape[2])


class _Pixels:
    """State of all pixels: remembered log intensity and time of the last event."""

    def __init__(self, log_intensity: NDArray[np.float64], camera: Camera, rng: np.random.Generator) -> None:
        count = len(log_intensity)
        spread = np.maximum(1 + camera.mismatch * rng.standard_normal((2, count)), 0.2)
        self.step = (camera.threshold_on * spread[0], camera.threshold_off * spread[1])
        self.remembered = log_intensity.copy()
        self.last = np.full(count, -camera.refractory_us, np.float64)
        self.camera, self.rng = camera, rng
        self.sent: list[tuple[NDArray[np.float64], NDArray[np.intp], int]] = []  # times, pixels, polarity

    def see(self, before: NDArray[np.float64], after: NDArray[np.float64], start: int, end: int) -> None:
        """Log intensity goes linearly from ``before`` to ``after``, from time ``start`` to ``end``."""
        for polarity, sign, step in ((1, 1.0, self.step[0]), (0, -1.0, self.step[1])):
            while True:
                changed = np.flatnonzero(sign * (after - self.remembered) >= step)
                if not len(changed):
                    break
                self.remembered[changed] += sign * step[changed]
                level, slope = self.remembered[changed], (after - before)[changed]
                # A pixel with slope 0 had crossed its threshold by rounding alone: at the start.
                part = np.divide(level - before[changed], slope, out=np.zeros_like(slope), where=slope != 0)
                self._send(start + np.clip(part, 0, 1) * (end - start), changed, polarity)
        noisy = self.rng.random(len(after)) < self.camera.noise_hz * (end - start) * 1e-6
        pixels = np.flatnonzero(noisy)
        times, on = self.rng.uniform(start, end, len(pixels)), self.rng.random(len(pixels)) < 0.5
        self._send(times[on], pixels[on], 1)
        self._send(times[~on], pixels[~on], 0)

    def _send(self, times: NDArray[np.float64], pixels: NDArray[np.intp], polarity: int) -> None:
        rested = times - self.last[pixels] >= self.camera.refractory_us
        self.last[pixels[rested]] = times[rested]
        self.sent.append((times[rested], pixels[rested], polarity))

    def events(self, width: int) -> NDArray[Any]:
        if not self.sent:
            return np.zeros(0, EVENT)
        times = np.concatenate([times for times, _, _ in self.sent]).astype(np.int64)
        pixels = np.concatenate([pixels for _, pixels, _ in self.sent])
        polarity = np.concatenate([np.full(len(times), polarity) for times, _, polarity in self.sent])
        order = np.argsort(times, kind="stable")
        return make_events(times[order], pixels[order] % width, pixels[order] // width, polarity[order])


def saccade_frames(
    image: ArrayLike,
    height: int,
    width: int,
    *,
    saccade_us: int = 100_000,
    frame_us: int = 2_000,
    amplitude: float = 4.0,
    offset: tuple[float, float] = (0.0, 0.0),
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Frames of an image that moves in three saccades, along a triangle and back to its start.

    Each saccade starts and ends at rest: the way s in time u (both 0 to 1) is
    ``10 u^3 - 15 u^4 + 6 u^5`` (Flash, Hogan, minimum jerk, 1985). Between pixels the image is
    interpolated linearly, beyond its border it continues as it is at the border.

    Args:
        image: (h, w) intensities.
        height, width: the sensor; the image lies in its middle, moved by ``offset`` (down, right).
        saccade_us: length of one saccade in microseconds.
        frame_us: time between frames.
        amplitude: side of the triangle in pixels.

    Returns:
        frames (N, height, width) float64, and N times in microseconds.
    """
    picture = np.asarray(image, np.float64)
    times = np.arange(0, 3 * saccade_us + 1, frame_us, dtype=np.int64)
    saccade = np.minimum(times // saccade_us, 2)
    u = times / saccade_us - saccade
    way = 10 * u**3 - 15 * u**4 + 6 * u**5
    corners = amplitude * np.array([[-0.433, 0.0], [0.433, -0.5], [0.433, 0.5], [-0.433, 0.0]])
    place = corners[saccade] + (corners[saccade + 1] - corners[saccade]) * way[:, None] + np.asarray(offset)
    frames = np.empty((len(times), height, width))
    for number, (down, right) in enumerate(place):
        rows = np.arange(height) - (height - picture.shape[0]) / 2 - down
        columns = np.arange(width) - (width - picture.shape[1]) / 2 - right
        frames[number] = _interpolate(_interpolate(picture, rows).T, columns).T
    return frames, times


def _interpolate(picture: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of the picture at fractional positions."""
    position = np.clip(rows, 0, len(picture) - 1)
    lower = np.minimum(position.astype(np.int64), max(len(picture) - 2, 0))
    upper = np.minimum(lower + 1, len(picture) - 1)
    part = (position - lower)[:, None]
    interpolated: NDArray[np.float64] = picture[lower] * (1 - part) + picture[upper] * part
    return interpolated
