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
