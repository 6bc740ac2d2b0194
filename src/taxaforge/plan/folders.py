"""Models in folders of the user: the files that such a model is read from."""

from pathlib import Path

FOLDER = "local-dir:"
"""Begins the name of a model that is a folder, behind `open_clip:` where it is one of open_clip."""
TIMM = ("config.json", "model.safetensors")
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
READ = {".safetensors", ".json", ".txt", ".model"}
"""Endings of what open_clip may read in a folder: structure, weights, and the tokeniser's files."""


def folder_files(setting: str, model: str, open_clip: bool = False) -> dict[str, str]:
    """The files behind a model: "<setting> (<file>)" -> path; none where it is no folder.

    Files that must be there are among them whether they are or not. open_clip: the name says no `open_clip:`, and it is one.
    """
    name = model.removeprefix("open_clip:")
    if not name.startswith(FOLDER):
        return {}
    folder = Path(name.removeprefix(FOLDER))
    names = clip_files(folder) if open_clip or name != model else TIMM
    return {f"{setting} ({file})": str(folder / file) for file in names}


def clip_files(folder: Path) -> list[str]:
    """Names of an open_clip model's files; of its weights, which may be called differently, whichever there are."""
    there = {path.name for path in folder.iterdir() if path.suffix in READ} if folder.is_dir() else set()
    weights = {name for name in there if name.endswith(".safetensors")} or {WEIGHTS}
    return sorted(there | weights | {CONFIG})
