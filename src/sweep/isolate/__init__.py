"""Runs cells in processes of their own.

    supervisor     the process that sweep runs in, or the actor on a node; a thread for each cell that runs
    ├── nursery    one for each environment that cells ask for; imports torch and alma, so that no cell has to
    ├── zygote     one for each cell that may run at a time; forked by a nursery; starts cells, and runs nothing of them
    │   └── cell   one after the other, forked by its zygote; the user's model runs here, and nowhere else
    │       └── …  whatever the cell starts
    └── zygote …

With isolate.start=spawn nothing is imported before, and a zygote starts each cell as a new interpreter. A nursery
(`sweep.child.zygote`) forks twice, so that a zygote is an orphan at once. The supervisor adopts orphans, and so does
each zygote: a process whose parent ends becomes a child of the next of them above it.

    supervisor ↔ nursery    a socket: "ready" up; down, a socket for each zygote that is wanted
    supervisor ↔ zygote     that socket: down, a cell to start, with the ends of its pipes, and signals for it; up, the
                            cell's process id, and how it ended, once it and all that it started are gone
    supervisor ← cell       a pipe for its report, one for what it prints
    supervisor → cell       a pipe for its turn: a byte says that it may measure now

What happens when one of them dies:

    cell         Its zygote kills what it left, and says how it ended. Its row says so.
    zygote       Its cell, and what that left, come to the supervisor, which kills them; the cell's row says that it was
                 lost. Without a cell nothing is lost. The next cell gets another zygote.
    nursery      Its zygotes stay. When one more is wanted, there is another nursery.
    supervisor   Its sockets close. Each zygote kills its cell and all of it, and ends; so do the nurseries.
"""

from sweep.isolate.cell import run
from sweep.isolate.supervisor import Supervisor, Withdrawn

__all__ = ["Supervisor", "Withdrawn", "run"]
