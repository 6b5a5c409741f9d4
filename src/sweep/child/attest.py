"""What scripts that earlier versions wrote ask for. The steps that they take are no more."""

raise ImportError(
    "this script was written by an earlier version of sweep, and needs that one: "
    "have this one write it anew, with python -m sweep.pick RUN --emit python"
)
