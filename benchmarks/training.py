"""A training-like loop: random patches of 20 slides at 0.5 um/px through a DataLoader of two workers.

bipl beside OpenSlide and tiffslide, workers forked and spawned: patches a second, and the anonymous memory of
the workers while it goes on.  bipl's slides are opened once and go to the workers as they are; the others',
which neither survive a fork nor pickle, are opened by each worker when it first reads them.
"""

import importlib
import json
import os
import random
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peer_venv
from benchmarks.large_slides import small_slides
from benchmarks.peer_process import FailedError, anonymous_kb, run
from benchmarks.peer_readers import READERS, Array

SLIDES, PATCHES, SIDE, MPP, WORKERS, BATCH = 20, 20_000, 256, 0.5, 2, 64
SAMPLED_EACH = 50
LIBRARIES = {'bipl': 'bipl.slide.facade', 'OpenSlide': 'openslide', 'tiffslide': 'tiffslide'}
METHODS = ('fork', 'spawn')
TORCH = 'torch==2.13.0'


@dataclass
class Patches:
    """The patches by number, each at a place of its own: what a DataLoader calls a data set.

    Attributes
    ----------
    library
        A name of `LIBRARIES`.
    paths
        Of the slides.
    slides
        Those that are open, by path; they go to the workers only if they can.
    """

    library: str
    paths: list[str]
    slides: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return PATCHES

    def __getitem__(self, index: int) -> tuple[Any, int, int]:
        """Return a patch, (256, 256, 3) uint8, the worker, and now and then what it holds in KB, else 0."""
        import torch

        chance = random.Random(index)
        slide = self.slide(chance.choice(self.paths))
        patch = self.by_bipl(slide, chance) if self.library == 'bipl' else self.by_others(slide, chance)
        process = os.getpid()
        held = anonymous_kb(process) if index % SAMPLED_EACH == 0 else 0
        return torch.from_numpy(patch), process, held

    def slide(self, path: str) -> Any:
        """Return a slide, opened at its first use."""
        if path not in self.slides:
            if self.library == 'bipl':
                from bipl import Slide

                self.slides[path] = Slide.open(path)
            elif self.library == 'OpenSlide':
                import openslide

                self.slides[path] = openslide.OpenSlide(path)
            else:
                import tiffslide

                self.slides[path] = tiffslide.TiffSlide(path)
        return self.slides[path]

    @staticmethod
    def by_bipl(slide: Any, chance: random.Random) -> Array:
        """Read a patch of a bipl slide."""
        height, width, _ = slide.shape
        corner = chance.randrange(height - 2 * SIDE), chance.randrange(width - 2 * SIDE)
        patch: Array = slide.at(corner, SIDE, mpp=MPP)
        return patch

    @staticmethod
    def by_others(slide: Any, chance: random.Random) -> Array:
        """Read a patch as OpenSlide's users do: the best level, a little more or less, then a resize."""
        import cv2

        width, height = slide.dimensions
        y, x = chance.randrange(height - 2 * SIDE), chance.randrange(width - 2 * SIDE)
        factor = MPP / float(slide.properties[f'{type(slide).__module__.split(".")[0]}.mpp-x'])
        level = slide.get_best_level_for_downsample(factor)
        size = round(SIDE * factor / slide.level_downsamples[level])
        region = np.asarray(slide.read_region((x, y), level, (size, size)).convert('RGB'))
        patch: Array = cv2.resize(region, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        return patch


def grown_mb(samples: list[tuple[int, int]]) -> tuple[float, float]:
    """Return what the workers held together half-way and at the end, MB: medians of tenths of the samples."""
    by_process: dict[int, list[int]] = {}
    for process, held in samples:
        by_process.setdefault(process, []).append(held)
    halfway = end = 0.0
    for held_kb in by_process.values():
        tenth = max(1, len(held_kb) // 10)
        halfway += statistics.median(held_kb[len(held_kb) // 2 : len(held_kb) // 2 + tenth]) / 1024
        end += statistics.median(held_kb[-tenth:]) / 1024
    return halfway, end


def loop(library: str, method: str, paths: list[str]) -> dict[str, float]:
    """Take all patches once; return patches a second, after the first tenth, and what the workers held."""
    from torch.utils.data import DataLoader

    patches = Patches(library, paths)
    if library == 'bipl':
        for path in paths:
            patches.slide(path)
    loader: Any = DataLoader(
        patches,  # type: ignore[arg-type, unused-ignore]
        batch_size=BATCH,
        num_workers=WORKERS,
        multiprocessing_context=method,
    )
    samples: list[tuple[int, int]] = []
    taken, start, begun = 0, time.perf_counter(), 0
    for pixels, processes, held in loader:
        if taken <= PATCHES // 10 < taken + len(pixels):
            start, begun = time.perf_counter(), taken + len(pixels)
        taken += len(pixels)
        samples += [
            (process, kb) for process, kb in zip(processes.tolist(), held.tolist(), strict=True) if kb
        ]
    rate = (taken - begun) / (time.perf_counter() - start)
    halfway, end = grown_mb(samples)
    return {'rate': rate, 'halfway': halfway, 'end': end}


def main() -> None:
    """Print a row for each library and way to start the workers; with a job, do that."""
    if len(sys.argv) > 1 and sys.argv[1].startswith('{'):
        job = json.loads(sys.argv[1])
        importlib.import_module(LIBRARIES[job['library']])
        print('imported 0', flush=True)
        print(json.dumps(loop(**job)), flush=True)
        return
    packages = [TORCH, *(package for name in LIBRARIES for package in READERS[name].packages)]
    print(
        f'\nA training-like loop: {PATCHES} patches of {SIDE} px at {MPP} um/px, {SLIDES} slides', flush=True
    )
    for package, why in peer_venv.install(packages).items():
        print(f'  {package} cannot be installed: {why}')
    paths = [str(path) for path in small_slides(SLIDES)]
    for path in paths:
        Path(path).read_bytes()  # into the system's cache
    print('\n| workers | library | patches/s | to bipl | MB half-way | MB at the end |\n|' + '---|' * 6)
    for method in METHODS:
        ours = 0.0
        for library in LIBRARIES:
            job = json.dumps({'library': library, 'method': method, 'paths': paths})
            try:
                found = run('benchmarks.training', job, {}, longest_s=600).found
            except FailedError as error:
                print(f'| {method} | {library} | {error} |')
                continue
            ours = found['rate'] if library == 'bipl' else ours
            print(
                f'| {method} | {library} | {found["rate"]:.0f} | {found["rate"] / ours if ours else 0:.2f} | '
                f'{found["halfway"]:.0f} | {found["end"]:.0f} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
