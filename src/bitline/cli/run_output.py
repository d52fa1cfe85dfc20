"""Where `bitline run -o` puts results: one .npz, or a folder that appears when it is whole."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitline.core.diagnostics import refuse
from bitline.core.files import check_folder_writable, check_writable, folder_when_whole, write_file

if TYPE_CHECKING:
    from bitline.inference.files import FileResult

MARKER = "results.json"
PICTURES = "annotated"


class Output:
    """The place of results. `annotate`: images with answers drawn on them go there too, as they come."""

    def __init__(self, place: Path | None, annotate: bool) -> None:
        self.place, self.annotate = place, annotate
        self.folder: Path | None = None
        self.drawn = 0
        self._names: set[str] = set()

    @property
    def is_archive(self) -> bool:
        return self.place is not None and self.place.suffix.lower() == ".npz"

    def check(self) -> None:
        """Raise `Refusal` (BL0101, BL0104) before any work where results cannot be written."""
        if self.annotate and (self.place is None or self.is_archive):
            raise refuse("BL0101", "--annotate writes images and needs a folder", help="name one with -o DIR")
        if self.place is None:
            return
        if self.is_archive:
            check_writable(self.place)
        else:
            check_folder_writable(self.place, marker=MARKER)

    @contextmanager
    def opened(self) -> Generator[None, None, None]:
        """While results come in. The folder takes its name at the end, and not at all where an exception ends it."""
        if self.place is None or self.is_archive:
            yield
            return
        with folder_when_whole(self.place, marker=MARKER) as folder:
            self.folder = folder
            yield

    def add(self, result: FileResult[Any]) -> None:
        """Draw what was found on the image, where there is one and that was asked for."""
        if not self.annotate or self.folder is None or result.source.kind != "image" or not result.samples:
            return
        (found,) = result.answers
        if found is None:
            return
        from bitline.inference.annotate import annotated

        pictures = self.folder / PICTURES
        pictures.mkdir(exist_ok=True)
        self._half.write_bytes(annotated(result.source.path, found))
        self._half.replace(pictures / self._free_name(result.source.path))
        self.drawn += 1

    @property
    def _half(self) -> Path:
        """Where an image is written; it gets its name when it is whole, as Ctrl-C may come at any time."""
        assert self.folder is not None, "asked only while the folder is open"
        return self.folder / "half"

    def _free_name(self, path: Path) -> str:
        """The name of the file; with a number where files of several folders share it."""
        suffix = path.suffix if path.suffix.lower() in (".jpg", ".jpeg") else ".png"
        name, count = f"{path.stem}{suffix}", 1
        while name.casefold() in self._names:
            count += 1
            name = f"{path.stem}-{count}{suffix}"
        self._names.add(name.casefold())
        return name

    def write(self, results: Sequence[FileResult[Any]], values: Mapping[str, object]) -> None:
        """All results in their files."""
        if self.place is None:
            return
        import json

        import numpy as np

        from bitline.core.version import __version__
        from bitline.inference.results import boxes_csv, results_csv, samples_json
        from bitline.pipeline.contents import npz_bytes

        good = [result for result in results if result.samples]
        outputs = {name: np.concatenate([result.outputs[name] for result in good]) for name in good[0].outputs}
        if self.folder is None:
            write_file(self.place, npz_bytes(outputs))
            return
        self._half.unlink(missing_ok=True)
        (self.folder / "outputs.npz").write_bytes(npz_bytes(outputs))
        (self.folder / "results.csv").write_text(results_csv(good), encoding="utf-8")
        if any(isinstance(found, tuple) for result in good for found in result.answers):
            (self.folder / "boxes.csv").write_text(boxes_csv(good), encoding="utf-8")
        said = {"schema": "bitline.results/1", "version": __version__, **values, "results": samples_json(good)}
        (self.folder / MARKER).write_text(json.dumps(said, indent=1, allow_nan=False), encoding="utf-8")
