"""Runs a spiking network in the framework that it came from, and records what its neurons send.

The frameworks are not dependencies: each is imported when it is asked for.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgespike.errors import ModelError, UsageError
from edgespike.importers.spiking_network import FloatNetwork, FloatPopulation

__all__ = ["ORIGINALS", "load_function", "load_nir", "record", "require"]

Array = NDArray[np.float64]


# ---- the frameworks ---------------------------------------------------------


@dataclass(frozen=True)
class Framework:
    """How to install a framework, to read a NIR graph with it, and to run a module of it.

    ``package``: what pip calls it. ``load``: from a NIR graph and dt to a torch module.
    ``run``: runs a module from its initial state on a tensor (ticks, *shape).
    """

    package: str
    load: Callable[[Any, float], Any]
    run: Callable[[Any, Any], None]


def _load_snntorch(graph: Any, dt: float) -> Any:
    return import_module("snntorch.import_nir").import_from_nir(graph)


def _load_norse(graph: Any, dt: float) -> Any:
    return import_module("norse.torch.utils.import_nir").from_nir(graph, dt=dt)


def _load_sinabs(graph: Any, dt: float) -> Any:
    return import_module("sinabs.nir").from_nir(graph, batch_size=1)


def _load_spikingjelly(graph: Any, dt: float) -> Any:
    return import_module("spikingjelly.activation_based.nir_exchange").import_from_nir(graph, dt=dt)


def _load_rockpool(graph: Any, dt: float) -> Any:
    return import_module("rockpool.nn.modules.torch.nir").from_nir(graph)


def _run_snntorch(module: Any, x: Any) -> None:
    for part in module.modules():
        if hasattr(part, "reset_mem"):
            part.reset_mem()
    _step(module, x)


def _run_spikingjelly(module: Any, x: Any) -> None:
    functional = import_module("spikingjelly.activation_based.functional")
    functional.reset_net(module)
    functional.set_step_mode(module, "s")
    _step(module, x)


def _run_sinabs(module: Any, x: Any) -> None:
    """The layers named Squeeze take (batch * ticks, ...), the others (batch, ticks, ...)."""
    squeezes = [part for part in module.modules() if type(part).__name__.endswith("Squeeze")]
    for part in squeezes:
        part.batch_size, part.num_timesteps = 1, -1
    for part in module.modules():
        if hasattr(part, "reset_states"):
            part.reset_states()
    module(x if squeezes else x[None])


def _run_rockpool(module: Any, x: Any) -> None:
    if hasattr(module, "reset_state"):  # not what was read from NIR
        module.reset_state()
    module(x[None])


def _step(module: Any, x: Any) -> None:
    """Tick by tick; the state goes along where the module wants it."""
    takes_state = "state" in inspect.signature(module.forward).parameters
    state = None
    for frame in x:
        if takes_state:
            _, state = module(frame[None], state)
        else:
            module(frame[None])


ORIGINALS = {
    "snntorch": Framework("snntorch==1.0.0", _load_snntorch, _run_snntorch),
    "norse": Framework("norse==1.1.0", _load_norse, _step),
    "sinabs": Framework("sinabs==3.1.3", _load_sinabs, _run_sinabs),
    "spikingjelly": Framework("spikingjelly==2.0.0", _load_spikingjelly, _run_spikingjelly),
    "rockpool": Framework("rockpool==3.1.0", _load_rockpool, _run_rockpool),
}


def require(framework: str) -> Framework:
    """The framework, if it is installed.

    Raises:
        UsageError: there is no such framework, or it is not installed.
    """
    if framework not in ORIGINALS:
        raise UsageError(
            f"there is no framework {framework!r} to compare with", f"choose one of {', '.join(ORIGINALS)}"
        )
    found = ORIGINALS[framework]
    missing = [name for name in ("torch", "nirtorch", framework) if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"comparing with {framework} needs {' and '.join(missing)}, not installed here",
            f"pip install torch==2.13.0 nirtorch==2.6 {found.package}",
            "framework-missing",
        )
    return found


# ---- where a module comes from ----------------------------------------------


def load_nir(framework: str, path: Path, dt: float) -> Any:
    """The torch module that the framework itself makes of a NIR file.

    Raises:
        ModelError: it cannot.
    """
    import nir

    found = require(framework)
    try:
        with redirect_stdout(sys.stderr):  # snnTorch says what it does
            return found.load(nir.read(path, type_check=False), dt)
    except Exception as error:  # each framework raises what it likes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: {framework} cannot import it: {reason}",
            "give the module itself: --original FILE.py:FUNCTION",
            "framework-import",
        ) from error


def load_function(where: str) -> Any:
    """The torch module that a function without arguments returns; ``where``: ``"file.py:function"``.

    Raises:
        UsageError: there is no such file or function, or it fails.
    """
    path, _, name = where.rpartition(":")
    file = Path(path)
    if not file.is_file() or file.suffix != ".py":
        raise UsageError(
            f"--original {where}: there is no Python file {path!r}", "write it as file.py:function"
        )
    specification = importlib.util.spec_from_file_location(file.stem, file)
    assert specification is not None and specification.loader is not None
    namespace = importlib.util.module_from_spec(specification)
    sys.path.insert(0, str(file.absolute().parent))  # as when Python runs the file
    try:
        with redirect_stdout(sys.stderr):
            specification.loader.exec_module(namespace)
            return getattr(namespace, name)()
    except Exception as error:  # the user's code
        raise UsageError(
            f"--original {where}: {type(error).__name__}: {error}",
            "the function takes no arguments and returns the torch module",
            "original",
        ) from error
    finally:
        sys.path.pop(0)


# ---- running it -------------------------------------------------------------


def record(framework: str, module: Any, network: FloatNetwork, sample: Array) -> dict[str, Array]:
    """What the neurons of a module send when it runs on a sample, from its initial state.

    Args:
        framework: whose module it is.
        module: the torch module. Its parts are named as the nodes of the NIR file are.
        network: the same network, as the file has it.
        sample: (ticks, *input shape), channels first.

    Returns:
        By population: float64 array (ticks, height, width, channels). Populations whose
        module has another name are missing.
    """
    import torch

    outputs: dict[str, list[Array]] = {}
    neurons = [population for population in network.populations if population.neuron is not None]
    with _recording(module, neurons, outputs), torch.no_grad(), redirect_stdout(sys.stderr):
        module.eval()
        require(framework).run(module, torch.from_numpy(np.ascontiguousarray(sample, np.float32)))
    result = {}
    for population in neurons:
        if population.name in outputs:
            height, width, channels = population.shape
            whole = np.concatenate(outputs[population.name]).reshape(-1, channels, height, width)
            result[population.name] = np.moveaxis(whole, 1, -1)
    return result


@contextmanager
def _recording(
    module: Any, populations: list[FloatPopulation], outputs: dict[str, list[Array]]
) -> Iterator[None]:
    """While this is open, what the modules of the populations return is kept in ``outputs``."""
    parts = {_plain(name): part for name, part in module.named_modules() if name}
    hooks = []
    for population in populations:
        name = _plain(population.name)
        # a recurrent module of snnTorch becomes two nodes, NAME.lif and NAME.w_rec
        part = parts.get(name, parts.get(name.removesuffix("_lif")))
        if part is not None:
            kept = outputs.setdefault(population.name, [])
            hooks.append(part.register_forward_hook(_keeper(kept)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _keeper(kept: list[Array]) -> Callable[[Any, Any, Any], None]:
    def keep(part: Any, inputs: Any, output: Any) -> None:
        spikes = output[0] if isinstance(output, tuple) else output
        kept.append(spikes.detach().numpy().astype(np.float64).reshape(-1))

    return keep


def _plain(name: str) -> str:
    """A module's or a node's name; nirtorch does not write them all alike."""
    return name.replace(".", "_").lstrip("_")
