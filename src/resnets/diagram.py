"""A network as a drawing: its stages in a row, then stem, each kind of block, and head (SVG)."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from resnets.layers import Act, Conv, Flatten, Gate, Layer, Linear, Norm, Pad, Pool
from resnets.plan import BlockPlan, Chain
from resnets.spec import ResNetSpec

BOX, GAP, COLUMN, MARGIN = (150, 22), 10, 340, 24
SHORTCUT = BOX[0] + 15
"""How far to the right of its block a shortcut begins."""
COLOURS = {
    Conv: "#4477aa",
    Linear: "#4477aa",
    Norm: "#888888",
    Act: "#228833",
    Pool: "#aa7700",
    Flatten: "#aa7700",
    Pad: "#aa7700",
    Gate: "#aa3377",
}
STYLE = """
svg { background: #fff; color: #222; font: 12px system-ui, sans-serif }
text { fill: currentColor } .box { fill: none; stroke-width: 1.5 } .small { font-size: 11px }
.title { font-size: 15px; font-weight: 600 } .line { fill: none; stroke: currentColor }
@media (prefers-color-scheme: dark) { svg { background: #181818; color: #ddd } }
"""


def draw(spec: ResNetSpec, size: int, notes: Sequence[str] = ()) -> str:
    """Return the drawing of a spec for photos of `size` pixels, as an SVG document.

    `notes` are lines below its name.
    """
    top, height = _stages(spec, size, notes)
    parts, bottom = [top], height
    for column, (title, block) in enumerate(_kinds(spec)):
        drawn, end = _block(title, block, MARGIN + column % 3 * COLUMN, height)
        parts.append(drawn)
        bottom = max(bottom, end)
        if column % 3 == 2:
            height = bottom
    width = max(2 * MARGIN + 3 * COLUMN, 2 * MARGIN + (len(spec.depths) + 3) * 165)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + MARGIN}" '
        f'width="{width}" height="{bottom + MARGIN}" role="img">\n'
        f"<title>{escape(spec.name)}</title><style>{STYLE}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="currentColor"/></marker>'
        "</defs>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _stages(spec: ResNetSpec, size: int, notes: Sequence[str]) -> tuple[str, int]:
    shapes = spec.feature_shapes(size)
    boxes = [("photo", f"{spec.in_channels} × {size} × {size}", "")]
    for name, (channels, height, width) in shapes.items():
        if name == "stem" and not spec.plan.stem:
            continue
        depth = dict(zip([s.name for s in spec.stages()], spec.depths, strict=True)).get(name)
        count = "" if depth is None else f"{depth} block{'s' * (depth != 1)}"
        boxes.append((name, f"{channels} × {height} × {width}", count))
    embeds = not spec.num_classes or spec.head.norm
    head = f"{spec.num_classes or spec.num_features} {'features' if embeds else 'classes'}"
    boxes.append(("head", head, f"{spec.head.pool} pooling" if spec.head.pool != "all" else ""))
    facts = f"{spec.params():,} parameters, {spec.macs(size):,} multiply-adds"
    parts = [_text(MARGIN, 30, spec.name, "title")]
    lines = [*notes, facts]
    parts += [_text(MARGIN, 50 + 16 * i, line, "small") for i, line in enumerate(lines)]
    y = 54 + 16 * len(lines)
    for i, (name, shape, count) in enumerate(boxes):
        x = MARGIN + 165 * i
        parts.append(
            f'<rect class="box" x="{x}" y="{y}" width="140" height="56" stroke="#4477aa"/>'
        )
        for line, (text, kind) in enumerate(((name, ""), (shape, "small"), (count, "small"))):
            parts.append(_text(x + 8, y + 17 + 16 * line, text, kind))
        if i:
            parts.append(_arrow(f"M{x - 25} {y + 28}H{x - 3}"))
    return "".join(parts), y + 80


def _kinds(spec: ResNetSpec) -> list[tuple[str, BlockPlan]]:
    """Return the first block of each kind: which layers it has, whatever their widths.

    What is before and after the blocks is drawn as a block without a shortcut.
    """
    plan, parts = spec.plan, list[tuple[str, BlockPlan]]()
    parts.append(("stem", _straight(plan.stem)))
    for stage in plan.stages:
        parts.append((f"{stage.name}.entry", _straight(stage.entry)))
        parts += [(f"{stage.name}.{i}", block) for i, block in enumerate(stage.blocks)]
    parts.append(("head", _straight({**plan.top, **plan.head})))
    found: dict[tuple[object, ...], tuple[str, BlockPlan]] = {}
    for name, block in parts:
        kind = (tuple(block.before), tuple(block.branch), _kind(block))
        if any((block.before, block.branch, block.after)):
            found.setdefault(kind, (name, block))
    return list(found.values())


def _straight(chain: Chain) -> BlockPlan:
    return BlockPlan(before={}, branch=chain, shortcut=None, after={})


def _kind(block: BlockPlan) -> object:
    if block.shortcut is None:
        return None
    strides = [max(1, layer.reach[1]) for layer in block.branch.values()]
    return tuple(type(layer) for layer in block.shortcut.values()), max(strides) > 1


def _block(title: str, block: BlockPlan, x: int, y: int) -> tuple[str, int]:
    centre = x + BOX[0] // 2
    parts = [_text(x, y + 16, f"{title}", "title")]
    y += 30
    drawn, y = _column(block.before, x, y)
    fork = y
    branch, y = _column(block.branch, x, y + GAP)
    parts += [drawn, _arrow(f"M{centre} {fork}V{fork + GAP - 1}"), branch]
    if block.shortcut is not None:
        plus = y + GAP + 9
        parts.append(f'<circle class="line" cx="{centre}" cy="{plus}" r="9"/>')
        parts.append(f'<path class="line" d="M{centre - 5} {plus}h10M{centre} {plus - 5}v10"/>')
        parts.append(_arrow(f"M{centre} {y}V{plus - 10}"))
        side, turn = x + SHORTCUT + BOX[0] // 2, fork + GAP // 2
        start = fork + (plus - fork - len(block.shortcut) * (BOX[1] + GAP)) // 2
        line = f"M{centre} {turn}H{side}" + (f"V{start}" if block.shortcut else "")
        parts.append(f'<path class="line" d="{line}"/>')
        shortcut, end = _column(block.shortcut, x + SHORTCUT, start)
        parts.append(shortcut)
        begin = end if block.shortcut else turn
        parts.append(_arrow(f"M{side} {begin}V{plus}H{centre + 10}"))
        y = plus + 9
    if block.after:
        parts.append(_arrow(f"M{centre} {y}v{GAP - 1}"))
    after, y = _column(block.after, x, y + GAP)
    return "".join([*parts, after]), y + 2 * GAP


def _column(chain: Chain, x: int, y: int) -> tuple[str, int]:
    """Draw layers one below the other; return the drawing and where it ends."""
    parts = []
    for i, layer in enumerate(chain.values()):
        if i:
            parts.append(_arrow(f"M{x + BOX[0] // 2} {y}v{GAP - 1}"))
            y += GAP
        parts.append(
            f'<rect class="box" x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="3" '
            f'stroke="{COLOURS[type(layer)]}"/>' + _text(x + 7, y + 15, _words(layer), "small")
        )
        y += BOX[1]
    return "".join(parts), y


def _words(layer: Layer) -> str:
    match layer:
        case Conv():
            groups = f" /{layer.groups}" if layer.groups > 1 else ""
            stride = f", stride {layer.stride}" if layer.stride > 1 else ""
            return f"{layer.kernel}×{layer.kernel}, {layer.inputs}→{layer.outputs}{groups}{stride}"
        case Norm():
            return {"batch": "BatchNorm", "group": "GroupNorm"}[layer.kind]
        case Act():
            return {"relu": "ReLU", "prelu": "PReLU"}[layer.kind]
        case Pool():
            return f"{layer.kind} {layer.kernel}×{layer.kernel}, stride {layer.stride}"
        case Pad():
            return f"every {layer.stride}. px, +{layer.outputs - layer.inputs} zeros"
        case Linear():
            return f"linear, {layer.inputs}→{layer.outputs}"
        case Flatten():
            return "flatten" if layer.kind == "all" else f"{layer.kind} pooling"
        case Gate():
            return {"se": "squeeze–excite", "eca": "channel attention"}[layer.kind]
    return type(layer).__name__


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>' if text else ""


def _arrow(path: str) -> str:
    return f'<path class="line" d="{path}" marker-end="url(#tip)"/>'
