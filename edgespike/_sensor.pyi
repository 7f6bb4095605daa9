from typing import Any

from numpy.typing import NDArray

CAUSES: tuple[str, ...]

class Filter:
    def __init__(
        self,
        *,
        x: int = 0,
        y: int = 0,
        width: int,
        height: int,
        hot_events: int = 0,
        background_us: int = 0,
        refractory_us: int = 0,
        downsample: int = 0,
        merge: bool = False,
        rate: int = 0,
    ) -> None: ...
    def reset(self) -> None: ...
    @property
    def removed(self) -> dict[str, int]: ...
    def run(self, events: NDArray[Any]) -> NDArray[Any]: ...

class Encode:
    def __init__(
        self,
        *,
        code: int,
        columns: int,
        period: int,
        most: int = 0,
        threshold: int = 0,
        low: int = 0,
        high: int = 0,
        steps: int = 0,
        units: int = 0,
        width: int = 0,
    ) -> None: ...
    def reset(self) -> None: ...
    def run(self, samples: NDArray[Any], times: NDArray[Any]) -> NDArray[Any]: ...

class Slide:
    def __init__(
        self,
        *,
        columns: int,
        length: int,
        hop: int,
        deadband: int,
        width: int,
        channels: int,
        position_stride: int,
        column_stride: int,
        threshold: NDArray[Any],
        first_level: int,
        initial: NDArray[Any],
    ) -> None: ...
    def reset(self) -> None: ...
    def restart(self) -> None: ...
    def run(self, samples: NDArray[Any], times: NDArray[Any]) -> list[tuple[int, NDArray[Any]]]: ...
