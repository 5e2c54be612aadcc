"""What each part of the recipe `fast` is worth: every line leaves one out, or changes it.

    python benchmarks/ablation.py cifar10/ --seeds 3
    python benchmarks/ablation.py cifar10/ --lines "no average" "no mirror"

The lines differ by `--set` alone, and are trained one by one with the same seeds. What is written
in the result is not trained again, so it can be stopped and gone on with.
"""

from __future__ import annotations

import argparse

from side_by_side import parser, target
from trainings import QUICK, Book

from resnets.cli.options import pairs
from resnets.training.recipe import check_fields, override
from resnets.training.recipes import get_recipe

RECIPE = "fast"
WHOLE = "as it is"
LINES: dict[str, tuple[str, ...]] = {
    WHOLE: (),
    "SGD for Muon": ("optimizer=sgd", "lr=0.05", "head_lr=1", "norm_lr=1"),
    "the stem learns": ("whiten=false",),
    "kernels start at random": ("passing=false",),
    "statistics as usual": ("bn_momentum=0.1",),
    "one rate for all": ("head_lr=1", "norm_lr=1"),
    "photos of full size": ("grow=1",),
    "mirrored at random": ("alternate=false",),
    "no mirror in the answer": ("mirrored=false",),
    "no label smoothing": ("label_smoothing=0",),
    "no weight decay": ("weight_decay=0",),
    "cosine": ("schedule=cosine",),
    "with an average": ("ema=0.99",),
    "half the rate": ("lr=½",),
    "twice the batch": ("batch_size=2×",),
}
"""Fields to replace; ``½`` and ``2×`` are of the recipe's own value."""
FACTORS = {"½": 0.5, "2×": 2}


def changes(recipe: str, fields: tuple[str, ...]) -> dict[str, str]:
    """Return what to set; nothing where the recipe has it so already."""
    base, asked = get_recipe(recipe), pairs(fields)
    check_fields(asked)
    values = {}
    for name, value in asked.items():
        own = getattr(base, name)
        values[name] = str(type(own)(own * FACTORS[value])) if value in FACTORS else value
    return {} if override(base, values) == base else values


def main() -> None:
    options = _options()
    book = Book(target(options, f"{RECIPE}-ablation"), options.data, resume=not options.anew)
    base = ["--recipe", options.recipe, "--val-fraction", "0", *(QUICK if options.quick else ())]
    for name in dict.fromkeys([WHOLE, *options.lines]):
        values = changes(options.recipe, LINES[name])
        if LINES[name] and not values:
            print(f"{name}: the recipe has it so")
            continue
        sets = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        book.fill(name, [*base, *sets], range(options.seeds))
    print("\n".join(book.table()))


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("data", help="CIFAR-10 as class folders in train and test")
    made.add_argument("--recipe", default=RECIPE)
    made.add_argument("--seeds", type=int, default=1)
    made.add_argument("--lines", nargs="+", choices=LINES, default=list(LINES), metavar="LINE")
    made.add_argument("--anew", action="store_true", help="train again what is written")
    return made.parse_args()


if __name__ == "__main__":
    main()
