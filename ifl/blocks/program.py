"""Runs a block's program operator by operator, as a torch module without any source.

A trial on torch's device "meta", which computes shapes and no values, comes first: it tells the
size of every tensor before there is one.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ifl.blocks.card import Card
from ifl.blocks.graph import Device, Graph, Step, Value
from ifl.errors import BlockError

MOST = 2**26  # values of a tensor within a program, for the two samples of a trial
META = torch.device("meta")


class Block(nn.Module):
    """A base or modular block from files: (B, ...) -> (B, d), or (B, d) -> (B, classes), float32.

    Args:
        card: tells what it is.
        graph: its program.
        weights: by their names in the file of weights.
        digest: the sha256 of the card, which stands for all files.
    """

    def __init__(
        self, card: Card, graph: Graph, weights: Mapping[str, Tensor], digest: str
    ) -> None:
        super().__init__()
        self.card = card
        self.digest = digest
        self.graph = graph
        self._places: dict[str, str] = {}  # of names in the graph
        for number, (name, key) in enumerate(graph.tensors.items()):
            self._places[name] = f"tensor{number}"
            self.register_buffer(f"tensor{number}", weights[key])

    def forward(self, x: Tensor) -> Tensor:
        """Return z (B, d) of samples x, or the logits (B, classes) of z in the place of x."""
        tensors = {name: getattr(self, place) for name, place in self._places.items()}
        return _run(self.graph, tensors, x, lambda step, found: None)

    def check_sizes(self, x: Tensor) -> None:
        """Raise BlockError if some tensor becomes very large, or a step does not fit the others.

        Args:
            x: two samples, or z.
        """
        tensors = {name: getattr(self, place).to(META) for name, place in self._places.items()}

        def watch(step: Step, found: Any) -> None:
            for value in found if step.several else [found]:
                if isinstance(value, Tensor) and value.numel() > MOST:
                    raise BlockError(
                        f"its program makes a tensor of {value.numel():,} values of two samples "
                        f"({step.target}), and {MOST:,} are the most that is run"
                    )

        _run(self.graph, tensors, x.to(META), watch)


def _run(
    graph: Graph, tensors: Mapping[str, Tensor], x: Tensor, watch: Callable[[Step, Any], None]
) -> Tensor:
    """Return what a program makes of x; ``watch`` sees what each step returns."""
    values: dict[str, Any] = {**tensors, graph.input: x}

    def filled(argument: Any) -> Any:
        if isinstance(argument, Value):
            return values[argument.name]
        if isinstance(argument, Device):
            return x.device
        return [*map(filled, argument)] if isinstance(argument, list) else argument

    for step in graph.steps:
        arguments = {name: filled(value) for name, value in step.arguments.items()}
        try:
            found = step.call(*arguments.values()) if step.positional else step.call(**arguments)
            named = {step.outputs[0]: found} if step.outputs and not step.several else {}
            values |= zip(step.outputs, found, strict=True) if step.several else named
        except Exception as error:
            raise BlockError(
                f"its program fails at {step.target} for input of the shape {[*x.shape]} "
                f"({(str(error).splitlines() or [type(error).__name__])[0][:160]})"
            ) from error
        watch(step, found)
    result: Tensor = values[graph.output]
    return result
