"""ONNX Runtime's sessions: how this process makes them, and what they say of themselves."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any


def replace_class(
    configure: Callable[[Any], None],
    made: Callable[[Any], None] | None = None,
    feed: Callable[[Any, Any], Any] | None = None,
    providers: Callable[[Sequence[Any]], Sequence[Any]] | None = None,
) -> type:
    """Put a subclass in the place of onnxruntime.InferenceSession, and return it.

    `configure` gets the SessionOptions of a session before the session is made, and may change them; `made` gets the
    session afterwards. `feed` gets the session and what it is to be run with, and returns what it is run with;
    `providers` gets the execution providers that are asked for, and returns what is asked for. A second call makes a
    subclass of the first one's, so both take effect.
    """
    import onnxruntime

    session_class = onnxruntime.InferenceSession

    class Changed(session_class):  # type: ignore[misc,valid-type]
        def __init__(self, model: Any, sess_options: Any = None, **kwargs: Any) -> None:
            options = sess_options or onnxruntime.SessionOptions()
            configure(options)
            if providers and kwargs.get("providers") and not kwargs.get("provider_options"):
                kwargs["providers"] = providers(kwargs["providers"])
            super().__init__(model, options, **kwargs)
            if made:
                made(self)

    if feed:

        def run(self: Any, output_names: Any, input_feed: Any, run_options: Any = None) -> Any:
            return super(Changed, self).run(output_names, feed(self, input_feed), run_options)

        Changed.run = run
    onnxruntime.InferenceSession = Changed
    return Changed


def without_tf32(providers: Sequence[Any]) -> list[Any]:
    """These execution providers, with that of CUDA told to compute fp32 in fp32: by default it takes TF32.

    One that has options of its own is left as it is: whoever gave them chose.
    """
    return [(one, {"use_tf32": "0"}) if one == "CUDAExecutionProvider" else one for one in providers]


def nodes(sessions: list[Any]) -> list[tuple[str, str]]:
    """The execution provider and the operator of each node of the graphs, as ONNX Runtime recorded them.

    It does only for sessions that were told to; one that the user's code made behind our back tells nothing.
    """
    found: list[tuple[str, str]] = []
    for session in sessions:
        with suppress(Exception):
            for part in session.get_provider_graph_assignment_info():
                found += [(part.ep_name, node.op_type) for node in part.get_nodes()]
    return found


_INTEGER_OPERATORS = ("Integer", "QLinear", "QGemm", "QAttention", "QuantizeLinear", "DynamicQuantize")
"""Parts of the names of ONNX operators that compute with integers, or make them."""


def precision(sessions: list[Any]) -> str | None:
    """What the sessions compute in; None where that cannot be told."""
    operators = [operator for _, operator in nodes(sessions)]
    if "MatMulNBits" in operators:
        return "int4"
    if any(name in operator for operator in operators for name in _INTEGER_OPERATORS):
        return "int8"
    names = {"tensor(float)": "fp32", "tensor(float16)": "fp16", "tensor(bfloat16)": "bf16", "tensor(double)": "fp64"}
    kinds = {output.type for session in sessions for output in session.get_outputs()}
    return names.get(kinds.pop()) if len(kinds) == 1 else None
