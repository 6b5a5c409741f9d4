"""Changes how ONNX Runtime makes its sessions, for all of this process."""

from collections.abc import Callable
from typing import Any


def replace_class(configure: Callable[[Any], None], made: Callable[[Any], None] | None = None) -> type:
    """Put a subclass in the place of onnxruntime.InferenceSession, and return it.

    `configure` gets the SessionOptions of a session before the session is made, and may change them; `made` gets the
    session afterwards. A second call makes a subclass of the first one's, so both take effect.
    """
    import onnxruntime

    session_class = onnxruntime.InferenceSession

    class Changed(session_class):  # type: ignore[misc,valid-type]
        def __init__(self, model: Any, sess_options: Any = None, **kwargs: Any) -> None:
            options = sess_options or onnxruntime.SessionOptions()
            configure(options)
            super().__init__(model, options, **kwargs)
            if made:
                made(self)

    onnxruntime.InferenceSession = Changed
    return Changed
