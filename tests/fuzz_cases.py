"""How a seed becomes a case: a spoiled set of files, and the options to run on it.

A mutator takes the bytes of one file, or the files of a set by name, and a random generator. The seed of a
case says all about it: `make_case(7)` is the same set of files and options everywhere, but for
the clock that astropy writes into tiles of gzip.
"""

from dataclasses import dataclass, field

import numpy as np
from fuzz_bytes import BYTE_MUTATORS
from fuzz_cards import CARD_MUTATORS
from fuzz_files import SEED, VARIANTS, Files, whole_file
from fuzz_sets import SET_MUTATORS
from fuzz_texts import SECONDS, entries, pick
from fuzz_values import VALUE_MUTATORS

FILE_MUTATORS = BYTE_MUTATORS | CARD_MUTATORS | VALUE_MUTATORS
OPTIONS = entries(
    "|||--dry-run|--json|--dry-run --json|-v|--gain 1.5|--gain 2 --read-noise 7|--saturation 40000",
    "--bias-subtracted|--ext 1|--trim TRIMSEC|--overscan BIASSEC --trim TRIMSEC",
)
OF_TILES = {"absurd tiles", "absurd table", "compression", "codec size", "table format"}


@dataclass
class Case:
    """A spoiled set of files, and the options to run on it."""

    seed: int
    variant: str
    files: Files
    options: list[str]
    mutations: list[str] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    listed: str | None = None
    whole_folder: bool = True


def make_case(seed: int) -> Case:
    """Case `seed`: mutators take turns, all else is drawn. Below zero sets are whole, one a variant."""
    if seed < 0:
        return make_whole(seed, list(VARIANTS)[seed], 6)
    rng = np.random.default_rng([SEED, seed])
    names = [*FILE_MUTATORS, *SET_MUTATORS]
    chosen = [names[seed % len(names)]]
    variant = choose_variant(chosen[0], rng)
    case = make_whole(seed, variant, int(rng.choice([3, 6])))
    case.options = choose_options(variant, rng)
    if rng.random() < 0.2:
        chosen.append(pick(rng, names))
    spoil(case, chosen, rng)
    renamed = set(chosen) & {"other suffix", "odd name"}
    case.whole_folder = not renamed and bool(rng.random() < 0.5)
    if rng.random() < 0.05:
        case.listed = frame_list(case.files, rng)
        case.mutations.append("@list")
    return case


def frame_list(files: Files, rng) -> str:
    """A list of the files with exposure times, some of them odd."""
    seconds = [pick(rng, SECONDS) if rng.random() < 0.4 else str(t) for t in range(len(files))]
    return "".join(f"{name} {t}\n" for name, t in zip(files, seconds, strict=True))


def make_whole(seed: int, variant: str, number: int) -> Case:
    """A set as it is before it is spoiled, packed if there is nothing more to do."""
    pack = VARIANTS[variant][2] if seed < 0 else bytes
    files = {f"{i}.fits{VARIANTS[variant][1]}": pack(whole_file(variant, i)) for i in range(number)}
    return Case(seed, variant, files, [])


def choose_variant(mutator: str, rng) -> str:
    """A variant, mostly one that the mutator means something for."""
    if mutator == "codec size":
        return "hcompress"
    tiled = [name for name, (_, suffix, _) in VARIANTS.items() if suffix == ".fz"]
    return pick(rng, tiled if mutator in OF_TILES and rng.random() < 0.8 else list(VARIANTS))


def choose_options(variant: str, rng) -> list[str]:
    """Options that let most sets of that variant through."""
    if variant == "mosaic" and rng.random() < 0.5:
        return ["--ext", pick(rng, ["1", "2", "CHIP2", "chip1", "all"])]
    if variant == "bias subtracted" and rng.random() < 0.6:
        return ["--bias-subtracted"]
    options = pick(rng, OPTIONS)
    refused = options in ("--ext 1", "--bias-subtracted")
    return [] if refused and rng.random() < 0.8 else options.split()


def spoil(case: Case, chosen: list[str], rng) -> None:
    """Apply mutators to one file, to some or to all, before or after the files are packed."""
    before = dict(case.files)
    pack = VARIANTS[case.variant][2]
    share = pick(rng, [0.0, 0.0, 0.4, 1.0, 1.0])
    hit = [name for name in case.files if rng.random() < share] or [pick(rng, list(case.files))]
    late = pack is not bytes and rng.random() < 0.4
    for mutator in chosen:
        case.mutations.append(mutator)
        if mutator in SET_MUTATORS:
            SET_MUTATORS[mutator](case.files, rng)
        elif not late:
            mutate(case.files, hit, mutator, rng)
    case.changed = {name for name, data in case.files.items() if before.get(name) != data}
    case.files = {name: pack(data) for name, data in case.files.items()}
    if late:
        packed = dict(case.files)
        for mutator in (name for name in chosen if name in FILE_MUTATORS):
            mutate(case.files, hit, mutator, rng)
        case.changed |= {name for name, data in case.files.items() if packed.get(name) != data}


def mutate(files: Files, hit: list[str], mutator: str, rng) -> None:
    """Apply one mutator to those of the files that are still there."""
    for name in hit:
        if name in files:
            files[name] = FILE_MUTATORS[mutator](files[name], rng)
