"""A wheel made by hand, so that pip has something to install without a network."""

import zipfile
from collections.abc import Mapping
from pathlib import Path


def wheel(folder: Path, name: str, version: str, files: Mapping[str, str], entry_points: str = "") -> Path:
    """The path of a wheel with these files, as the binary distribution format asks for (PEP 427)."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "entry_points.txt": entry_points,
    }
    content = {**files, **{f"{stem}.dist-info/{file}": text for file, text in info.items()}}
    content[f"{stem}.dist-info/RECORD"] = "".join(f"{file},,\n" for file in [*content, f"{stem}.dist-info/RECORD"])
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in content.items():
            archive.writestr(file, text)
    return path
