"""What nodes have: modes, packages, devices and hardware."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweep.cell import Mode
from sweep.runtime_environment import Environment


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """What a node has: its modes by name, the requirements that are met (`found`), its device kinds and its hardware.

    `node` is its name, `hardware` a description in words. `fingerprints` has a hash for each device kind that the node
    has, which differs where hardware does; `facts` is what they are computed from. `memory` is in MB. `labels`,
    `resources` and `gpus` are those that Ray knows, empty without Ray. `no_gpu` says why torch cannot use a GPU that
    Ray knows, `no_node` what to do about a device kind that no node has. `id` is Ray's id of the node, empty without
    Ray; each start of Ray gives another, so it is not recorded. `environment` is the one that all this was found in,
    None for the node's own, and `no_environment` why it could not be made there, if so.
    """

    modes: Mapping[str, Mode]
    found: frozenset[str]
    devices: frozenset[str]
    versions: Mapping[str, str]
    node: str
    hardware: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    cpus: float = 1
    memory: float = 0
    gpus: float = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    no_gpu: str = ""
    no_node: str = "run where there is one, or name a cluster that has one with dispatch.address=…"
    id: str = ""
    environment: Environment | None = None
    no_environment: str = ""

    @property
    def environment_name(self) -> str | None:
        return self.environment.name if self.environment else None

    @property
    def where(self) -> str:
        """The node and, if that is not its own, the environment, for a reader."""
        return f"{self.node} (environment {self.environment.name})" if self.environment else self.node

    @property
    def place(self) -> str:
        """The id of the node and its environment together: cells run in a place."""
        return f"{self.id} {self.environment.name}" if self.environment else self.id

    @property
    def accelerators(self) -> set[str]:
        """The accelerator types that Ray knows the node by."""
        by_resource = {name.partition(":")[2] for name in self.resources if name.startswith("accelerator_type:")}
        return by_resource | {self.labels[name] for name in ("ray.io/accelerator-type",) if name in self.labels}


def fingerprint(facts: Mapping[str, Any], kind: str) -> str:
    """32 bits of SHA-256 over the facts that change how fast a node is; other kinds of devices do not count."""
    of_others = {"accelerators"} | ({"gpus", "driver"} if kind != "cuda" else set())
    relevant = {name: value for name, value in facts.items() if name not in of_others}
    if own := facts.get("accelerators", {}).get(kind):
        relevant["accelerators"] = own
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:8]


def all_modes(nodes: Iterable[Inventory]) -> dict[str, Mode]:
    """Every mode that some node has."""
    modes: dict[str, Mode] = {}
    for node in nodes:
        modes = {**node.modes, **modes}
    return modes


def nodes_as_json(nodes: Sequence[Inventory]) -> dict[str, Any]:
    """The nodes, their environments and the versions of packages for `sweep.json`.

    `versions` are those of the nodes' own environments; `A or B` where those of nodes differ.
    """
    own = [node for node in nodes if node.environment is None]
    return {
        "versions": _versions(own),
        "nodes": [
            {
                "name": node.node,
                "hardware": node.hardware,
                "fingerprints": dict(node.fingerprints),
                "facts": dict(node.facts),
                "cpus": node.cpus,
                "memory_mb": round(node.memory),
                "gpus": node.gpus,
                "labels": dict(node.labels),
                "resources": dict(node.resources),
                "versions": dict(node.versions),
                "packages": sorted(node.found),
                "problem": node.no_gpu or None,
            }
            for node in own
        ],
        "environments": _environments_as_json([node for node in nodes if node.environment is not None]),
    }


def _versions(nodes: Sequence[Inventory]) -> dict[str, str]:
    names = sorted({name for node in nodes for name in node.versions})
    return {name: " or ".join(sorted({node.versions.get(name, "absent") for node in nodes})) for name in names}


def _environments_as_json(places: Sequence[Inventory]) -> dict[str, Any]:
    """Each environment by its name: what was asked for, and the versions found in it, also by node."""
    by_name: dict[str, list[Inventory]] = {}
    for place in places:
        by_name.setdefault(place.environment_name or "", []).append(place)
    return {
        name: {
            "runtime_env": dict(found[0].environment.runtime_env) if found[0].environment else {},
            "versions": _versions([place for place in found if not place.no_environment]),
            "nodes": [
                {
                    "name": place.node,
                    "versions": dict(place.versions),
                    "packages": sorted(place.found),
                    "problem": place.no_environment or place.no_gpu or None,
                }
                for place in found
            ],
        }
        for name, found in by_name.items()
    }


def version_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """`torch 2.12.0 → 2.13.0` for each package whose version is not what it was."""
    return [
        f"{name} {before.get(name, 'absent')} → {now.get(name, 'absent')}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def environment_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`environments.old.pip ["torchao==0.12.0"] → ["torchao==0.13.0"]` for all that is not what it was.

    Both are the `environments` of a `sweep.json`, of which those that both have are compared, and their versions where
    they were made both times.
    """
    found = []
    for name in before.keys() & now.keys():
        asked = [{key: json.dumps(value) for key, value in one[name]["runtime_env"].items()} for one in (before, now)]
        versions = [one[name]["versions"] for one in (before, now)]
        found += [f"environments.{name}.{change}" for change in version_changes(*asked)]
        found += [f"in {name} {change}" for change in version_changes(*versions) if all(versions)]
    return sorted(found)
